"""A limit of time for many short blocks, at a fraction of what asyncio.timeout costs."""

import asyncio
from collections import deque
from types import TracebackType

from msgspec import Struct


class Deadlines:
    """`with deadlines.block():` raises TimeoutError out of the block after `seconds`.

    All blocks have the same length, so they end in the order in which they began, and one timer does for all.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._blocks: deque[Block] = deque()
        self._armed: asyncio.TimerHandle | None = None

    def block(self) -> "Block":
        """A limit that starts now, for the task that runs."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        block = Block(task, loop.time() + self._seconds, task.cancelling() if task is not None else 0)
        while self._blocks and self._blocks[0].task is None:
            self._blocks.popleft()
        self._blocks.append(block)
        if self._armed is None:
            self._armed = loop.call_at(block.ends, self._sweep, loop)
        return block

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self._blocks and (self._blocks[0].task is None or self._blocks[0].ends <= now):
            self._blocks.popleft().expire()
        self._armed = loop.call_at(self._blocks[0].ends, self._sweep, loop) if self._blocks else None


class Block(Struct):
    """One block of one task, which `cancelling` others wanted to cancel before."""

    task: asyncio.Task[object] | None
    ends: float
    cancelling: int
    expired: asyncio.Task[object] | None = None

    def expire(self) -> None:
        """Interrupt the block, unless it is over."""
        if self.task is not None:
            self.expired = self.task
            self.task.cancel()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.task = None
        if self.expired is not None:
            left = self.expired.uncancel()
            if left <= self.cancelling and isinstance(exc, asyncio.CancelledError):
                raise TimeoutError from exc
