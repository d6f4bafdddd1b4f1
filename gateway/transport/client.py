"""The transport: pools of connections by route, proxies by httpx's own transports, one kind of error."""

import ssl
from collections.abc import AsyncIterator
from typing import cast

import certifi
import httpx

from gateway.transport.connection import Body, Fields
from gateway.transport.decoding import Decoded, encoding_of, without_encoding
from gateway.transport.endpoint import Encoded, EndpointRequest, Route, route_and_encoded
from gateway.transport.pool import Pool

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that may be sent again when an idle connection turns out to be dead."""


TIMEOUT = 5.0
"""Seconds for "connect" and "pool" where a request does not say."""


class Response(httpx.Response):
    """A response that builds its Headers only for who asks for them."""

    def __init__(self, status: int, fields: Fields, stream: httpx.AsyncByteStream, request: httpx.Request) -> None:
        # What httpx's own constructor sets, without its search for content and encodings.
        self.status_code = status
        self.stream = stream
        self.request = request
        self.next_request = None
        self.extensions = {}
        self.history = []
        self.is_closed = self.is_stream_consumed = False
        self.default_encoding = "utf-8"
        self._num_bytes_downloaded = 0
        self._fields = fields
        self._built: httpx.Headers | None = None

    @property
    def headers(self) -> httpx.Headers:
        if self._built is None:
            self._built = httpx.Headers(self._fields)
        return self._built

    @headers.setter
    def headers(self, value: httpx.Headers) -> None:
        self._built = value

    async def aclose(self) -> None:
        self.is_closed = True
        await cast("httpx.AsyncByteStream", self.stream).aclose()


def _response(status: int, fields: Fields, body: httpx.AsyncByteStream, request: httpx.Request) -> Response:
    if encoding := encoding_of(fields):
        return Response(status, without_encoding(fields), Decoded(body, encoding), request)
    return Response(status, fields, body, request)


class _Closing(httpx.AsyncByteStream):
    """A body that is closed when it ends, so that its connection is free again."""

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._body:
                yield data
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        await self._body.aclose()


class Transport(httpx.AsyncBaseTransport):
    """Sends requests over HTTP/1.1, directly or through the proxy of their Endpoint.

    `limit` is the most connections per route, `keepalive` the seconds an idle one stays open, `tls` the context for
    https (by default: the system's roots and certifi's). Of httpx's timeouts it takes "connect" and "pool" from the
    request's extensions; whoever reads bounds the rest by cancelling, which closes the connection at once.

    Raises ConnectTimeout, ConnectError, PoolTimeout, WriteError, ReadError, RemoteProtocolError, LocalProtocolError,
    UnsupportedProtocol, ProxyError. The body's stream raises ReadError, RemoteProtocolError or DecodingError unless it
    came whole. A request is sent a second time only if the first never reached the server whole, or if its method is
    harmless and a kept connection died without a byte.
    """

    def __init__(self, *, limit: int = 1000, keepalive: float = 30.0, tls: ssl.SSLContext | None = None) -> None:
        self._limit = limit
        self._keepalive = keepalive
        self._tls = tls
        self._pools: dict[Route, Pool] = {}
        self._proxies: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            if not isinstance(request, EndpointRequest):
                await request.aread()
            route, encoded = route_and_encoded(request)
            if route.proxy:
                return await self._through_proxy(route.proxy, request)
            body = await self._send(route, encoded, request)
        except httpx.RequestError as error:
            error.request = request
            raise
        return _response(body.status, body.fields, body, request)

    async def _send(self, route: Route, encoded: Encoded, request: httpx.Request) -> Body:
        pool = self._pools.get(route) or self._add_pool(route)
        limits = request.extensions.get("timeout", {})
        wait, connect = limits.get("pool", TIMEOUT), limits.get("connect", TIMEOUT)
        connection = pool.reuse() or await pool.acquire(wait, connect)
        bodiless = request.method == "HEAD"
        try:
            return await connection.exchange(*encoded, bodiless=bodiless)
        except httpx.TransportError as error:
            unsent = isinstance(error, httpx.WriteError) or request.method in REPEATABLE
            if connection.fresh or connection.heard or not unsent:
                raise
        pool.forget_idle()
        connection = await pool.acquire(wait, connect)
        return await connection.exchange(*encoded, bodiless=bodiless)

    def _add_pool(self, route: Route) -> Pool:
        tls = self._tls_context() if route.tls else None
        return self._pools.setdefault(route, Pool(route, tls, self._limit, self._keepalive))

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.load_verify_locations(certifi.where())
        return self._tls

    async def _through_proxy(self, proxy: str, request: httpx.Request) -> httpx.Response:
        if proxy not in self._proxies:
            limits = httpx.Limits(max_connections=self._limit, keepalive_expiry=self._keepalive)
            made = httpx.AsyncHTTPTransport(proxy=proxy, verify=self._tls_context(), limits=limits, trust_env=False)
            self._proxies[proxy] = made
        response = await self._proxies[proxy].handle_async_request(request)
        stream = cast("httpx.AsyncByteStream", response.stream)
        return _response(response.status_code, response.headers.raw, _Closing(stream), request)

    async def aclose(self) -> None:
        """Close every connection; requests under way fail."""
        for pool in self._pools.values():
            pool.close()
        for proxied in self._proxies.values():
            await proxied.aclose()
