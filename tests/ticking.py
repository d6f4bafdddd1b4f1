"""Time that passes only while this process runs: limits can be tight where the machine is busy."""

import asyncio
from types import TracebackType
from typing import Self

TICK = 0.01


class Ticking:
    """`async with Ticking() as clock`: `clock.seconds` since then, but for those in which the loop stood still."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.seconds += TICK
