"""What a worker is doing: the exchanges under way, and how they come to an end when it stops (feature C9)."""

import asyncio
from collections.abc import Callable
from math import ceil
from typing import Any

from gateway.watch import Watch

STEP = 0.05
TO_TELL, TO_STORE = 1.0, 2.0
"""Seconds for the rest after the grace: to tell their clients, and to store what was said."""


class Work:
    """The exchanges under way. `leaving`: the worker tells balancers to look elsewhere; `draining`: it refuses."""

    def __init__(self) -> None:
        self.leaving = False
        self.draining = False
        self._running: dict[Watch, asyncio.Task[Any]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, watch: Watch) -> None:
        """The task of `watch` begins an exchange."""
        assert watch.task is not None  # noqa: S101 - a server runs each request in one
        self._running[watch] = watch.task

    def end(self, watch: Watch) -> None:
        """It has ended: its client has been told, and its turn is stored."""
        del self._running[watch]

    async def linger(self, seconds: float, hurry: Callable[[], bool]) -> None:
        """Serve for some more seconds whoever has not noticed yet, or until `hurry`."""
        self.leaving = True
        for _ in range(ceil(seconds / STEP)):
            if hurry():
                break
            await asyncio.sleep(STEP)

    async def drain(self, grace: float, hurry: Callable[[], bool]) -> None:
        """Wait for the exchanges, `grace` seconds or until `hurry`; then stop the rest: an error event, a cut turn."""
        self.leaving = self.draining = True
        await self._idle(grace, hurry)
        for watch in list(self._running):
            watch.stop()
        await self._idle(TO_TELL)
        for task in list(self._running.values()):
            task.cancel()
        await self._idle(TO_STORE)

    async def _idle(self, seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._running and loop.time() < until and not hurry():
            await asyncio.wait(list(self._running.values()), timeout=STEP)
