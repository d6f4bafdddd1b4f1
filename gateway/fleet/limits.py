"""What each client key may use in a minute, at once, and for how much money, counted over the whole fleet.

One round trip before a request of a key that has limits; none for others. What a request has used is told after its
end, beside the next ones. While Redis is down each worker counts for itself, and tells what was spent meanwhile when it
is back. Without Redis requests and tokens are counted by each worker, money by all workers of the machine, in a file.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from gateway.config import KeyLimits
from gateway.errors import GatewayError, Kind, StoreUnavailable
from gateway.fleet.bucket import Counted, Taken
from gateway.fleet.budget import BILLION, Periods, Purse, billionths, budgets, periods
from gateway.fleet.file_spending import FileSpending
from gateway.fleet.meters import Meters
from gateway.fleet.redis_tally import LEASE, RedisTally
from gateway.metrics import Record

log = logging.getLogger("gateway.fleet")

PERIOD: Final = 0.5
"""Seconds between two looks at what the other workers of the machine have spent."""
RENEWAL: Final = LEASE / 3
MOST_KEYS: Final = 10_000
MOST_OWED: Final = 10_000
"""Ends of requests that could not be told yet; beyond that the oldest are forgotten."""

_REFUSALS: Final = ("", "requests a minute", "tokens a minute", "requests at once")
_DAY, _MONTH = 4, 5
NONE: Final = KeyLimits()


class Ticket(Struct, frozen=True):
    """A request of the client key `key`, and what its limits say to it."""

    key: str
    name: str
    limits: KeyLimits
    taken: Taken


class Limits:
    """The limits of all client keys. `clock` gives seconds that never go back, `wall` Unix seconds.

    `tally` counts for the fleet; without it `spending` adds up money for the machine, if it is given.
    """

    def __init__(
        self,
        tally: RedisTally | None,
        clock: Callable[[], float],
        *,
        wall: Callable[[], float] = time.time,
        spending: FileSpending | None = None,
        meters: Meters | None = None,
    ) -> None:
        self._tally, self._spending, self._meters = tally, spending, meters
        self._clock, self._wall = clock, wall
        self._own: dict[str, Counted] = {}
        self._purse = Purse()
        self._budgeted: dict[str, KeyLimits] = {}
        self._running: dict[str, Ticket] = {}
        self._owed: deque[tuple[Ticket, tuple[int, int], Periods]] = deque(maxlen=MOST_OWED)
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat: asyncio.Task[None] | None = None
        self._retry_at = 0.0

    async def admit(self, key: str, limits: KeyLimits, name: str) -> Ticket | None:
        """A ticket for the request `name` of the client key, None if it has no limits; `done` takes it back.

        The request may go on unless `taken.refused` says which limit is used up.
        """
        if limits == NONE:
            return None
        taken = await self._taken(key, limits, name)
        ticket = Ticket(key, name, limits, taken)
        if not taken.refused:
            self._running[name] = ticket
        elif self._meters is not None:
            self._meters.refused(key, taken.refused)
        return ticket

    def done(self, ticket: Ticket, tokens: int, dollars: float = 0.0) -> None:
        """The request has ended, and used so many tokens and so much money."""
        if self._running.pop(ticket.name, None) is None:
            return
        now = periods(self._wall())
        cost = billionths(dollars) if ticket.limits.budgeted else 0
        self._counted(ticket.key).spend(ticket.limits, tokens, ticket.name, self._clock())
        if cost:
            self._purse.add(ticket.key, cost, now, told=self._spending is None)
        if self._tally is not None:
            self._later(self._spent(self._tally, ticket, (tokens, cost), now))

    async def spent(self, keys: list[str]) -> list[tuple[float, float]]:
        """Dollars that client keys have spent in this day and in this month. Raises StoreUnavailable."""
        now = periods(self._wall())
        if self._tally is not None:
            found = await self._tally.spent(keys, now)
        else:
            await self._share()
            found = [self._purse.of(key, now) for key in keys]
        return [(day / BILLION, month / BILLION) for day, month in found]

    # ------------------------------------------------------------ beside requests

    async def start(self) -> None:
        """Begin to listen, and to renew what is in progress."""
        await self._look()
        self._beat = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        """What is to be told is told."""
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.wait([self._beat])
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        await self._look()
        if self._tally is not None:
            await self._tally.close()

    async def _listen(self) -> None:
        renewed = self._clock()
        while True:
            await asyncio.sleep(PERIOD)
            await self._look()
            if self._tally is not None and self._clock() - renewed >= RENEWAL:
                renewed = self._clock()
                for ticket in [ticket for ticket in self._running.values() if ticket.limits.concurrency]:
                    self._later(self._renewed(self._tally, ticket))

    async def _look(self) -> None:
        """Tell what is owed, hear what others have spent, and show it."""
        try:
            for _ in range(len(self._owed)):
                if self._tally is None or self._clock() < self._retry_at:
                    break
                await self._spent(self._tally, *self._owed.popleft())
            await self._share()
        except StoreUnavailable as error:
            self._failed(error)
        except Exception:
            log.exception("what client keys have spent could not be shared")
        if self._meters is not None and self._budgeted:
            now = periods(self._wall())
            for key, limits in self._budgeted.items():
                self._meters.spent(key, limits, self._purse.of(key, now))

    async def _share(self) -> None:
        if self._spending is None:
            return
        untold = self._purse.take_untold()
        try:
            self._purse.learn_all(await self._spending.exchange(untold, periods(self._wall())))
        except BaseException:
            self._purse.put_back(untold)
            raise

    # ------------------------------------------------------------ one request

    async def _taken(self, key: str, limits: KeyLimits, name: str) -> Taken:
        wall = self._wall()
        now = periods(wall)
        taken = await self._of_fleet(key, limits, name, now)
        if taken is None:
            spent = self._purse.of(key, now) if limits.budgeted else (0, 0)
            taken = self._counted(key).take(limits, name, self._clock(), overdrawn(limits, spent))
        elif limits.budgeted:
            self._purse.learn(key, taken.spent, now)
        if limits.budgeted:
            self._budgeted[key] = limits
        if taken.refused >= _DAY:
            ends = now.month.ends if taken.refused == _MONTH else now.day.ends
            return replace(taken, wait=ends - wall)
        return taken

    async def _of_fleet(self, key: str, limits: KeyLimits, name: str, now: Periods) -> Taken | None:
        """None if Redis is not asked, or does not answer."""
        if self._tally is None or self._clock() < self._retry_at:
            return None
        try:
            return await self._tally.take(key, limits, name, now)
        except StoreUnavailable as error:
            self._failed(error)
            return None

    async def _spent(self, tally: RedisTally, ticket: Ticket, used: tuple[int, int], now: Periods) -> None:
        if self._clock() < self._retry_at:
            self._owed.append((ticket, used, now))
            return
        try:
            await tally.spend(ticket.key, ticket.limits, ticket.name, used, now)
        except StoreUnavailable as error:
            self._owed.append((ticket, used, now))
            self._failed(error)

    async def _renewed(self, tally: RedisTally, ticket: Ticket) -> None:
        try:
            if self._clock() >= self._retry_at:
                await tally.renew(ticket.key, ticket.name)
        except StoreUnavailable as error:
            self._failed(error)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, error: StoreUnavailable) -> None:
        now = self._clock()
        if now >= self._retry_at:
            log.warning("limits of client keys are counted by each worker for now: %s", error.message)
        self._retry_at = now + 1.0

    def _counted(self, key: str) -> Counted:
        counted = self._own.get(key)
        if counted is None:
            if len(self._own) >= MOST_KEYS:
                self._own.clear()
            counted = self._own[key] = Counted()
        return counted


def overdrawn(limits: KeyLimits, spent: tuple[int, int]) -> int:
    """The budget that is used up, as LIMITS counts them: the month's before the day's; 0 if none is."""
    day, month = budgets(limits)
    if 0 < month <= spent[1]:
        return _MONTH
    return _DAY if 0 < day <= spent[0] else 0


def used(record: Record) -> tuple[int, float]:
    """Tokens and dollars of a request, as the provider has counted them; about so many where it has not."""
    usage = record.estimate or record.usage
    return (usage.input + usage.output, record.charge) if usage is not None else (0, 0.0)


def refusal(ticket: Ticket) -> GatewayError:
    """What a client is told whose key has used up one of its limits."""
    limits, taken = ticket.limits, ticket.taken
    if taken.refused >= _DAY:
        month = taken.refused == _MONTH
        dollars, period = (limits.dollars_per_month, "month") if month else (limits.dollars_per_day, "day")
        message = (
            f"This API key has spent its ${dollars:g} of this {period} (UTC); the next begins in {_span(taken.wait)}."
        )
        return GatewayError(Kind.RATE_LIMITED, message, code="budget_exceeded", retry_after=taken.wait)
    limit = (0, limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)[taken.refused]
    message = f"This API key has {limit} {_REFUSALS[taken.refused]}; try again in {ceil(taken.wait)} s."
    return GatewayError(Kind.RATE_LIMITED, message, code="rate_limit_exceeded", retry_after=taken.wait)


def _span(seconds: float) -> str:
    """A long time, for people."""
    hours = ceil(seconds / 3600)
    return f"{hours} h" if hours <= 48 else f"{ceil(seconds / 86400)} days"  # noqa: PLR2004 - two days


def headers(ticket: Ticket, family: Literal["openai", "anthropic"], now: float) -> list[tuple[str, str]]:
    """What is left, as the vendor's API tells it. `now` in Unix seconds.

    Sources: https://platform.openai.com/docs/guides/rate-limits, https://docs.anthropic.com/en/api/rate-limits.
    """
    limits, taken = ticket.limits, ticket.taken
    told: list[tuple[str, str]] = []
    for name, limit, left in (
        ("requests", limits.requests_per_minute, taken.requests),
        ("tokens", limits.tokens_per_minute, taken.tokens),
    ):
        if not limit:
            continue
        reset = ceil((limit - left) * 60 / limit)
        if family == "anthropic":
            stem = f"anthropic-ratelimit-{name}-"
            values = (
                ("limit", str(limit)),
                ("remaining", str(max(left, 0))),
                ("reset", f"{datetime.fromtimestamp(now + reset, UTC):%Y-%m-%dT%H:%M:%SZ}"),
            )
            told += [(stem + what, value) for what, value in values]
        else:
            told.append((f"x-ratelimit-limit-{name}", str(limit)))
            told.append((f"x-ratelimit-remaining-{name}", str(max(left, 0))))
            told.append((f"x-ratelimit-reset-{name}", f"{reset}s"))
    return told
