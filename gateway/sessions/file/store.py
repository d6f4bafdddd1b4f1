"""Sessions in files, for several processes on one machine. Nothing else is needed.

A turn is acknowledged when the kernel has it: killing the process at any instruction loses no acknowledged turn,
losing power may lose the last seconds. Short work is done on the event loop, where it costs less than handing it to
a thread would; long work and waiting are not.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal, Protocol, TypeVar

from msgspec.structs import replace

from gateway.errors import GatewayError, Kind, SessionGone, SessionTooLarge, StoreUnavailable
from gateway.sessions import codec
from gateway.sessions.file import held
from gateway.sessions.file.access import Access, Place
from gateway.sessions.file.log import Busy
from gateway.sessions.file.session import INLINE, Long, SessionFile
from gateway.sessions.file.tree import Tree
from gateway.sessions.known import covers
from gateway.sessions.store import (
    ANY,
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

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_CURSOR = re.compile(r"(\d{1,15})\.([A-Za-z0-9_-]{22})", re.ASCII)
_BATCH: Final = 100


class Work(Protocol[T_co]):
    """Something to do that raises Long rather than stall, if it runs `inline` on the event loop."""

    def __call__(self, *, inline: bool) -> T_co:
        """Do it."""


class FileStore:
    """A SessionStore in a directory of this machine.

    `clock` gives Unix seconds. `timeout` is the longest wait for a session's lock, `tombstone` how long a deleted
    session stays deleted for turns that began before, both in seconds. Raises ConfigError if the directory will not
    do.
    """

    name: Literal["file"] = "file"

    def __init__(
        self,
        directory: str,
        *,
        clock: Callable[[], float] = time.time,
        timeout: float = 2.0,
        tombstone: float = 900.0,
    ) -> None:
        self._tree = Tree(directory)
        self._files = Access(self._tree, clock, timeout)
        self._timeout = timeout
        self._tombstone = int(tombstone * 1000)
        self._rewriting: dict[str, asyncio.Task[None]] = {}

    @property
    def damaged(self) -> int:
        """The files that this process found damaged and set aside."""
        return self._files.damaged

    @property
    def torn(self) -> int:
        """The unfinished writes that this process dropped."""
        return self._files.torn

    # ------------------------------------------------------------ one session

    async def load(
        self, key: SessionKey, *, turns: int, marks: bool, keep: float, below: int = 0, known: Session | None = None
    ) -> Session | None:
        def work(file: SessionFile) -> Session | None:
            news = file.news(of, turns=turns, marks=marks, keep=keep) if of is not None else None
            return news or file.load(turns=turns, marks=marks, keep=keep, below=below)

        of = known if known is not None and not below and covers(known, turns=turns, marks=marks) else None
        return await self._read(key, work)

    async def head(self, key: SessionKey) -> Head | None:
        return await self._read(key, SessionFile.whole_head)

    async def turns(self, key: SessionKey, *, first: int, count: int) -> dict[int, Turn]:
        return await self._read(key, lambda file: file.turns(first, count)) or {}

    async def append(self, key: SessionKey, append: Append) -> Appended:
        turn, mark = codec.encode_turn(replace(append.turn, at=self._files.now()), append.mark)
        if len(turn) > append.limits.max_bytes:
            raise SessionTooLarge("The turn is larger than a session may be (sessions.max_bytes); it is not stored.")
        path, create = self._tree.path(key), append.generation is None
        loaded = None if append.since is None else self._files.micros() - int(append.since * 1_000_000)

        def work(file: SessionFile) -> tuple[Appended, bool]:
            if append.reserved is None:
                return file.append(key, append, turn, mark, loaded), file.wasteful
            held.fence(file, append)
            appended = file.append(key, append, turn, mark, loaded)
            held.release(file, append.token, append.reserved, stored=not append.turn.incomplete)
            return appended, file.wasteful

        def stored(*, inline: bool) -> tuple[Appended, bool] | None:
            most = append.limits.max_sessions if create else 0
            if inline and (most or append_size(append, turn) > INLINE):
                raise Long
            if most:
                self._files.refuse_more(key, most)
            return self._files.write(path, work, create=create)

        found = await self._run(stored)
        if found is None:
            raise SessionGone("This session was deleted or has expired while the request ran; the turn is not stored.")
        appended, wasteful = found
        if wasteful and path not in self._rewriting:
            self._rewriting[path] = asyncio.create_task(self._rewrite(path))
        return appended

    async def flag(self, key: SessionKey, number: int, token: str, *, unconfirmed: bool) -> bool:
        def work(file: SessionFile) -> bool:
            return file.flag(number, token, unconfirmed=unconfirmed)

        return await self._run(lambda **_: self._files.write(self._tree.path(key), work)) or False

    async def delete(self, key: SessionKey) -> bool:
        def work(file: SessionFile) -> bool:
            held.forget(file)
            return file.delete(self._files.now() + self._tombstone)

        return await self._run(lambda **_: self._files.write(self._tree.path(key), work, create=True)) or False

    async def patch(self, key: SessionKey, patch: Patch) -> bool:
        def work(file: SessionFile) -> bool:
            return file.patch(patch)

        return await self._run(lambda **_: self._files.write(self._tree.path(key), work)) or False

    async def write(self, key: SessionKey, session: Session, *, over: Head | bool = False) -> bool:
        def work(file: SessionFile) -> bool:
            return file.put(key, session, over=over)

        path = self._tree.path(key)
        return await self._run(lambda **_: self._files.write(path, work, create=True), inline=False) or False

    # ------------------------------------------------------------ reservations

    async def reserve(self, key: SessionKey, reservation: Reservation) -> Reserved:
        found = await self._held(key, lambda file: held.reserve(file, reservation))
        if found is None:
            raise StoreUnavailable("The session is locked by another process.")
        return found

    async def renew(self, key: SessionKey, reservation: Reservation) -> bool:
        return await self._held(key, lambda file: held.renew(file, reservation)) or False

    async def release(self, key: SessionKey, reservation: Reservation) -> None:
        await self._held(key, lambda file: held.release(file, reservation.holder, reservation))

    async def admit(self, key: SessionKey, limits: Limits) -> None:
        if limits.max_sessions:
            await self._run(lambda **_: self._files.refuse_more(key, limits.max_sessions), inline=False)

    async def _held(self, key: SessionKey, work: Callable[[SessionFile], T]) -> T | None:
        return await self._run(lambda **_: self._files.write(self._tree.path(key), work, create=True))

    # ------------------------------------------------------------ many sessions

    async def owners(self, id: str) -> list[SessionKey]:
        def work() -> list[SessionKey]:
            paths = self._tree.paths_of_id(id)
            return self._files.keys(iter(paths), len(paths)) or []

        return await self._run(lambda **_: work(), inline=False)

    async def scan(self, owner: str | None = None) -> AsyncIterator[SessionKey]:
        paths = self._files.walk(owner)
        while (keys := await self._run(lambda **_: self._files.keys(paths, _BATCH), inline=False)) is not None:
            for key in keys:
                yield key

    async def cleanup(self) -> int:
        return await self._run(lambda **_: self._files.cleanup(), inline=False)

    async def ping(self) -> None:
        def work() -> None:
            if not os.access(self._tree.root, os.W_OK) or os.statvfs(self._tree.root).f_bavail == 0:
                raise StoreUnavailable("The session store's directory cannot be written to, or its disk is full.")

        await self._run(lambda **_: work())

    async def close(self) -> None:
        await asyncio.gather(*self._rewriting.values())

    # ------------------------------------------------------------ where work runs

    async def _read(self, key: SessionKey, work: Callable[[SessionFile], T]) -> T | None:
        path = self._tree.path(key)
        return await self._run(lambda *, inline: self._files.read(path, work, inline=inline))

    async def _run(self, work: Work[T], *, inline: bool = True) -> T:
        """Work that is told whether it runs on the event loop; in a thread if that is Long, again while Busy."""
        until = time.monotonic() + self._timeout
        pause = 0.001
        while True:
            try:
                if inline:
                    return work(inline=True)
                thread = asyncio.ensure_future(asyncio.to_thread(work, inline=False))
                thread.add_done_callback(_heard)
                return await asyncio.shield(thread)
            except Long:
                inline = False
            except Busy:
                if time.monotonic() > until:
                    raise StoreUnavailable("The session is locked by another process.") from None
                await asyncio.sleep(pause)
                pause = min(2 * pause, 0.02)
            except OSError as exc:
                raise StoreUnavailable(f"The session store's disk fails: {exc.strerror}.") from exc

    async def _rewrite(self, path: str) -> None:
        try:
            await asyncio.to_thread(self._files.rewrite, path)
        finally:
            del self._rewriting[path]

    async def count(self, owner: str | None = None, *, since: int = 0) -> int:
        return await self._run(lambda **_: self._files.count(owner, since), inline=False)

    async def list(
        self, *, owner: str | None = None, cursor: str | None = None, limit: int = 100, wanted: Wanted = ANY
    ) -> Listed:
        after = None if cursor is None else _place_of(cursor)
        if wanted.until is not None and (after is None or after[0] > wanted.until):
            after = wanted.until + 1, ""
        heads, last, looked = await self._run(lambda **_: self._files.page(owner, after, limit, wanted), inline=False)
        return Listed(heads=tuple(heads), next=None if last is None else f"{last[0]}.{last[1]}", looked=looked)


def _heard(thread: asyncio.Future[T]) -> None:
    """What went wrong in a thread is known, even if whoever waited for it was cancelled."""
    if not thread.cancelled():
        thread.exception()


def append_size(append: Append, turn: bytes) -> int:
    """About how many bytes an append writes."""
    said = (append.system, append.preamble, append.tools)
    return len(turn) + sum(len(message) for part in said if part for message in part.messages)


def _place_of(cursor: str) -> Place:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise GatewayError(Kind.INVALID, "This cursor is not one of ours; start the list anew.", param="cursor")
    return int(match[1]), match[2]
