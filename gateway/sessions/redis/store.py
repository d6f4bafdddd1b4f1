"""Sessions in Redis: one hash a session, one script a step.

Redis 7.0 or newer, or Valkey; a single server, Sentinel or Cluster. Its clock is the only one that counts. The hash
has the fields that `load.lua` names, `t:<n>` for a turn, `d:<n>` for its mark and `x:<token>` for who appended it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final, Literal, ParamSpec, TypeVar

from msgspec.structs import replace
from redis.exceptions import ResponseError

from gateway.errors import SessionGone, SessionLimit, SessionTooLarge, StoreUnavailable
from gateway.sessions import codec
from gateway.sessions.breaker import Breaker
from gateway.sessions.known import covers, unchanged
from gateway.sessions.redis.edit import STAGED, fields_of, patch_arguments
from gateway.sessions.redis.fields import (
    NOW,
    Window,
    append_arguments,
    load_arguments,
    read_appended,
    read_session,
    reserve_arguments,
    stored_token,
)
from gateway.sessions.redis.index import Entry, Index, read_cursor
from gateway.sessions.redis.lanes import FAILURES
from gateway.sessions.redis.link import Link, takes_no_writes, unavailable
from gateway.sessions.redis.wire import Script
from gateway.sessions.store import (
    ANY,
    OUTCOMES,
    Append,
    Appended,
    Head,
    Limits,
    Listed,
    Patch,
    Reservation,
    Reserved,
    Session,
    SessionKey,
    Turn,
    Wanted,
)

P = ParamSpec("P")
T = TypeVar("T")

_ODD = (TypeError, ValueError, LookupError, AttributeError)
"""What reading an answer of another shape raises."""

_LOGGER = logging.getLogger(__name__)

_ROUNDS = 8
_CHUNK = 200
_LOOKED = 400


class RedisStore:
    """A SessionStore in Redis.

    Every method takes at most `timeout` seconds, whatever it does. `tombstone` is how long, in seconds, a deleted
    session cannot be made again by a turn that was running: the longest a turn may take, and a little more.
    """

    name: Final[Literal["file", "redis"]] = "redis"

    def __init__(
        self,
        link: Link,
        *,
        prefix: str = "gw:",
        timeout: float = 0.25,
        tombstone: float = 900.0,
        breaker: Breaker | None = None,
    ) -> None:
        self._link = link
        self._prefix = prefix
        self._timeout = timeout
        self._tombstone = tombstone
        self.breaker = breaker or Breaker(time.monotonic)
        self._index = Index(link, prefix)
        self._load, self._append = Script("load"), Script("append")
        self._flag, self._delete, self._reserve = Script("flag"), Script("delete"), Script("reserve")
        self._patch, self._stage, self._install = Script("patch"), Script("stage"), Script("install")

    # ------------------------------------------------------------ turns

    def load(
        self, key: SessionKey, *, turns: int, marks: bool, keep: float, below: int = 0, known: Session | None = None
    ) -> Coroutine[Any, Any, Session | None]:
        if known is not None and (below or not covers(known, turns=turns, marks=marks)):
            known = None
        return self._once(self._read, key, Window(turns, below, marks, keep), known)

    async def turns(self, key: SessionKey, *, first: int, count: int) -> Mapping[int, Turn]:
        first = max(first, 1)
        session = await self._within(self._read, key, Window(turns=count, below=first + count))
        return session.turns if session is not None else {}

    async def head(self, key: SessionKey) -> Head | None:
        part = await self._within(self._part, self._key(key.tag), Window())
        return part[0].head if part is not None else None

    def append(self, key: SessionKey, append: Append) -> Coroutine[Any, Any, Appended]:
        guarded = self._within if append.generation is None else self._once
        return guarded(self._put, key, append)

    async def flag(self, key: SessionKey, number: int, token: str, *, unconfirmed: bool) -> bool:
        args = (number, stored_token(token), int(unconfirmed))
        return bool(await self._within(self._link.run, self._flag, (self._key(key.tag),), *args))

    async def delete(self, key: SessionKey) -> bool:
        keys = (self._key(key.tag), *self._beside(key, "d", "l"))
        existed = await self._within(self._link.run, self._delete, keys, int(self._tombstone * 1000), durable=True)
        with suppress(StoreUnavailable):  # then the entries fall out when they are met
            await self._within(self._index.remove, key)
        return bool(existed)

    async def patch(self, key: SessionKey, patch: Patch) -> bool:
        if patch.keep is not None:
            await self._within(self._index.place, key, None, patch.keep)
        reply = await self._within(self._link.run, self._patch, (self._key(key.tag),), *patch_arguments(patch))
        match reply:
            case [b"ok", _]:
                return True
            case [b"gone"]:
                raise SessionGone("The session was deleted or made anew meanwhile.", code="session_gone")
            case [b"format", version]:
                codec.refuse_newer(version)
        return False

    async def write(self, key: SessionKey, session: Session, *, over: Head | bool = False) -> bool:
        beside = f"{self._prefix}{{{key.tag}}}:w:{token_hex(8)}"
        count = 0
        for fields in fields_of(key, session, token_hex(8)):
            await self._within(self._link.run, self._stage, (beside,), STAGED, *fields)
            count += len(fields) // 2
        life = max((session.head.expires - session.head.updated) / 1000, 0.0)
        await self._within(self._index.place, key, session.head.updated, life)
        that = (over.generation, over.revision) if isinstance(over, Head) else ()
        keys, args = (self._key(key.tag), beside), (int(bool(over)), session.head.expires, count, *that)
        done = await self._within(self._link.run, self._install, keys, *args)
        if done < 0:
            raise StoreUnavailable("The session took too long to write; try again.", code="store_unavailable")
        return bool(done)

    # ------------------------------------------------------------ reservations

    async def reserve(self, key: SessionKey, reservation: Reservation) -> Reserved:
        return await self._within(self._take, key, reservation)

    async def renew(self, key: SessionKey, reservation: Reservation) -> bool:
        return bool(await self._within(self._hold, key, reservation, "renew"))

    async def release(self, key: SessionKey, reservation: Reservation) -> None:
        await self._within(self._hold, key, reservation, "free")

    async def admit(self, key: SessionKey, limits: Limits) -> None:
        await self._within(self._refuse_more, key, limits)

    # ------------------------------------------------------------ finding sessions

    async def owners(self, id: str) -> list[SessionKey]:
        name, entries = await self._within(self._index.of_id, id)
        found: list[SessionKey] = []
        for start in range(0, len(entries), _CHUNK):
            found += await self._within(self._keys, name, entries[start : start + _CHUNK])
        return [key for key in found if key.id == id]

    async def scan(self, owner: str | None = None) -> AsyncIterator[SessionKey]:
        for name in self._index.shards(owner):
            seen: set[str] = set()
            cursor = -1
            while cursor != 0:
                cursor, entries = await self._within(self._index.walk, name, max(cursor, 0))
                fresh = [entry for entry in entries if entry.tag not in seen]
                seen.update(entry.tag for entry in fresh)
                for key in await self._within(self._keys, name, fresh):
                    yield key

    async def cleanup(self) -> int:
        return 0

    # ------------------------------------------------------------ service

    async def ping(self) -> None:
        await self._within(self._link.everywhere, "PING")

    async def check(self) -> None:
        """Warns in the log if Redis may throw sessions away. Raises StoreUnavailable."""
        for policy in await self._within(self._policies):
            if policy.startswith("allkeys-"):
                _LOGGER.warning(
                    "Redis has maxmemory-policy %s: when its memory is full it deletes sessions that are in use. "
                    "Set maxmemory-policy to noeviction.",
                    policy,
                )

    async def close(self) -> None:
        with suppress(StoreUnavailable):
            await self._within(self._index.close)
        await self._link.close()

    async def count(self, owner: str | None = None, *, since: int = 0) -> int:
        return await self._within(self._index.total, owner, since)

    async def list(
        self, *, owner: str | None = None, cursor: str | None = None, limit: int = 100, wanted: Wanted = ANY
    ) -> Listed:
        before = read_cursor(cursor) if cursor is not None else None
        if wanted.until is not None and (before is None or before.at > wanted.until):
            before = Entry(wanted.until + 1, "")
        return await self._within(self._list, owner, before, max(limit, 1), wanted)

    async def _policies(self) -> Sequence[str]:
        try:
            answers = await self._link.everywhere("CONFIG", "GET", "maxmemory-policy")
        except ResponseError:  # many services forbid CONFIG
            return []
        return [answer[1].decode() for answer in answers if answer]

    async def _within(self, step: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """A step of any number of commands, all within the time."""

        async def limited() -> T:
            async with asyncio.timeout(self._timeout):
                return await step(*args, **kwargs)

        return await self._once(limited)

    async def _once(self, step: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """A step that is limited in time by itself; the breaker permits it and learns how it ended."""
        breaker = self.breaker
        attempt = breaker.begin()
        try:
            result = await step(*args, **kwargs)
        except Exception as exc:
            failure = self._failure(exc, attempt)
            if failure is exc:
                raise
            raise failure from exc
        except BaseException:
            breaker.end(attempt, failed=None)
            raise
        if attempt is not None or breaker.failures:
            breaker.end(attempt, failed=False)
        return result

    def _failure(self, exc: Exception, attempt: object) -> Exception:
        """What is told of a step that failed with `exc`."""
        told, failed, openings = exc, isinstance(exc, StoreUnavailable), self.breaker.openings
        if isinstance(exc, FAILURES):
            told, failed = unavailable(exc), not takes_no_writes(exc)  # then reading goes on
        elif isinstance(exc, _ODD):
            _LOGGER.error("Redis answered with something that is not understood", exc_info=exc)
            message = "The session store answered with something that is not understood."
            told, failed = StoreUnavailable(message, code="store_unavailable"), True
        self.breaker.end(attempt, failed=failed)
        if self.breaker.openings > openings:
            _LOGGER.warning("Redis fails and is left alone for a while: %s (%r)", told, exc)
        return told

    def _key(self, tag: str) -> str:
        return f"{self._prefix}{{{tag}}}:s"

    def _beside(self, key: SessionKey, *names: str) -> tuple[str, ...]:
        """Further keys of a session, in its slot."""
        return tuple(f"{self._prefix}{{{key.tag}}}:{name}" for name in names)

    # ------------------------------------------------------------ steps

    async def _read(self, key: SessionKey, window: Window, known: Session | None = None) -> Session | None:
        """The head and the turns of a window, in as many calls as their bytes need."""
        name, began = self._key(key.tag), time.monotonic()
        reply = await self._link.run(self._load, (name,), *load_arguments(window, known))
        if known is not None and isinstance(reply, int):
            return unchanged(known, turns=window.turns, marks=window.marks, expires=reply)
        session = read_session(reply, window, known)[0] if reply is not None else None
        if session is None or _is_whole(session, window):
            return session
        async with asyncio.timeout(self._timeout - (time.monotonic() - began)):
            for _ in range(_ROUNDS):
                whole = await self._rest(name, session, window.bottom(session.head))
                if whole is not None:
                    return whole
                part = await self._part(name, window)
                if part is None or _is_whole(part[0], window):
                    return part and part[0]
                session = part[0]
        raise StoreUnavailable("The session changes faster than it can be read.", code="store_unavailable")

    async def _rest(self, name: str, session: Session, bottom: int) -> Session | None:
        """`session` with its turns from `bottom` on, or None if the session is not the same any more."""
        head = session.head
        while session.turns and (low := min(session.turns)) > bottom:
            got = await self._part(name, Window(turns=low - bottom, below=low))
            if got is None or got[0].head.generation != head.generation or got[1] > head.revision:
                return None
            more = got[0]
            if not more.turns:
                break  # they were trimmed meanwhile
            marks, turns = {**more.marks, **session.marks}, {**more.turns, **session.turns}
            session = replace(session, marks=marks, turns=turns)
        return session

    async def _part(self, name: str, window: Window) -> tuple[Session, int] | None:
        """One call's worth, and the revision at which turns were replaced last."""
        reply = await self._link.run(self._load, (name,), *load_arguments(window))
        return read_session(reply, window) if reply is not None else None

    async def _put(self, key: SessionKey, append: Append) -> Appended:
        limits = append.limits
        turn, mark = codec.encode_turn(append.turn, append.mark)
        if len(turn) > limits.max_bytes:
            raise SessionTooLarge(
                f"This turn takes {len(turn)} bytes, and a session may have {limits.max_bytes}.",
                code="session_too_large",
            )
        if append.generation is None:
            began = time.monotonic()
            await self._refuse_more(key, limits)
            await self._index.add(key, limits)
            if append.since is not None:
                append = replace(append, since=append.since + time.monotonic() - began)
        keys: tuple[str, ...] = (self._key(key.tag),)
        if append.reserved is not None:
            keys += self._beside(key, "d", "l", f"k:{append.reserved.retry}")
        elif append.generation is None:
            keys += self._beside(key, "d")
        reply = await self._link.run(self._append, keys, *append_arguments(key, append, turn, mark), durable=True)
        appended = read_appended(reply, len(turn))
        self._index.used(key, reply[NOW], limits)
        return appended

    async def _take(self, key: SessionKey, reservation: Reservation) -> Reserved:
        found = await self._hold(key, reservation, "take")
        if isinstance(found, int):
            return Reserved("stored", found)
        for outcome in OUTCOMES:
            if found == outcome.encode():
                return Reserved(outcome)
        raise ValueError(found)

    async def _hold(self, key: SessionKey, reservation: Reservation, verb: str) -> Any:  # noqa: ANN401
        keys = (self._key(key.tag), *self._beside(key, "l", f"k:{reservation.retry}"))
        return await self._link.run(self._reserve, keys, *reserve_arguments(verb, reservation))

    async def _refuse_more(self, key: SessionKey, limits: Limits) -> None:
        if limits.max_sessions and await self._index.count(key, limits) >= limits.max_sessions:
            raise SessionLimit(
                f"There are {limits.max_sessions} sessions, as many as this key may have; delete some.",
                code="session_limit",
            )

    async def _list(self, owner: str | None, before: Entry | None, limit: int, wanted: Wanted) -> Listed:
        await self._index.flush()
        found: list[Head] = []
        looked, most = 0, max(limit, _LOOKED) if wanted.is_picky else limit
        for _ in range(_ROUNDS):
            count = most + 1 - looked
            entries = await self._index.newest(owner, before, count, wanted.since)
            heads = await asyncio.gather(*(self._look(entry.tag, wanted) for entry, _ in entries))
            for (entry, name), head in zip(entries, heads, strict=True):
                if head is None:
                    await self._index.drop(name, [entry])
                    continue
                if len(found) == limit or looked == most:
                    return Listed(heads=tuple(found), next=before.cursor if before else None, looked=looked)
                before, looked = entry, looked + 1
                if head and wanted.passes(head):
                    found.append(head)
            if len(entries) < count:
                return Listed(heads=tuple(found), looked=looked)
            before = entries[-1][0]
        return Listed(heads=tuple(found), next=before.cursor if before else None, looked=looked)

    async def _look(self, tag: str, wanted: Wanted) -> Head | Literal[False] | None:
        """A session's head, None if it is gone; False if it is not wanted, which a few of its fields tell."""
        name = self._key(tag)
        if wanted.is_picky:
            user, pin, last = await self._link.call(name, "HMGET", name, "user", "pin", "last")
            if user is None:
                return None
            served = pin and codec.decode_pin(pin), last and codec.decode_origin(last)
            if not wanted.fits(user.decode(), *served):
                return False
        part = await self._part(name, Window())
        return part and part[0].head

    async def _keys(self, name: str, entries: Sequence[Entry]) -> Sequence[SessionKey]:
        """Whose sessions these entries of a set are; those without a session leave the set."""
        keys = [self._key(entry.tag) for entry in entries]
        read = await asyncio.gather(*(self._link.call(key, "HMGET", key, "owner", "user", "id") for key in keys))
        await self._index.drop(name, [e for e, (o, _, _) in zip(entries, read, strict=True) if o is None])
        return [SessionKey(*(part.decode() for part in parts)) for parts in read if parts[0] is not None]


def _is_whole(session: Session, window: Window) -> bool:
    """Whether all turns of a window were read that there are."""
    bottom = window.bottom(session.head)
    return next(iter(session.turns), bottom) <= bottom
