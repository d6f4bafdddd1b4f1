"""The ledger in Redis: one hash of entries, one counter for each address that failed to sign in."""

import asyncio
from typing import Any, TypeVar

from gateway.ledger.ledger import Entries, Strikes
from gateway.sessions.redis.link import Link, within
from gateway.sessions.redis.wire import Script

T = TypeVar("T")

_VERSION = b""


class RedisLedger:
    """A Ledger in Redis. `timeout` bounds each step, in seconds."""

    def __init__(self, link: Link, *, prefix: str, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._entries = f"{prefix}{{ledger}}:e"
        self._strikes = f"{prefix}{{ledger}}:f:"
        self._put, self._strike = Script("put", __package__), Script("strike", __package__)

    async def read(self, seen: str) -> tuple[str, Entries | None]:
        version = (await self._call(self._entries, "HGET", self._entries, _VERSION) or b"").decode()
        if version == seen:
            return version, None
        flat = await self._call(self._entries, "HGETALL", self._entries)
        found = dict(zip(flat[::2], flat[1::2], strict=True))
        version = found.pop(_VERSION, b"").decode()
        return version, {name.decode(): value for name, value in found.items()}

    async def put(self, name: str, value: bytes, *, new: bool = False) -> bool:
        return await self._changed("new" if new else "put", name, value)

    async def remove(self, name: str) -> bool:
        return await self._changed("remove", name, b"")

    async def strikes(self, address: str) -> Strikes:
        key = self._strikes + address
        count, left = await asyncio.gather(self._call(key, "GET", key), self._call(key, "PTTL", key))
        return Strikes(int(count), left / 1000) if count and left > 0 else Strikes()

    async def strike(self, address: str, seconds: float) -> Strikes:
        key = self._strikes + address
        return Strikes(await within(self._timeout, self._link.run(self._strike, (key,), int(seconds * 1000))), seconds)

    async def forgive(self, address: str) -> None:
        key = self._strikes + address
        await self._call(key, "DEL", key)

    async def close(self) -> None:
        await self._link.close()

    async def _changed(self, verb: str, name: str, value: bytes) -> bool:
        return bool(await within(self._timeout, self._link.run(self._put, (self._entries,), verb, name, value)))

    async def _call(self, key: str, *args: str | bytes) -> Any:  # noqa: ANN401 - Redis answers anything
        return await within(self._timeout, self._link.call(key, *args))
