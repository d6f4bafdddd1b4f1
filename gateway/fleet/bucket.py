"""A client key's use as one worker counts it: what take.lua and spend.lua do in Redis."""

from math import floor

from msgspec import Struct

from gateway.config import KeyLimits


class Taken(Struct, frozen=True):
    """Whether a request may be served: `refused` is 0, or the number of a limit in LIMITS; `wait` in seconds.

    `requests` and `tokens` are what is left; tokens may be owed. `spent` is of this day and this month, in billionths
    of a dollar, where the key has a budget.
    """

    refused: int
    wait: float
    requests: int
    tokens: int
    spent: tuple[int, int] = (0, 0)


LIMITS = ("", "requests", "tokens", "concurrency", "day", "month")
"""What may refuse a request; the last two are budgets."""


class Counted:
    """One key's buckets, which fill evenly, and its requests in progress."""

    def __init__(self) -> None:
        self._requests: float | None = None
        self._tokens: float | None = None
        self._at = 0.0
        self._running: set[str] = set()

    def take(self, limits: KeyLimits, name: str, now: float, overdrawn: int = 0) -> Taken:
        """One request, if the limits allow it; `overdrawn` is the budget that is used up, if one is."""
        per_minute, tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._fill(limits, now)
        r, t = self._requests or 0.0, self._tokens or 0.0
        if overdrawn:
            return Taken(overdrawn, 0.0, floor(r), floor(t))
        if per_minute and r < 1:
            return Taken(1, (1 - r) * 60 / per_minute, floor(r), floor(t))
        if tokens and t < 1:
            return Taken(2, (1 - t) * 60 / tokens, floor(r), floor(t))
        if 0 < limits.concurrency <= len(self._running):
            return Taken(3, 1.0, floor(r), floor(t))
        self._running.add(name)
        self._requests = r - 1 if per_minute else r
        return Taken(0, 0.0, floor(self._requests), floor(t))

    def spend(self, limits: KeyLimits, tokens: int, name: str, now: float) -> None:
        """The request has ended and used so many tokens."""
        self._running.discard(name)
        self._fill(limits, now)
        self._tokens = (self._tokens or 0.0) - tokens

    def _fill(self, limits: KeyLimits, now: float) -> None:
        passed, self._at = now - self._at, now
        self._requests = _filled(self._requests, limits.requests_per_minute, passed)
        self._tokens = _filled(self._tokens, limits.tokens_per_minute, passed)


def _filled(level: float | None, limit: int, passed: float) -> float:
    return float(limit) if level is None else min(level + passed * limit / 60, limit)
