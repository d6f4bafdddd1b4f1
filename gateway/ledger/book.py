"""One worker's view of the ledger: read again and again beside requests, so that a decision is known in a second."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from gateway.config import ClientKey
from gateway.errors import GatewayError, Kind, StoreUnavailable
from gateway.ledger.ledger import Ledger, Strikes

log = logging.getLogger("gateway.ledger")

PERIOD: Final = 0.5
"""Seconds between two looks at the ledger."""

_KEY: Final = "key:"
_OFF: Final = "off:"


class IssuedKey(Struct, frozen=True):
    """A client key that was made while the gateway ran; times in Unix seconds. A revoked one stays on record."""

    key: ClientKey
    created: float
    revoked: float | None = None


_DECODER = msgspec.json.Decoder(IssuedKey)


class Book:
    """The keys and disabled providers, at most a second old. `told` is called with the disabled ones as they change.

    A ledger that cannot be reached leaves all as it was. Without a ledger nothing can be decided at run time.
    """

    def __init__(self, ledger: Ledger | None, told: Callable[[frozenset[str]], None]) -> None:
        self._ledger = ledger
        self._told = told
        self._version = "?"
        self._keys: dict[str, IssuedKey] = {}
        self._by_hash: dict[str, ClientKey] = {}
        self._disabled: frozenset[str] = frozenset()
        self._beat: asyncio.Task[None] | None = None
        self._down = False
        self._local: dict[str, int] = {}

    # ------------------------------------------------------------ what is known

    @property
    def unread(self) -> bool:
        """Whether there is a ledger that could not be read yet, so that a key may be one of its."""
        return self._ledger is not None and self._version == "?"

    @property
    def keys(self) -> Mapping[str, IssuedKey]:
        """Every key that was issued, by id."""
        return self._keys

    @property
    def disabled(self) -> frozenset[str]:
        """Providers that get no requests."""
        return self._disabled

    def find(self, digest: str) -> ClientKey | None:
        """The key with this SHA-256 (hex), if it is valid."""
        return self._by_hash.get(digest)

    # ------------------------------------------------------------ decisions

    async def issue(self, key: ClientKey, created: float) -> bool:
        """Put a key in force, unless its id was used before. Raises GatewayError."""
        return await self._put(_KEY + key.id, IssuedKey(key, created), new=True)

    async def revoke(self, id: str, at: float) -> bool:
        """Take a key out of force; whether it was. Raises GatewayError."""
        await self.refresh(strict=True)
        issued = self._keys.get(id)
        if issued is None or issued.revoked is not None:
            return False
        return await self._put(_KEY + id, IssuedKey(issued.key, issued.created, at))

    async def disable(self, provider: str) -> None:
        """No more requests go to a provider. Raises GatewayError."""
        await self._put(_OFF + provider, "off")

    async def enable(self, provider: str) -> None:
        """They do again. Raises GatewayError."""
        await self._open().remove(_OFF + provider)
        await self.refresh()

    async def _put(self, name: str, value: object, *, new: bool = False) -> bool:
        done = await self._open().put(name, msgspec.json.encode(value), new=new)
        await self.refresh()
        return done

    def _open(self) -> Ledger:
        if self._ledger is None:
            raise GatewayError(Kind.UNAVAILABLE, "This gateway has no place to keep decisions.", code="no_ledger")
        return self._ledger

    # ------------------------------------------------------------ failures to sign in

    async def strikes(self, address: str) -> Strikes:
        """An address's failures; while the ledger is away, those that this worker has seen meanwhile."""
        if self._ledger is not None:
            with suppress(StoreUnavailable):
                return await self._ledger.strikes(address)
        return Strikes(self._local.get(address, 0), 60.0)

    async def strike(self, address: str, seconds: float) -> Strikes:
        """One failure more."""
        if self._ledger is not None:
            with suppress(StoreUnavailable):
                return await self._ledger.strike(address, seconds)
        if len(self._local) > _MOST_LOCAL:
            self._local.clear()
        self._local[address] = self._local.get(address, 0) + 1
        return Strikes(self._local[address], 60.0)

    async def forgive(self, address: str) -> None:
        """Forget an address's failures."""
        self._local.pop(address, None)
        if self._ledger is not None:
            with suppress(StoreUnavailable):
                await self._ledger.forgive(address)

    # ------------------------------------------------------------ beside requests

    async def start(self) -> None:
        """Read once, then begin to listen."""
        await self.refresh()
        if self._ledger is not None:
            self._beat = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        if self._beat is not None:
            self._beat.cancel()
            with suppress(asyncio.CancelledError):
                await self._beat
        if self._ledger is not None:
            await self._ledger.close()

    async def refresh(self, *, strict: bool = False) -> None:
        """Read what has changed. Raises StoreUnavailable only if `strict`."""
        if self._ledger is None:
            return
        try:
            version, entries = await self._ledger.read(self._version)
        except StoreUnavailable as error:
            if not self._down:
                log.warning("keys and disabled providers stay as they are for now: %s", error.message)
            self._down = True
            if strict:
                raise
            return
        self._down = False
        self._local.clear()
        if entries is not None:
            self._take(entries)
        self._version = version

    def _take(self, entries: Mapping[str, bytes]) -> None:
        keys = [_DECODER.decode(value) for name, value in entries.items() if name.startswith(_KEY)]
        self._keys = {issued.key.id: issued for issued in keys}
        self._by_hash = {issued.key.sha256: issued.key for issued in keys if issued.revoked is None}
        self._disabled = frozenset(name.removeprefix(_OFF) for name in entries if name.startswith(_OFF))
        self._told(self._disabled)

    async def _listen(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await self.refresh()
            except Exception:
                log.exception("the ledger could not be read")


_MOST_LOCAL: Final = 10_000
