"""Finding sessions in Redis: sorted sets of tags by last use, of all sessions, of each owner's, of each id's.

The sets are spread over shards, so that Redis Cluster spreads them over its servers. A session is written to them
before its first turn, so that none escapes an erasure; its last use follows later, from a task that collects many.
Entries whose session is gone fall out when they are met, and every write meets a few of the oldest.
"""

import asyncio
import contextlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from zlib import crc32

from msgspec import Struct

from gateway.errors import GatewayError, Kind
from gateway.sessions.redis.lanes import FAILURES
from gateway.sessions.redis.link import Link
from gateway.sessions.redis.wire import Script
from gateway.sessions.store import Limits, SessionKey

REFRESH = 2.0
"""Seconds in which uses are collected before they are written."""

_SHARDS = 16
_MANY = 2000
_PRUNED = 4
_CHUNK = 200
_DAY = 86400.0
_CURSOR = re.compile(r"(\d{1,15})-([A-Za-z0-9_-]{22})", re.ASCII)


class Entry(NamedTuple):
    """A session in a set: when it was last used (Unix milliseconds), its tag. Newer is greater."""

    at: int
    tag: str

    @property
    def cursor(self) -> str:
        """What a page that ends here is continued by."""
        return f"{self.at}-{self.tag}"


def read_cursor(cursor: str) -> Entry:
    """The entry behind which a page goes on. Raises GatewayError (INVALID) for a cursor that is not ours."""
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise GatewayError(Kind.INVALID, "This cursor is not one that was given out.", param="cursor")
    return Entry(int(match[1]), match[2])


class _Use(Struct):
    """The last use of a session, to be written."""

    key: SessionKey
    at: int | str
    limits: Limits


