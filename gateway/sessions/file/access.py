"""Opening the files of sessions, for work that a thread or the event loop runs; what to do with bad and dead ones."""

import heapq
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from logging import getLogger
from pathlib import Path
from typing import Final, TypeVar

from gateway.errors import SessionLimit, StoreError, StoreUnavailable
from gateway.sessions.file.held import tidy
from gateway.sessions.file.log import Busy, Damaged, LogFile, OldFormat, Torn, set_aside
from gateway.sessions.file.session import NeedsWrite, SessionFile
from gateway.sessions.file.tree import Tree, make_folder, tag_of
from gateway.sessions.store import Head, SessionKey, Wanted

T = TypeVar("T")

_LOG = getLogger(__name__)
_ATTEMPTS: Final = 5
_PAUSE: Final = 0.002
_LOOKED: Final = 2000

Place = tuple[int, str]
"""Where a session is in a listing: its last use in Unix milliseconds, its tag."""


class Access:
    """The files under a Tree. `clock` gives Unix seconds; `patience` bounds the waits of listings, in seconds.

    Everything raises Busy while another process holds the session, and OSError. A damaged file is renamed, logged,
    counted in `damaged`, and from then on there is no such session; `torn` counts unfinished writes dropped.
    """

    def __init__(self, tree: Tree, clock: Callable[[], float], patience: float) -> None:
        self._tree = tree
        self._clock = clock
        self._patience = patience
        self.damaged = 0
        self.torn = 0

    def now(self) -> int:
        """Unix milliseconds."""
        return self.micros() // 1000

    def micros(self) -> int:
        """Unix microseconds."""
        return int(self._clock() * 1_000_000)

    def read(self, path: str, work: Callable[[SessionFile], T], *, inline: bool = False) -> T | None:
        """What `work` makes of a session's file, None if there is no file."""
        try:
            with LogFile(path) as log:
                file = self._open(log, write=False, inline=inline)
                found = work(file)
        except FileNotFoundError:
            return None
        except (Torn, NeedsWrite):
            return self.write(path, work, inline=inline)
        except Damaged as exc:
            self._set_aside(path, exc)
            return None
        if file.expired:
            with suppress(Busy):
                self.write(path, _nothing)
        return found

    def write(
        self, path: str, work: Callable[[SessionFile], T], *, create: bool = False, inline: bool = False
    ) -> T | None:
        """The same, for work that changes the file; it is made first if `create` says so, and removed if dead."""
        for _ in range(_ATTEMPTS):
            try:
                with LogFile(path, write=True, create=create) as log:
                    return self._work(log, work, inline=inline)
            except FileNotFoundError:
                if not create:
                    return None
                make_folder(path)
            except OldFormat:
                self.write(path, SessionFile.rewrite)
            except Damaged as exc:
                self._set_aside(path, exc)
        raise Busy

    def rewrite(self, path: str) -> None:
        """Rewrite a file that is mostly dead, if it still is once nobody else is at it."""
        try:
            self._waiting(lambda: self.write(path, SessionFile.rewrite))
        except StoreError:
            pass
        except OSError as exc:
            _LOG.warning("The session file %s could not be rewritten: %s.", path, exc.strerror)

    # ------------------------------------------------------------ many sessions

    def page(
        self, owner: str | None, after: Place | None, limit: int, wanted: Wanted
    ) -> tuple[list[Head], Place | None, int]:
        """Heads, newest use first, behind `after`; the place to go on from; how many were looked at."""
        heads: list[Head] = []
        looked, most = 0, max(limit, _LOOKED) if wanted.is_picky else limit
        while True:
            places = self._places(owner, after, most + 1)
            for place, path in places:
                if len(heads) == limit or looked == most:
                    return heads, after, looked
                if wanted.since is not None and place[0] < wanted.since:
                    return heads, None, looked
                head = self.patiently(path, SessionFile.whole_head)
                looked += head is not None
                if head is not None and wanted.passes(head):
                    heads.append(head)
                after = place
            if len(places) <= most:
                return heads, None, looked

    def keys(self, paths: Iterator[str], count: int) -> list[SessionKey] | None:
        """The keys of the living among the next `count` paths, None if there are no more paths."""
        batch = list(islice(paths, count))
        found = [self.patiently(path, _key) for path in batch]
        return [key for key in found if key is not None] if batch else None

    def walk(self, owner: str | None = None) -> Iterator[str]:
        """The files of all sessions, or of an owner's."""
        return (entry.path for entry in self._tree.walk(owner))

    def count(self, owner: str | None, since: int) -> int:
        """How many files have a session that was used at `since` or later; dead ones that nobody met count too."""
        places = (_place(entry) for entry in self._tree.walk(owner))
        return sum(1 for place in places if place is not None and place[0] >= since)

    def refuse_more(self, key: SessionKey, most: int) -> None:
        """Raises SessionLimit if the owner has `most` sessions. Two first turns at once may both pass."""
        files = [entry.path for entry in self._tree.walk(key.owner)]
        if len(files) < most or self._tree.path(key) in files:
            return
        alive = sum(1 for path in files if self.patiently(path, _key))
        if alive >= most:
            raise SessionLimit(f"There are {alive} sessions already, as many as this key may have; delete some.")

    def cleanup(self) -> int:
        """Remove expired sessions, tombstones that no longer count, and what was left by crashes."""
        removed = 0
        for path in self.walk():
            with suppress(Busy, StoreUnavailable):
                removed += self._reap(path)
        for path in self._tree.leftovers():
            with suppress(Busy):
                self.write(path, SessionFile.remove_leftover, create=True)
        for path in self._tree.held():
            with suppress(Busy):
                self.write(path, tidy, create=True)
        self._tree.prune()
        return removed

    def patiently(self, path: str, work: Callable[[SessionFile], T]) -> T | None:
        """Like `read`, waiting for the lock, for listings in a thread. A newer version's session is passed over.

        Raises StoreUnavailable rather than Busy.
        """
        try:
            return self._waiting(lambda: self.read(path, work))
        except StoreError as exc:
            if exc.code != "session_format":
                raise
            return None

    def _waiting(self, attempt: Callable[[], T]) -> T:
        until = time.monotonic() + self._patience
        while True:
            try:
                return attempt()
            except Busy:
                if time.monotonic() > until:
                    raise StoreUnavailable("A session is locked by another process for too long.") from None
                time.sleep(_PAUSE)

    # ------------------------------------------------------------ one file

    def _work(self, log: LogFile, work: Callable[[SessionFile], T], *, inline: bool) -> T:
        file = self._open(log, write=True, inline=inline)
        try:
            return work(file)
        finally:
            if file.dead:
                Path(log.path).unlink()

    def _open(self, log: LogFile, *, write: bool, inline: bool) -> SessionFile:
        if log.torn:
            self.torn += 1
            _LOG.warning("An unfinished write at the end of the session file %s was dropped.", log.path)
        file = SessionFile(log, self.micros(), write=write, inline=inline)
        if file.head is not None and self._tree.path(file.head.key) != log.path:
            raise log.damaged()
        return file

    def _set_aside(self, path: str, damaged: Damaged) -> None:
        to = f"{path}.damaged-{self.now()}"
        try:
            found = set_aside(path, damaged.inode, to)
        except FileNotFoundError:
            return
        if found:
            self.damaged += 1
            _LOG.error("A session's file is damaged; it was set aside as %s and the session is lost.", to)

    def _reap(self, path: str) -> bool:
        """Remove a dead file; whether a session died with it."""
        found = self.patiently(path, lambda file: (file.dead, file.expired))
        dead, expired = found or (False, False)
        if dead and not expired:
            self.write(path, _nothing)
        return expired

    def _places(self, owner: str | None, after: Place | None, count: int) -> list[tuple[Place, str]]:
        """The newest files behind `after`. Tombstones are as old as time and stay out."""
        places = ((place, entry.path) for entry in self._tree.walk(owner) if (place := _place(entry)) is not None)
        return heapq.nlargest(count, (found for found in places if after is None or found[0] < after))


def _place(entry: os.DirEntry[str]) -> Place | None:
    try:
        milliseconds = entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return None
    return (milliseconds, tag_of(entry.path)) if milliseconds else None


def _key(file: SessionFile) -> SessionKey | None:
    return None if file.head is None else file.head.key


def _nothing(_: SessionFile) -> None:
    """Opening the file for writing is all: the dead are buried then."""
