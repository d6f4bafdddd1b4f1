"""Cool-downs in Redis: one hash a place, which Redis itself forgets, and one script a step; loads in one hash.

All keys are in one slot, `{prefix}{fleet}`, so that every script is legal on Redis Cluster; Redis' clock is the only
one that counts.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from gateway.errors import Kind
from gateway.fleet.board import SILENCE
from gateway.routing.health import HIGHEST_LEVEL, MEMORY, MOST_PLACES, CoolDown, Failing, Place
from gateway.routing.load import InFlight, added
from gateway.sessions.redis.link import Link, within
from gateway.sessions.redis.wire import Script

T = TypeVar("T")

_LOAD = msgspec.json.Decoder(list[tuple[str, str, int]])
_KINDS = {kind.label: kind for kind in Kind}


class RedisBoard:
    """A Board in Redis. `timeout` bounds each step, in seconds."""

    def __init__(self, link: Link, *, prefix: str, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._prefix = f"{prefix}{{fleet}}:c:"
        self._index = f"{prefix}{{fleet}}:c"
        self._fail, self._claim = Script("fail", __package__), Script("claim", __package__)
        self._release, self._clear = Script("release", __package__), Script("clear", __package__)
        self._read, self._load = Script("read", __package__), Script("load", __package__)
        self._loads = f"{prefix}{{fleet}}:l"

    async def read(self) -> dict[Place, CoolDown]:
        return await within(self._timeout, self._known())

    async def fail(self, place: Place, failing: Failing, ago: float) -> CoolDown:
        keys, kind = (self._key(place), self._index), failing.kind.label
        seconds = [_milliseconds(value) for value in (failing.base, failing.least, failing.cap, ago)]
        how = (*seconds, HIGHEST_LEVEL, _milliseconds(MEMORY))
        reply = await within(self._timeout, self._link.run(self._fail, keys, _encode(place), kind, *how))
        return _cool_down(reply)

    async def claim(self, place: Place, holder: str, lease: float) -> tuple[bool, CoolDown | None]:
        reply = await within(
            self._timeout, self._link.run(self._claim, (self._key(place),), holder, _milliseconds(lease))
        )
        return bool(reply[0]), _cool_down(reply[1:]) if len(reply) > 1 else None

    async def release(self, place: Place, holder: str) -> None:
        await within(self._timeout, self._link.run(self._release, (self._key(place),), holder))

    async def clear(self, place: Place, ago: float | None) -> bool:
        given = "" if ago is None else _milliseconds(ago)
        return bool(await within(self._timeout, self._link.run(self._clear, (self._key(place), self._index), given)))

    async def load(self, holder: str, own: InFlight) -> InFlight:
        told = msgspec.json.encode([(*seat, number) for seat, number in own.items()]) if own else b""
        others = await within(
            self._timeout, self._link.run(self._load, (self._loads,), holder, told, _milliseconds(SILENCE))
        )
        return added(_LOAD.decode(other) for other in others)

    async def close(self) -> None:
        await self._link.close()

    async def _known(self) -> dict[Place, CoolDown]:
        keys = await self._link.call(self._index, "ZREVRANGE", self._index, 0, MOST_PLACES - 1)
        if not keys:
            return {}
        now, *found = await self._link.run(self._read, tuple(key.decode() for key in keys))
        known: dict[Place, CoolDown] = {}
        for place, until, level, kind, probing in found:
            if place is not None:
                times = (int(until) - int(now), int(level), kind, int(probing) - int(now))
                known[msgspec.json.decode(place, type=Place)] = _cool_down(times)
        return known

    def _key(self, place: Place) -> str:
        """No character of a model's name, which may be a client's word, reaches a key."""
        return self._prefix + urlsafe_b64encode(sha256(_encode(place)).digest())[:22].decode()


def _encode(place: Place) -> bytes:
    return msgspec.json.encode(place)


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 0)


def _cool_down(reply: Sequence[Any]) -> CoolDown:
    until, level, kind, probing = reply
    return CoolDown(until / 1000, int(level), _KINDS.get(kind.decode(), Kind.UNAVAILABLE), probing / 1000)