class Index:
    """The sorted sets. Raises what its Link raises."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._touch, self._drop, self._count = Script("touch"), Script("drop"), Script("count")
        self._uses: dict[str, _Use] = {}
        self._stale: dict[str, list[Entry]] = {}
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ writing

    async def add(self, key: SessionKey, limits: Limits) -> None:
        """A session that is about to be made."""
        await asyncio.gather(*(self._write(name, [_Use(key, "", limits)]) for name in self._names(key)))

    async def place(self, key: SessionKey, at: int | None, seconds: float) -> None:
        """A session that shall live for so long; `at` is its last use in Unix milliseconds, None to leave that."""
        life = int(seconds + _DAY)
        for name in self._names(key):
            if at is not None:
                await self._link.run(self._touch, (name,), life, 0, 0, at, key.tag)
            else:
                await self._link.run(self._touch, (name,), life, 0, 0)

    def used(self, key: SessionKey, at: int, limits: Limits) -> None:
        """A session was used; written within REFRESH seconds, unless Redis is away then."""
        self._uses[key.tag] = _Use(key, at, limits)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._refresh())

    async def flush(self) -> None:
        """Write now what was collected."""
        uses, self._uses = self._uses, {}
        writes: dict[str, list[_Use]] = {}
        for use in uses.values():
            for name in self._names(use.key)[:2]:
                writes.setdefault(name, []).append(use)
        await asyncio.gather(*(self._write(name, given) for name, given in writes.items()))

    async def remove(self, key: SessionKey) -> None:
        """A session that was deleted."""
        self._uses.pop(key.tag, None)
        await asyncio.gather(*(self._link.call(name, "ZREM", name, key.tag) for name in self._names(key)))

    async def close(self) -> None:
        """Write what was collected, if that is possible."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(*FAILURES):
            await self.flush()

    async def _refresh(self) -> None:
        while self._uses:
            if len(self._uses) < _MANY:
                await asyncio.sleep(REFRESH)
            with contextlib.suppress(*FAILURES):  # what is lost is a place in a list, until the next turn
                await self.flush()
                await self._prune()

    async def _write(self, name: str, uses: Sequence[_Use]) -> None:
        life = int(max(use.limits.max_age for use in uses) + _DAY)
        unused = int(max(use.limits.ttl for use in uses) * 1000)
        fields = [field for use in uses for field in (use.at, use.key.tag)]
        stale = _entries(await self._link.run(self._touch, (name,), life, unused, _PRUNED, *fields))
        if stale and len(self._stale) < _MANY:
            self._stale[name] = stale

    async def _prune(self) -> None:
        stale, self._stale = self._stale, {}
        for name, entries in stale.items():
            keys = [self.key_of(entry.tag) for entry in entries]
            there = await asyncio.gather(*(self._link.call(key, "EXISTS", key) for key in keys))
            await self.drop(name, [entry for entry, exists in zip(entries, there, strict=True) if not exists])

    async def drop(self, name: str, entries: Sequence[Entry]) -> None:
        """Entries of one set whose session is gone; one that was used again meanwhile stays."""
        if entries:
            await self._link.run(self._drop, (name,), *(field for entry in entries for field in entry))

    # ------------------------------------------------------------ reading

    async def count(self, key: SessionKey, limits: Limits) -> int:
        """About how many sessions the owner of `key` has, without `key` itself."""
        alive = int((limits.ttl + 2 * REFRESH) * 1000)
        names = [self._owned(key.owner, shard) for shard in range(_SHARDS)]
        return sum(await asyncio.gather(*(self._link.run(self._count, (name,), alive, key.tag) for name in names)))

    async def total(self, owner: str | None, since: int) -> int:
        """How many sessions have their last use at `since` or later."""
        counts = (self._link.call(name, "ZCOUNT", name, since, "+inf") for name in self.shards(owner))
        return sum(await asyncio.gather(*counts))

    async def newest(
        self, owner: str | None, before: Entry | None, count: int, since: int | None = None
    ) -> list[tuple[Entry, str]]:
        """The `count` last used sessions of an owner, or of all, that come after `before`, each with its set.

        None that was used before `since`; a use that was not written down yet counts.
        """
        names = self.shards(owner)
        oldest = "-inf" if since is None else since - int(4 * REFRESH * 1000)
        share = min(count, 2 * count // _SHARDS + 8)  # sessions are spread evenly: rarely a shard has more of them
        found: list[tuple[Entry, str]] = []
        while True:
            parts = await asyncio.gather(*(self._below(name, before, oldest, share) for name in names))
            edge = max((part[-1] for part in parts if len(part) == share), default=None)
            read = ((entry, name) for name, part in zip(names, parts, strict=True) for entry in part)
            found += sorted((one for one in read if edge is None or one[0] >= edge), reverse=True)
            if edge is None or len(found) >= count:
                return found[:count]
            before = edge

    async def of_id(self, id: str) -> tuple[str, list[Entry]]:
        """The set of all sessions with this id, and its entries."""
        name = self._named(id)
        return name, _entries(await self._link.call(name, "ZRANGE", name, 0, -1, "WITHSCORES"))

    def shards(self, owner: str | None = None) -> list[str]:
        """The sets of all sessions, or of an owner's."""
        return [self._all(shard) if owner is None else self._owned(owner, shard) for shard in range(_SHARDS)]

    async def walk(self, name: str, start: int) -> tuple[int, list[Entry]]:
        """Some entries of a set, and where to go on; 0 is both the start and the end. An entry may come twice."""
        cursor, flat = await self._link.call(name, "ZSCAN", name, start, "COUNT", _CHUNK)
        return int(cursor), _entries(flat)

    async def _below(self, name: str, before: Entry | None, oldest: int | str, count: int) -> list[Entry]:
        top = "+inf" if before is None else before.at
        found: list[Entry] = []
        offset = 0
        while True:
            limits = ("BYSCORE", "REV", "LIMIT", offset, count, "WITHSCORES")
            read = _entries(await self._link.call(name, "ZRANGE", name, top, oldest, *limits))
            found += [entry for entry in read if before is None or entry < before]
            if len(read) < count or len(found) >= count:
                return found[:count]
            offset += count

    # ------------------------------------------------------------ names

    def key_of(self, tag: str) -> str:
        """The key of a session's hash."""
        return f"{self._prefix}{{{tag}}}:s"

    def _names(self, key: SessionKey) -> tuple[str, str, str]:
        shard = crc32(key.tag.encode()) % _SHARDS
        return self._all(shard), self._owned(key.owner, shard), self._named(key.id)

    def _all(self, shard: int) -> str:
        return f"{self._prefix}i:all:{shard}"

    def _owned(self, owner: str, shard: int) -> str:
        return f"{self._prefix}i:owner:{_hash(owner)}:{shard}"

    def _named(self, id: str) -> str:
        return f"{self._prefix}i:id:{_hash(id)}"


def _hash(text: str) -> str:
    return urlsafe_b64encode(sha256(text.encode()).digest())[:22].decode()


def _entries(flat: list[Any]) -> list[Entry]:
    return [Entry(int(float(at)), tag.decode()) for tag, at in zip(flat[::2], flat[1::2], strict=True)]
