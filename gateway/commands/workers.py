"""Several worker processes that share the listening sockets, kept running by their parent.

uvicorn's own supervisor was tried first. It starts a worker that cannot run again and again without a pause, waits
for a stopping worker without a limit, and leaves the workers serving when it is killed itself. This one does not.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from uvicorn.config import STARTUP_FAILURE

log = logging.getLogger("gateway.workers")

HEALTHY_AFTER = 10.0
"""Seconds that a worker must have lived for its end to count as an accident, not as a failure to start."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
EXTRA_GRACE = 5.0
"""Seconds that a worker gets beyond its own grace before it is killed."""
SAME_INTERRUPT = 1.0
"""Seconds within which a second SIGINT is an echo of the first one, not more haste."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Slot:
    """A place for one worker."""

    def __init__(self) -> None:
        self.process: SpawnProcess | None = None
        self.started = 0.0
        self.starts = 0
        self.pause = 0.0
        self.due = 0.0


class Supervisor:
    """Runs `target(*arguments)` in `count` processes, and passes SIGHUP on to each.

    `buried` is told the id of each one that has ended, `stopping` is called when no more will be started.

    `grace` is how many seconds a worker may take to stop. Dead workers are started again, at once if they had been
    well, else after a pause that doubles. A worker that cannot even start the first time ends the supervisor.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        count: int,
        *,
        grace: float,
        buried: Callable[[int], None],
        stopping: Callable[[], None],
    ) -> None:
        self._spawn = multiprocessing.get_context("spawn")
        self._target = target
        self._arguments = arguments
        self._grace = grace
        self._buried = buried
        self._close = stopping
        self._slots = [_Slot() for _ in range(count)]
        self._interrupted = 0.0
        self._hurry = False
        self._stopping = False
        self._failed = False
        self._woken, self._wake = self._spawn.Pipe(duplex=False)
        self._lifeline, self._life = self._spawn.Pipe(duplex=False)

    def run(self) -> int:
        """Until SIGINT or SIGTERM. Returns the exit code: 1 if the workers cannot start, else 0."""
        with self._signals():
            while not self._stopping:
                self._start_due()
                self._sleep(min((slot.due for slot in self._slots if slot.process is None), default=None))
                self._bury()
            self._stop()
        return int(self._failed)

    def _start_due(self) -> None:
        for slot in self._slots:
            if slot.process is None and slot.due <= time.monotonic():
                arguments = (self._lifeline, self._target, self._arguments)
                slot.process = self._spawn.Process(target=_work, args=arguments, daemon=True)
                slot.process.start()
                slot.started = time.monotonic()
                slot.starts += 1

    def _sleep(self, until: float | None) -> None:
        """Until a worker ends, a signal comes or the time is there."""
        timeout = None if until is None else max(0.0, until - time.monotonic())
        if self._woken in wait([*(process.sentinel for process in self._running()), self._woken], timeout):
            self._woken.recv_bytes()

    def _bury(self) -> None:
        for slot in self._slots:
            process = slot.process
            if process is None or process.is_alive():
                continue
            process.join()
            slot.process = None
            self._buried(process.pid or 0)
            if not self._stopping:
                self._plan_restart(slot, process)

    def _plan_restart(self, slot: _Slot, process: SpawnProcess) -> None:
        if slot.starts == 1 and process.exitcode == STARTUP_FAILURE:
            log.error("a worker cannot start")
            self._failed = self._stopping = True
            return
        well = time.monotonic() - slot.started >= HEALTHY_AFTER
        slot.pause = 0.0 if well else min(max(FIRST_PAUSE, slot.pause * 2), LONGEST_PAUSE)
        slot.due = time.monotonic() + slot.pause
        about = {"pid": process.pid, "exit_code": process.exitcode, "restart_in": slot.pause}
        log.warning("worker died", extra=about)

    def _stop(self) -> None:
        self._close()
        for process in self._running():
            process.terminate()
        deadline = time.monotonic() + self._grace + EXTRA_GRACE
        while self._running() and time.monotonic() < deadline and not self._hurry:
            self._sleep(deadline)
            self._bury()
        for process in self._running():
            log.error("worker killed: it did not stop in time", extra={"pid": process.pid})
            process.kill()
            process.join()
        self._bury()

    def _running(self) -> list[SpawnProcess]:
        return [slot.process for slot in self._slots if slot.process is not None]

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, _: FrameType | None) -> None:
            if number == signal.SIGHUP:
                for process in self._running():
                    if process.pid is not None:
                        os.kill(process.pid, signal.SIGHUP)
                return
            if number == signal.SIGINT:
                now = time.monotonic()
                self._hurry = 0 < self._interrupted < now - SAME_INTERRUPT
                self._interrupted = self._interrupted or now
            self._stopping = True
            self._wake.send_bytes(b".")

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _work(lifeline: Connection, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """In the worker: stop in good order when the parent is gone, since nobody else would say so."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be obeyed; what a worker starts with is the newest

    def watch() -> None:
        with suppress(EOFError, OSError):
            lifeline.recv_bytes()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    target(*arguments)
