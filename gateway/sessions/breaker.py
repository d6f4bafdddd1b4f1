"""A circuit breaker: what is down or slow is paid for once, not by every request."""

from collections.abc import Callable
from typing import Literal

from gateway.errors import StoreUnavailable

State = Literal["closed", "open", "half-open"]


class Breaker:
    """Opens after `failures` in a row; while it is open nothing is tried.

    After `pause` seconds one attempt at a time is let through as a probe. If that fails the pause doubles, up to
    `longest`; if it succeeds the breaker closes. `clock` gives seconds that never go back.

    An attempt begins with `begin` and ends with `end`. `told` hears 1 when it opens, 0 when it closes.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        failures: int = 5,
        pause: float = 1.0,
        longest: float = 2.0,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self._clock = clock
        self._threshold = failures
        self._shortest = pause
        self._longest = longest
        self._told = told or (lambda _: None)
        self.failures = 0
        """How many attempts have failed since one succeeded."""
        self._pause = pause
        self.until: float | None = None
        """When it may be tried again; None while the breaker is closed."""
        self._probe: object = None
        self.openings = 0

    @property
    def state(self) -> State:
        """For a metric: `half-open` means that the next attempt is, or a running one was, a probe."""
        if self.until is None:
            return "closed"
        return "half-open" if self._probe is not None or self._clock() >= self.until else "open"

    def begin(self) -> object:
        """An attempt, for `end`: a probe, or None for an ordinary one. Raises StoreUnavailable if none may be made."""
        if self.until is None:
            return None
        wait = self.until - self._clock()
        if wait > 0 or self._probe is not None:
            raise StoreUnavailable(
                "The session store is unavailable; try again later.",
                code="store_unavailable",
                retry_after=max(wait, self._shortest),
            )
        self._probe = object()
        return self._probe

    def end(self, attempt: object, *, failed: bool | None) -> None:
        """`failed` None: it was given up, and says nothing."""
        probed = attempt is not None and self._probe is attempt
        if probed:
            self._probe = None
        if failed is None or (self.until is not None and not probed):
            return
        if not failed:
            if self.until is not None:
                self._told(0)
            self.failures, self.until, self._pause = 0, None, self._shortest
            return
        self.failures += 1
        if probed:
            self._pause = min(self._pause * 2, self._longest)
        if probed or self.failures >= self._threshold:
            self.until = self._clock() + self._pause
            self.openings += 1
            self._told(1)
