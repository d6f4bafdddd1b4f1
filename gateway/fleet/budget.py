"""What client keys have spent: in days and months of UTC, as whole billionths of a dollar, which add up exactly."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from gateway.config import KeyLimits

BILLION = 1_000_000_000

Amounts = dict[str, dict[str, int]]
"""By the name of a period and the id of a key."""


class Period(Struct, frozen=True):
    """A day or a month; `ends` in Unix seconds."""

    name: str
    ends: float


class Periods(Struct, frozen=True):
    """The day and the month of one moment."""

    day: Period
    month: Period

    @property
    def names(self) -> tuple[str, str]:
        """Those of day and month."""
        return self.day.name, self.month.name


def periods(now: float) -> Periods:
    """The day and the month of a moment in Unix seconds."""
    midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow = midnight + timedelta(days=1)
    next_month = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return Periods(
        Period(f"{midnight:d%Y%m%d}", tomorrow.timestamp()), Period(f"{midnight:m%Y%m}", next_month.timestamp())
    )


def billionths(dollars: float) -> int:
    """An amount of money as it is added up."""
    return round(dollars * BILLION)


def budgets(limits: KeyLimits) -> tuple[int, int]:
    """What a key may spend in a day and in a month; 0 is no limit."""
    return billionths(limits.dollars_per_day), billionths(limits.dollars_per_month)


class Purse:
    """What each key has spent as far as one worker knows: what all have told, and what it has not told yet."""

    def __init__(self) -> None:
        self._known: Amounts = {}
        self._untold: Amounts = {}

    def of(self, key: str, now: Periods) -> tuple[int, int]:
        """In this day and in this month."""
        day, month = (self._in(self._known, name, key) + self._in(self._untold, name, key) for name in now.names)
        return day, month

    def learn(self, key: str, spent: tuple[int, int], now: Periods) -> None:
        """What all workers together have spent of a key's."""
        for name, amount in zip(now.names, spent, strict=True):
            self._known.setdefault(name, {})[key] = amount

    def learn_all(self, told: Amounts) -> None:
        """What all workers together have spent, of every key."""
        self._known = told

    def add(self, key: str, amount: int, now: Periods, *, told: bool) -> None:
        """A key has spent more; `told`: others hear of it by another way."""
        for name in now.names:
            amounts = (self._known if told else self._untold).setdefault(name, {})
            amounts[key] = amounts.get(key, 0) + amount
        if len(self._known) > len(now.names):
            self._known = {name: self._known[name] for name in now.names if name in self._known}

    def take_untold(self) -> Amounts:
        """What is to be told, from now on the caller's."""
        untold, self._untold = self._untold, {}
        return untold

    def put_back(self, untold: Amounts) -> None:
        """It could not be told."""
        self._untold = added(self._untold, untold)

    @staticmethod
    def _in(amounts: Amounts, name: str, key: str) -> int:
        return amounts.get(name, {}).get(key, 0)


def added(one: Mapping[str, Mapping[str, int]], other: Mapping[str, Mapping[str, int]]) -> Amounts:
    """The sums of two."""
    sums = {name: dict(amounts) for name, amounts in one.items()}
    for name, amounts in other.items():
        of_period = sums.setdefault(name, {})
        for key, amount in amounts.items():
            of_period[key] = of_period.get(key, 0) + amount
    return sums
