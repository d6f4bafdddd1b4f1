"""Who may manage: the one management key, as a header, compared by hash in constant time (feature D4).

Five failures lock an address out. Whose address it is, a proxy says, and only one that the configuration trusts is
believed. Behind any other proxy everybody has its address: there a failure is answered slowly, and nobody is locked
out who knows the key.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from gateway.config import Management
from gateway.errors import GatewayError, Kind
from gateway.ledger.book import Book

log = logging.getLogger("gateway.management")
audit = logging.getLogger("gateway.audit")

KEY_HEADER = "X-Management-Key"
FAILURES: Final = 5
LOCKED: Final = 1800.0
"""Seconds for which an address is locked out."""
SLOWEST: Final = 8.0
"""Seconds that the answer to a failure behind an unknown proxy takes at most."""

_FORWARDED: Final = ("x-forwarded-for", "forwarded", "x-real-ip")
_STATE: Final = "gateway_address"

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]
Networks = Sequence[IPv4Network | IPv6Network]


class Origin(Struct, frozen=True):
    """Where a request comes from: `certain` unless a proxy that is not trusted stands between."""

    address: str
    certain: bool


def digest_of(management: Management) -> bytes | None:
    """The SHA-256 of the configured key; None if there is no key, so no management either."""
    if management.sha256:
        return bytes.fromhex(management.sha256)
    return sha256(management.key.encode()).digest() if management.key else None


def address_of(connection: Connection) -> str:
    """Where a request that was let in comes from, for the log."""
    known = connection.state.get(_STATE)
    return known if isinstance(known, str) else _peer(connection)


def origin_of(connection: Connection, trusted: Networks) -> Origin:
    """The last address that no trusted proxy has: what stands before it in X-Forwarded-For anybody may have written."""
    hops = [hop.strip() for hop in ",".join(connection.headers.getall("x-forwarded-for", [])).split(",") if hop.strip()]
    address = _peer(connection)
    while _within(address, trusted) and hops:
        hop = _bare(hops.pop())
        if not _is_address(hop):
            break
        address = hop
    told = any(name in connection.headers for name in _FORWARDED)
    return Origin(address, certain=not told or _within(_peer(connection), trusted))


def guarded(digest: bytes, book: Book, trusted: Sequence[str] = ()) -> Guard:
    """A guard that lets only requests pass that carry the key."""
    door = _Door(digest, book, trusted)

    async def check(connection: Connection, _: BaseRouteHandler) -> None:
        await door.check(connection)

    return check


class _Door:
    """Looks at every request.

    Raises GatewayError (UNAUTHENTICATED; RATE_LIMITED for an address that is locked out). The caller is not told
    whether the key was missing or wrong; the log is.
    """

    def __init__(self, digest: bytes, book: Book, trusted: Sequence[str]) -> None:
        self._digest = digest
        self._book = book
        self._trusted = [ip_network(cidr, strict=False) for cidr in trusted]
        self._slow: dict[str, asyncio.Lock] = {}

    async def check(self, connection: Connection) -> None:
        origin = origin_of(connection, self._trusted)
        connection.state[_STATE] = origin.address
        strikes = await self._book.strikes(origin.address)
        if strikes.count >= FAILURES:
            audit.warning("management locked out", extra={"address": origin.address})
            message = "Too many failures to sign in from this address; try again later."
            raise GatewayError(Kind.RATE_LIMITED, message, code="locked_out", retry_after=strikes.left)
        given = _given(connection)
        if any([_same(key, self._digest) for key in given]):  # noqa: C419 - each is compared, whichever fits
            if strikes.count and origin.certain:
                await self._book.forgive(origin.address)
            return
        why = "wrong key" if given else "no key"
        log.warning("management refused", extra={"why": why, "address": origin.address, "certain": origin.certain})
        if given:
            await self._failed(origin)
        raise GatewayError(Kind.UNAUTHENTICATED, "The management key is missing or wrong.", code="unauthenticated")

    async def _failed(self, origin: Origin) -> None:
        if origin.certain:
            strikes = await self._book.strike(origin.address, LOCKED)
            if strikes.count >= FAILURES:
                audit.warning("management address locked out", extra={"address": origin.address, "seconds": LOCKED})
            return
        strikes = await self._book.strike(f"via {origin.address}", LOCKED)
        if len(self._slow) > _MOST:
            self._slow.clear()
        lock = self._slow.setdefault(origin.address, asyncio.Lock())
        if lock.locked():
            message = "Too many failures to sign in through this proxy; try again later."
            raise GatewayError(Kind.RATE_LIMITED, message, code="slow_down", retry_after=SLOWEST)
        async with lock:
            if strikes.count >= FAILURES:
                await asyncio.sleep(min(2.0 ** (strikes.count - FAILURES), SLOWEST))


_MOST: Final = 10_000


def _given(connection: Connection) -> list[str]:
    scheme, __, token = connection.headers.get("Authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (bearer, connection.headers.get(KEY_HEADER, "")) if key]


def _peer(connection: Connection) -> str:
    return connection.client.host if connection.client else ""


def _bare(hop: str) -> str:
    """An address as proxies write it, without port and brackets."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _within(address: str, networks: Networks) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)


def _same(key: str, digest: bytes) -> bool:
    return hmac.compare_digest(sha256(key.encode("latin-1", "replace")).digest(), digest)
