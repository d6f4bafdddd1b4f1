"""How providers are reached: a lean HTTP/1.1 client behind httpx's transport interface.

Endpoint makes requests, Transport sends them; both speak httpx's own Request and Response, so that
`httpx.MockTransport` can stand in for the network.
"""

from gateway.transport.client import Response, Transport
from gateway.transport.connection import Body
from gateway.transport.endpoint import Endpoint

__all__ = ["Body", "Endpoint", "Response", "Transport"]
