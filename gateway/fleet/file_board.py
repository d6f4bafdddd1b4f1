"""Cool-downs and loads in two files beside the sessions, for the workers of one machine."""

import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from gateway.errors import Kind
from gateway.fleet.board import SILENCE
from gateway.fleet.shared_file import SharedFile
from gateway.routing.health import MEMORY, CoolDown, Failing, Place, after
from gateway.routing.load import InFlight, added

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
Loads = dict[str, tuple[float, list[tuple[str, str, int]]]]
"""By worker: when it told (Unix seconds), and its requests in flight by provider and credential."""


class FileBoard:
    """A Board in `directory`, which is made if need be."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = SharedFile[list[Entry]](directory / "fleet.json", list[Entry], list)
        self._loads = SharedFile[Loads](directory / "load.json", Loads, dict)
        self._clock = clock

    async def read(self) -> dict[Place, CoolDown]:
        entries, now = self._file.read(), self._clock()
        return {entry.place: entry.cool_down().moved(-now) for entry in entries if entry.until + MEMORY > now}

    async def fail(self, place: Place, failing: Failing, ago: float) -> CoolDown:
        def step(known: Known, now: float) -> CoolDown:
            before = known.get(place)
            cooling = after(before.cool_down() if before else None, failing, now, now - ago)
            holder = before.holder if before and cooling.probing else ""
            known[place] = Entry(place, cooling.until, cooling.level, cooling.kind.label, cooling.probing, holder)
            return cooling.moved(-now)

        return await self._change(step)

    async def claim(self, place: Place, holder: str, lease: float) -> tuple[bool, CoolDown | None]:
        def step(known: Known, now: float) -> tuple[bool, CoolDown | None]:
            entry = known.get(place)
            if entry is None:
                return True, None
            granted = entry.until <= now and (entry.probing <= now or entry.holder == holder)
            if granted:
                entry.probing, entry.holder = now + lease, holder
            return granted, entry.cool_down().moved(-now)

        return await self._change(step)

    async def release(self, place: Place, holder: str) -> None:
        def step(known: Known, _: float) -> None:
            entry = known.get(place)
            if entry is not None and entry.holder == holder:
                entry.probing, entry.holder = 0.0, ""

        await self._change(step)

    async def clear(self, place: Place, ago: float | None) -> bool:
        def step(known: Known, now: float) -> bool:
            entry = known.get(place)
            if entry is not None and ago is not None and now - ago < entry.until:
                return False
            known.pop(place, None)
            return True

        return await self._change(step)

    async def load(self, holder: str, own: InFlight) -> InFlight:
        def step(known: Loads) -> tuple[Loads, InFlight]:
            now = self._clock()
            told = {name: load for name, load in known.items() if load[0] > now - SILENCE and name != holder}
            others = added(load for _, load in told.values())
            if own:
                told[holder] = now, [(*seat, number) for seat, number in own.items()]
            return told, others

        return await self._loads.change(step)

    async def close(self) -> None:
        """Nothing is open."""

    async def _change(self, step: Callable[[Known, float], T]) -> T:
        def work(entries: list[Entry]) -> tuple[list[Entry], T]:
            now = self._clock()
            known = {entry.place: entry for entry in entries if entry.until + MEMORY > now}
            result = step(known, now)
            return list(known.values()), result

        return await self._file.change(work)
