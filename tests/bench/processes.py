"""Processes on a core of their own, and what a process and its descendants use, from /proc (Linux)."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

TICK = 1_000_000 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))
MEASURED, OTHERS = CORES[0], set(CORES[1:]) or set(CORES)
"""The core of what is measured, and those of the load, the mock and Redis."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(
    command: list[str], log: Path, environment: dict[str, str], cores: AbstractSet[int] = OTHERS
) -> Iterator[subprocess.Popen]:
    """A process on these cores, its output in `log`; stopped at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - there are no threads here
        )
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def until(ready: Callable[[], object], process: subprocess.Popen, log: Path, seconds: float = 60) -> float:
    """Seconds until it is. Raises RuntimeError with the end of the log if that takes too long or the process ends."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds and process.poll() is None:
        if ready():
            return time.perf_counter() - began
        time.sleep(0.005)
    raise RuntimeError(f"no answer; its log ends with:\n{log.read_text(errors='replace')[-2000:]}")


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(fields(stat)[1]), []).append(int(stat.parent.name))
        except OSError:  # gone meanwhile
            continue
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += parents.get(found[-1], [])
    return found


def fields(stat: Path) -> list[str]:
    """The fields behind the command's name, which may contain anything; the first is the state."""
    return stat.read_text().rpartition(")")[2].split()


def cpu(pid: int) -> float:
    """Microseconds of CPU that the living processes of a tree have used, with those of children that have ended."""
    total = 0
    for member in tree(pid):
        total += sum(int(ticks) for ticks in fields(Path(f"/proc/{member}/stat"))[11:15])
    return total * TICK


def resident(pid: int) -> int:
    """Bytes of memory of a tree. Pages that processes share are counted once for each."""
    return sum(int(Path(f"/proc/{member}/statm").read_text().split()[1]) for member in tree(pid)) * PAGE
