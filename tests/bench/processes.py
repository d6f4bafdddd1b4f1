"""What a process and its descendants use, from /proc (Linux)."""

import os
from pathlib import Path

TICK = 1_000_000 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


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
