"""Several processes on one machine share the sessions."""

import subprocess
import sys
from pathlib import Path

from gateway.sessions.file.store import FileStore
from tests.contract.making import KEY, LIMITS, first, loaded, replace

WRITER = """
import asyncio, sys
from gateway.sessions.file.store import FileStore
from tests.contract.making import KEY, LIMITS, after, load, replace

async def main():
    store = FileStore(sys.argv[1])
    limits = replace(LIMITS, max_turns=int(sys.argv[4]))
    async def one(n):
        session = await load(store, turns=2, marks=False)
        appended = await store.append(KEY, after(session, f"{sys.argv[2]} {n} " + "x" * 2000, limits=limits))
        print(appended.number, n)
    for start in range(0, int(sys.argv[3]), 10):
        await asyncio.gather(*(one(start + n) for n in range(10)))
    await store.close()

asyncio.run(main())
"""


def run(directory: Path, count: int, max_turns: int) -> dict[int, str]:
    """Two writers at once; which turn got which number."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    writers = {
        name: subprocess.Popen([*command, name, str(count), str(max_turns)], stdout=subprocess.PIPE, text=True)
        for name in ("left", "right")
    }
    numbers: dict[int, str] = {}
    for name, writer in writers.items():
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        pairs = [line.split() for line in out.splitlines()]
        numbers |= {int(number): f"{name} {n}" for number, n in pairs}
    return numbers


def size(store: FileStore) -> int:
    return Path(store._tree.path(KEY)).stat().st_size


async def test_two_processes_append_two_hundred_whole_turns(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "sessions"))
    numbers = run(tmp_path / "sessions", 100, 1000)
    assert sorted(numbers) == list(range(1, 201))
    session = await loaded(store)
    assert sorted(session.turns) == list(range(1, 201))
    for number, turn in session.turns.items():
        assert turn.question.messages == (f'"{numbers[number]} {"x" * 2000}"'.encode(),)
    assert session.head.totals.turns == 200
    assert (store.torn, store.damaged) == (0, 0)


async def test_two_processes_append_while_the_file_is_rewritten(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "sessions"))
    await store.append(KEY, first("start", limits=replace(LIMITS, max_turns=20)))
    numbers = run(tmp_path / "sessions", 100, 20)
    assert sorted(numbers) == list(range(2, 202))
    session = await loaded(store)
    assert sorted(session.turns) == list(range(182, 202))
    for number, turn in session.turns.items():
        assert turn.question.messages == (f'"{numbers[number]} {"x" * 2000}"'.encode(),)
    assert size(store) < 400_000
