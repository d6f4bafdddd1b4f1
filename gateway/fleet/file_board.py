"""Cool-downs in a file beside the sessions, for the workers of one machine."""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from gateway.errors import Kind, StoreUnavailable
from gateway.routing.health import MEMORY, CoolDown, Failing, Place, after

T = TypeVar("T")

_KINDS = {kind.label: kind for kind in Kind}


class Entry(Struct, array_like=True):
    """A cool-down as it is written: Unix seconds, and who probes."""

    place: Place
    until: float
    level: int
    kind: str
    probing: float = 0.0
    holder: str = ""

    def cool_down(self) -> CoolDown:
        """The same for reading."""
        return CoolDown(self.until, self.level, _KINDS.get(self.kind, Kind.UNAVAILABLE), self.probing)


Known = MutableMapping[Place, Entry]

_DECODER = msgspec.json.Decoder(list[Entry])


class FileBoard:
    """A Board in `directory`, which is made if need be: a small file that is replaced whole, under a lock."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = directory / "fleet.json"
        self._lock = directory / "fleet.lock"
        self._clock = clock
        self._seen = (0, 0)
        self._entries: list[Entry] = []

    async def read(self) -> dict[Place, CoolDown]:
        try:
            status = self._path.stat()
            if (status.st_mtime_ns, status.st_ino) != self._seen:
                self._entries = self._load()
                self._seen = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise _unavailable() from exc
        now = self._clock()
        return {entry.place: entry.cool_down().moved(-now) for entry in self._entries if entry.until + MEMORY > now}

    async def fail(self, place: Place, failing: Failing, ago: float) -> CoolDown:
        def step(known: Known, now: float) -> CoolDown:
            before = known.get(place)
            cooling = after(before.cool_down() if before else None, failing, now, now - ago)
            holder = before.holder if before and cooling.probing else ""
            known[place] = Entry(place, cooling.until, cooling.level, cooling.kind.label, cooling.probing, holder)
            return cooling.moved(-now)

        return await self._locked(step)

    async def claim(self, place: Place, holder: str, lease: float) -> tuple[bool, CoolDown | None]:
        def step(known: Known, now: float) -> tuple[bool, CoolDown | None]:
            entry = known.get(place)
            if entry is None:
                return True, None
            granted = entry.until <= now and (entry.probing <= now or entry.holder == holder)
            if granted:
                entry.probing, entry.holder = now + lease, holder
            return granted, entry.cool_down().moved(-now)

        return await self._locked(step)

    async def release(self, place: Place, holder: str) -> None:
        def step(known: Known, _: float) -> None:
            entry = known.get(place)
            if entry is not None and entry.holder == holder:
                entry.probing, entry.holder = 0.0, ""

        await self._locked(step)

    async def clear(self, place: Place, ago: float | None) -> bool:
        def step(known: Known, now: float) -> bool:
            entry = known.get(place)
            if entry is not None and ago is not None and now - ago < entry.until:
                return False
            known.pop(place, None)
            return True

        return await self._locked(step)

    async def close(self) -> None:
        """Nothing is open."""

    async def _locked(self, step: Callable[[Known, float], T]) -> T:
        try:
            return await asyncio.to_thread(self._change, step)
        except OSError as exc:
            raise _unavailable() from exc

    def _change(self, step: Callable[[Known, float], T]) -> T:
        with self._alone():
            now = self._clock()
            known = {entry.place: entry for entry in self._load() if entry.until + MEMORY > now}
            result = step(known, now)
            new = self._path.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_bytes(msgspec.json.encode(list(known.values())))
            new.replace(self._path)
        return result

    def _load(self) -> list[Entry]:
        try:
            return _DECODER.decode(self._path.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return []

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("The file that workers share cannot be used.", code="store_unavailable")
