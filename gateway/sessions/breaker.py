"""A circuit breaker: what is down or slow is paid for once, not by every request."""

from collections.abc import Callable
from types import TracebackType
from typing import Literal

from gateway.errors import StoreUnavailable

State = Literal["closed", "open", "half-open"]


class Breaker:
    """Opens after `failures` in a row; while it is open nothing is tried.

    After `pause` seconds one attempt at a time is let through as a probe. If that fails the pause doubles, up to
    `longest`; if it succeeds the breaker closes. `clock` gives seconds that never go back.

    `with breaker.attempt():` raises StoreUnavailable if nothing may be tried, and counts a StoreUnavailable that
    comes out of the block as a failure, any other end as a success. A cancelled attempt counts as neither.
    `told` hears 1 when it opens, 0 when it closes.
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
        self._probe: Attempt | None = None
        self._ordinary = Attempt(self)
        self.openings = 0

    @property
    def state(self) -> State:
        """For a metric: `half-open` means that the next attempt is, or a running one was, a probe."""
        if self.until is None:
            return "closed"
        return "half-open" if self._probe is not None or self._clock() >= self.until else "open"

    def attempt(self) -> "Attempt":
        """A block that is guarded by this breaker."""
        return self._ordinary if self.until is None else Attempt(self)

    def begin(self, attempt: "Attempt") -> None:
        """Raises StoreUnavailable unless `attempt` may be made now."""
        if self.until is None:
            return
        wait = self.until - self._clock()
        if wait > 0 or self._probe is not None:
            raise StoreUnavailable(
                "The session store is unavailable; try again later.",
                code="store_unavailable",
                retry_after=max(wait, self._shortest),
            )
        self._probe = attempt

    def end(self, attempt: "Attempt", *, failed: bool | None) -> None:
        """`failed` None: it was given up, and says nothing."""
        probed = self._probe is attempt
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


class Attempt:
    """One guarded block."""

    __slots__ = ("_breaker",)

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def __enter__(self) -> None:
        if self._breaker.until is not None:
            self._breaker.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None and self._breaker.until is None:
            self._breaker.failures = 0
            return
        cancelled = exc is not None and not isinstance(exc, Exception)
        self._breaker.end(self, failed=None if cancelled else isinstance(exc, StoreUnavailable))
