"""Several processes on one machine share the sessions."""

import subprocess
import sys
from pathlib import Path

from gateway.sessions.file.store import FileStore
from tests.contract.making import KEY, LIMITS, after, first, loaded, replace

WRITER = """
import asyncio, os, sys
from gateway.sessions.file.store import FileStore
from tests.contract.making import KEY, LIMITS, after, load, replace

async def main():
    store = FileStore(sys.argv[1])
    limits = replace(LIMITS, max_turns=int(sys.argv[4]))
    async def one(n):
        session = await load(store, turns=2, marks=False)
        appended = await store.append(KEY, after(session, f"{sys.argv[2]} {n} " + "x" * 2000, limits=limits))
        print(appended.number, n, os.stat(store._tree.path(KEY)).st_ino)
    for start in range(0, int(sys.argv[3]), 10):
        await asyncio.gather(*(one(start + n) for n in range(10)))
    await store.close()

asyncio.run(main())
"""


def run(directory: Path, count: int, max_turns: int) -> tuple[dict[int, str], set[str]]:
    """Two writers at once; which turn got which number, and the inodes that the session's file had meanwhile."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    writers = {
        name: subprocess.Popen([*command, name, str(count), str(max_turns)], stdout=subprocess.PIPE, text=True)
        for name in ("left", "right")
    }
    numbers: dict[int, str] = {}
    inodes: set[str] = set()
    for name, writer in writers.items():
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        for number, n, inode in (line.split() for line in out.splitlines()):
            numbers[int(number)] = f"{name} {n}"
            inodes.add(inode)
    return numbers, inodes


def size(store: FileStore) -> int:
    return Path(store._tree.path(KEY)).stat().st_size


async def test_two_processes_append_two_hundred_whole_turns(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "sessions"))
    numbers, _ = run(tmp_path / "sessions", 100, 1000)
    assert sorted(numbers) == list(range(1, 201))
    session = await loaded(store)
    assert sorted(session.turns) == list(range(1, 201))
    for number, turn in session.turns.items():
        assert turn.question.messages == (f'"{numbers[number]} {"x" * 2000}"'.encode(),)
    assert session.head.totals.turns == 200
    assert (store.torn, store.damaged) == (0, 0)


async def test_two_processes_append_while_the_file_is_rewritten(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "sessions"))
    limits = replace(LIMITS, max_turns=20)
    await store.append(KEY, first("start", limits=limits))
    numbers, inodes = run(tmp_path / "sessions", 100, 20)
    assert len(inodes) > 1
    assert sorted(numbers) == list(range(2, 202))
    session = await loaded(store)
    assert sorted(session.turns) == list(range(182, 202))
    for number, turn in session.turns.items():
        assert turn.question.messages == (f'"{numbers[number]} {"x" * 2000}"'.encode(),)
    await store.append(KEY, after(session, "nobody is in the way of this one's rewriting", limits=limits))
    await store.close()
    assert size(store) < 250_000
