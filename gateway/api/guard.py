"""Who may manage: the one management key, as a header, compared by hash in constant time."""

import hmac
import logging
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from gateway.config import Management
from gateway.errors import GatewayError, Kind

log = logging.getLogger("gateway.management")

KEY_HEADER = "X-Management-Key"

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


def digest_of(management: Management) -> bytes | None:
    """The SHA-256 of the configured key; None if there is no key, so no management either."""
    if management.sha256:
        return bytes.fromhex(management.sha256)
    return sha256(management.key.encode()).digest() if management.key else None


def address_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Where a request comes from, for the log."""
    return connection.client.host if connection.client else ""


def require_key(digest: bytes) -> Guard:
    """A guard that lets only requests pass that carry the key. Raises GatewayError (UNAUTHENTICATED).

    The caller is not told whether the key was missing or wrong; the log is.
    """

    def check(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scheme, __, token = connection.headers.get("Authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        given = [key for key in (bearer, connection.headers.get(KEY_HEADER, "")) if key]
        if any([_same(key, digest) for key in given]):  # noqa: C419 - each is compared, whichever fits
            return
        why = "wrong key" if given else "no key"
        log.warning("management refused", extra={"why": why, "address": address_of(connection)})
        raise GatewayError(Kind.UNAUTHENTICATED, "The management key is missing or wrong.", code="unauthenticated")

    return check


def _same(key: str, digest: bytes) -> bool:
    return hmac.compare_digest(sha256(key.encode("latin-1", "replace")).digest(), digest)
