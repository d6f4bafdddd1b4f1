"""Fixtures from the transport's tests: small servers of raw bytes."""

from tests.transport.conftest import serve

__all__ = ["serve"]
