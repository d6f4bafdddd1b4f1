"""Everything that may end a wait early: the deadline, silence, a client that left. One timer an exchange.

A timeout is checked only when its timer fires, so that each event of a stream costs one assignment, not a timer.
"""

import asyncio
from collections.abc import Callable
from math import inf

from gateway.errors import GatewayError, Kind, UpstreamError


class Watch:
    """Cancels the current task while it waits for a provider; `why` then says for which reason."""

    def __init__(self, deadline: float) -> None:
        """Start the clock: `deadline` seconds for all that follows."""
        self._loop = asyncio.get_running_loop()
        self.task = asyncio.current_task(self._loop)
        self.started = self._loop.time()
        self.deadline = self.started + deadline
        self._due = self.deadline
        self._what = ""
        self._timer: asyncio.TimerHandle | None = None
        self._fires = inf
        self._look: Callable[[], None] | None = None
        self._looks_at = 0.0
        self._waiting = False
        self._expired = False
        self.gone = False
        self._stopped = False

    @property
    def now(self) -> float:
        """Seconds, by the clock of all waits."""
        return self._loop.time()

    def look(self, seconds: float, look: Callable[[], None]) -> None:
        """If something is still awaited in so many seconds, call `look`, once: a quick exchange is spared it."""
        self._look, self._looks_at = look, self._loop.time() + seconds

    def expect(self, seconds: float, what: str) -> float:
        """From now on, which is returned, the task waits for `what`, for at most so long.

        Raises GatewayError: CLIENT_CLOSED if nobody waits for it any more, UNAVAILABLE if the gateway stops.
        """
        if self.gone:
            raise _left()
        if self._stopped:
            raise _stopping()
        now = self._loop.time()
        due = now + seconds
        self._due = min(self.deadline, due)
        self._what = what
        self._waiting = True
        if self._fires > self._due:
            self._arm()
        return now

    def done(self) -> None:
        """The task does not wait any more: nothing cancels it."""
        self._waiting = False

    def leave(self) -> None:
        """The client left."""
        self.gone = True
        if self._waiting and self.task is not None:
            self._waiting = False
            self.task.cancel()

    def stop(self) -> None:
        """The gateway stops: what waits for a provider has waited long enough."""
        self._stopped = True
        if self._waiting and self.task is not None:
            self._waiting = False
            self.task.cancel()

    def why(self) -> BaseException:
        """After a cancellation: the failure it stands for, or the cancellation itself if it was not ours."""
        if self.task is not None and (self.gone or self._expired or self._stopped):
            self.task.uncancel()
        if self.gone:
            return _left()
        if self._stopped:
            return _stopping()
        if self._expired:
            self._expired = False
            return UpstreamError(Kind.TIMEOUT, f"The provider did not send {self._what} in time.", code="timeout")
        return asyncio.CancelledError()

    def close(self) -> None:
        """Stop the timer. What it would have called is let go of, so that nothing is left for the collector."""
        self._waiting = False
        self._look = self.task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires = self._due if self._look is None else min(self._due, self._looks_at)
        self._timer = self._loop.call_at(self._fires, self._fire)

    def _fire(self) -> None:
        self._timer, self._fires = None, inf
        if self._look is not None:
            look, self._look = self._look, None
            look()
        if not self._waiting or self.task is None:
            return
        if self._loop.time() < self._due:
            self._arm()
            return
        self._expired = True
        self._waiting = False
        self.task.cancel()


def _stopping() -> GatewayError:
    return GatewayError(Kind.UNAVAILABLE, "The gateway is stopping; try again.", code="stopping", retry_after=1.0)


def _left() -> GatewayError:
    return GatewayError(Kind.CLIENT_CLOSED, "The client closed the connection.")
