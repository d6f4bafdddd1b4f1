"""One worker's part in the fleet: it decides by what it knows itself, and tells and hears the rest beside requests.

Without a board a worker knows what it has met itself. With one, it hears of others' failures at most `PERIOD` seconds
after they were told, and decides without a round trip. The one exception: who would be the first to try a target
after its cool-down asks the board, so that the fleet sends one probe at a time. A board that is down is done without.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from secrets import token_hex
from types import TracebackType
from typing import Any, Final

from msgspec.structs import replace

from gateway.errors import Kind, StoreUnavailable, UpstreamError
from gateway.fleet.board import Board
from gateway.metrics import Metrics
from gateway.routing.health import Health, Place, after, failing, is_fault_of_request, place_of
from gateway.routing.load import Load, Seat
from gateway.routing.plan import State
from gateway.routing.table import ACCOUNT, Target

log = logging.getLogger("gateway.fleet")

PERIOD: Final = 0.5
"""Seconds between two looks at the board."""
LEASE: Final = 10.0
"""Seconds that a probe is waited for once its worker is silent; while the worker lives the lease is renewed."""


class Fleet:
    """The health and the load of all targets, as this worker sees them. `clock` is that of all waits, in seconds."""

    def __init__(self, board: Board | None, clock: Callable[[], float], metrics: Metrics | None = None) -> None:
        self._board = board
        self._metrics = metrics
        if metrics is not None:
            metrics.samplers.append(self._show)
        self._shown: set[Seat] = set()
        self._busy: set[Seat] = set()
        self._clock = clock
        self._holder = token_hex(8)
        self._health = Health()
        self._load = Load()
        self._probes: Counter[Place] = Counter()
        self._telling: Counter[Place] = Counter()
        self._touched: set[Place] = set()
        self._untold: set[Place] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat: asyncio.Task[None] | None = None
        self._down = False
        self.disabled: frozenset[str] = frozenset()
        self.shares_load = False
        """Whether workers tell each other how busy they are; otherwise each knows its own requests only."""
        self.refused: Callable[[Seat], None] = lambda _: None
        """Told of a credential whose key was refused, and comes from a file or a command that may have another."""

    @property
    def health(self) -> Health:
        """The cool-downs, at most a second old."""
        return self._health

    @property
    def load(self) -> Load:
        """What is in flight."""
        return self._load

    def state(self) -> State:
        """What a plan is made from."""
        return State(self._health, self._load, self._clock(), self.disabled)

    # ------------------------------------------------------------ attempts

    async def enter(self, target: Target) -> "Trial | None":
        """Begin an attempt, or None if the target must not be tried now after all."""
        if self._load.full(target):
            return None
        now = self._clock()
        half_open = [place for place, _ in self._health.known(target)]
        if half_open and not (self._health.until(target) <= now and await self._claim(half_open, now)):
            return None
        return Trial(self, target, half_open)

    async def _claim(self, places: list[Place], now: float) -> bool:
        claimed: list[Place] = []
        for place in places:
            cooling = self._health.get(place)
            if cooling is None:
                continue
            # Before the board answers: no other request of this worker asks it, too.
            self._health.put(place, replace(cooling, probing=now + LEASE))
            if not await self._granted(place):
                self.give_up(claimed)
                return False
            self._probes[place] += 1
            claimed.append(place)
        return True

    async def _granted(self, place: Place) -> bool:
        if self._board is None or self._down:
            return True
        try:
            granted, cooling = await self._board.claim(place, self._holder, LEASE)
        except StoreUnavailable as error:
            self._note(error)
            return True
        self._touched.add(place)
        self._health.put(place, cooling.moved(self._clock()) if cooling else None)
        return granted

    def failed(self, target: Target, error: UpstreamError, began: float) -> None:
        """An attempt that began then failed: its place cools down, here at once and everywhere soon."""
        if is_fault_of_request(error):
            self.served(target, began)
            return
        now, place, how = self._clock(), place_of(target, error), failing(error)
        before = self._health.get(place)
        cooling = after(before, how, now, began)
        if cooling is before:
            return
        self._health.put(place, cooling)
        if target.moving_key and error.kind is Kind.UNAUTHENTICATED:
            self.refused(target.seat)
        if self._metrics is not None:
            self._metrics.cooled(*target.seat, error.kind.label)
        if self._board is not None:
            self._tell(place, self._tell_failure(self._board, place, began, error))

    async def _tell_failure(self, board: Board, place: Place, began: float, error: UpstreamError) -> None:
        cooling = await board.fail(place, failing(error), self._clock() - began)
        self._health.put(place, cooling.moved(self._clock()))

    def served(self, target: Target, began: float) -> None:
        """An attempt that began then was answered: what was known before is forgotten."""
        for place, cooling in list(self._health.known(target)):
            if began < cooling.until:
                continue  # it was under way when others failed, and says nothing about now
            self._health.put(place, None)
            if self._board is not None:
                self._tell(place, self._tell_success(self._board, place, began))

    async def _tell_success(self, board: Board, place: Place, began: float) -> None:
        await board.clear(place, self._clock() - began)

    def give_up(self, places: list[Place]) -> None:
        """Probes ended without a result: somebody else may try."""
        self.probed(places)
        for place in places:
            cooling = self._health.get(place)
            if place in self._probes or cooling is None:
                continue
            self._health.put(place, replace(cooling, probing=0.0))
            if self._board is not None:
                self._tell(place, self._board.release(place, self._holder))

    def probed(self, places: list[Place]) -> None:
        """Probes ended with a result."""
        if places:
            self._probes.subtract(places)
            self._probes = +self._probes

    def renewed(self, seat: Seat) -> None:
        """A credential has another key: that the old one was refused means nothing any more."""
        place = (*seat, ACCOUNT)
        if self._health.get(place) is None:
            return
        self._health.put(place, None)
        if self._board is not None:
            self._tell(place, self._tell_renewal(self._board, place))

    @staticmethod
    async def _tell_renewal(board: Board, place: Place) -> None:
        await board.clear(place, None)

    def disable(self, providers: frozenset[str]) -> None:
        """Operators want these to get no requests."""
        self.disabled = providers

    async def reset(self, provider: str | None = None) -> None:
        """Forget every cool-down, or those of one provider, in the whole fleet. Raises StoreUnavailable."""
        if self._tasks:  # what is being told would be known again afterwards
            await asyncio.wait(self._tasks, timeout=PERIOD)
        known = set(self._health.places())
        if self._board is not None:
            known |= (await self._board.read()).keys()
        for place in known:
            if provider in (None, place[0]):
                if self._board is not None:
                    await self._board.clear(place, None)
                self._touched.add(place)
                self._health.put(place, None)

    # ------------------------------------------------------------ beside requests

    def start(self) -> None:
        """Begin to listen."""
        self._beat = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        """What is to be told is told; then silence."""
        if self._beat is not None:
            self._beat.cancel()
            with suppress(asyncio.CancelledError):
                await self._beat
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PERIOD)
        if self._board is not None:
            await self._board.close()

    async def _listen(self) -> None:
        while True:
            try:
                await self.refresh()
                if self._metrics is not None:
                    self._metrics.sample()
            except Exception:
                log.exception("what other workers know could not be read")
            await asyncio.sleep(PERIOD)

    async def refresh(self) -> None:
        """Renew the leases of running probes, and hear what the others know."""
        now = self._clock()
        self._health.forget(now)
        if self._board is None:
            for place in self._probes:
                if (cooling := self._health.get(place)) is not None:
                    self._health.put(place, replace(cooling, probing=now + LEASE))
            return
        try:
            for place in list(self._probes):
                await self._board.claim(place, self._holder, LEASE)
            if self.shares_load:
                self._load.others = await self._board.load(self._holder, dict(self._load.own))
            self._touched = set(self._telling)
            found = await self._board.read()
        except StoreUnavailable as error:
            self._note(error)
            return
        if self._down:
            self._down = False
            log.info("cool-downs are shared again")
        now = self._clock()
        known = self._health.places()
        self._untold = {place for place in self._untold if place in known and known[place].until > now}
        for place in known.keys() - found.keys() - self._touched - self._untold:
            self._health.put(place, None)
        for place in found.keys() - self._touched:
            self._health.put(place, found[place].moved(now))

    def began(self, target: Target, change: int) -> None:
        """One attempt more is in flight, or one less."""
        (self._load.begin if change > 0 else self._load.end)(target)

    def _show(self) -> None:
        """What is in flight and what cools down now, as numbers for each credential."""
        if self._metrics is None:
            return
        now = self._clock()
        cooling = Counter(place[:2] for place, known in self._health.places().items() if known.until > now)
        for seat in self._shown | cooling.keys():
            self._metrics.cooling(*seat, cooling[seat])
        self._shown = set(cooling)
        busy = self._load.own
        for seat in self._busy | busy.keys():
            self._metrics.in_flight(*seat, busy.get(seat, 0))
        self._busy = set(busy)

    def _tell(self, place: Place, telling: Coroutine[Any, Any, None]) -> None:
        self._telling[place] += 1
        self._touched.add(place)
        task = asyncio.get_running_loop().create_task(self._told(place, telling))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _told(self, place: Place, telling: Coroutine[Any, Any, None]) -> None:
        try:
            await telling
            self._untold.discard(place)
        except StoreUnavailable as error:
            self._untold.add(place)
            self._note(error)
        finally:
            self._touched.add(place)
            self._telling[place] -= 1
            self._telling = +self._telling

    def _note(self, error: StoreUnavailable) -> None:
        self._load.others = {}
        if not self._down:
            self._down = True
            log.warning("cool-downs are not shared for now, each worker goes by its own: %s", error.message)


class Trial:
    """One attempt at a target. Leaving the block by UpstreamError counts as a failure, by anything else as nothing.

    An answer keeps the trial open: `close` it once the reply has ended.
    """

    def __init__(self, fleet: Fleet, target: Target, places: list[Place]) -> None:
        self.target = target
        self._fleet = fleet
        self._places = places
        self._began = fleet.state().now
        self._open = True
        fleet.began(target, 1)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            self._fleet.probed(self._places)
            self._fleet.served(self.target, self._began)
            return
        self.close()
        if isinstance(exc, UpstreamError):
            self._fleet.probed(self._places)
            self._fleet.failed(self.target, exc, self._began)
        else:
            self._fleet.give_up(self._places)

    def broke(self, error: BaseException) -> None:
        """The reply ended in an error. A connection that broke once is no reason to stay away; what was said is."""
        if isinstance(error, UpstreamError) and error.kind not in (Kind.BAD_GATEWAY, Kind.TIMEOUT):
            self._fleet.failed(self.target, error, self._began)

    def close(self) -> None:
        """The reply has ended, one way or another."""
        if self._open:
            self._open = False
            self._fleet.began(self.target, -1)
