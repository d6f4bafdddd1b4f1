"""What crashes and bad disks leave behind: only the turn that nobody was told of is lost."""

import asyncio
import fcntl
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.sessions.file.log import MAGIC, VERSION
from gateway.sessions.file.store import FileStore
from gateway.sessions.store import Session, SessionKey
from tests.contract.making import KEY, after, first, load, loaded, talk, texts

WRITER = """
import asyncio, sys
from gateway.sessions.file.store import FileStore
from tests.contract.making import KEY, after, load, replace, LIMITS

async def main():
    store = FileStore(sys.argv[1])
    limits = replace(LIMITS, max_turns=40)
    while True:
        session = await load(store, turns=1, marks=False)
        number = session.head.next if session else 1
        text = f"turn {number} " + "x" * (number * 7919 % 9000)
        appended = await store.append(KEY, after(session, text, limits=limits))
        print(appended.number, flush=True)

asyncio.run(main())
"""


def file_of(store: FileStore, key: SessionKey = KEY) -> Path:
    return Path(store._tree.path(key))


@pytest.fixture
async def store(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path / "sessions"))


def killed_writer(directory: str, after: float) -> list[int]:
    """The turns that a writer acknowledged before it was killed."""
    with subprocess.Popen([sys.executable, "-c", WRITER, directory], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        heard = [int(writer.stdout.readline())]
        time.sleep(after)
        writer.send_signal(signal.SIGKILL)
        return heard + [int(line) for line in writer.stdout.read().split("\n")[:-1]]


async def test_a_killed_writer_loses_only_what_it_did_not_acknowledge(tmp_path: Path) -> None:
    directory, chance, acknowledged = str(tmp_path / "sessions"), random.Random(7), 0
    for _ in range(6):
        heard = killed_writer(directory, chance.random() * 0.2)
        assert heard == list(range(heard[0], heard[-1] + 1))
        assert heard[0] in (acknowledged + 1, acknowledged + 2)
        acknowledged = heard[-1]
        session = await loaded(FileStore(directory))
        assert session.head.next in (acknowledged + 1, acknowledged + 2)
        assert sorted(session.turns) == list(range(session.head.first, session.head.next))
        for number, turn in session.turns.items():
            said = f"turn {number} " + "x" * (number * 7919 % 9000)
            assert turn.question.messages == (f'"{said}"'.encode(),)


async def test_a_write_cut_off_at_any_byte_never_happened(store: FileStore) -> None:
    before = await talk(store, "one", "two")
    path = file_of(store)
    whole = path.read_bytes()
    three = after(before, "three")
    await store.append(KEY, three)
    longer = path.read_bytes()
    assert longer.startswith(whole)
    for cut in range(len(whole) + 1, len(longer)):
        path.write_bytes(longer[:cut])
        assert await loaded(store) == before
        path.write_bytes(longer[:cut])
        assert (await store.append(KEY, three)).again is False
        assert texts(await load(store)) == ["one", "two", "three"]
    assert store.torn == 2 * (len(longer) - len(whole) - 1)
    assert store.damaged == 0


async def test_a_first_write_cut_off_at_any_byte_never_happened(store: FileStore) -> None:
    await store.append(KEY, first("one"))
    path = file_of(store)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert await load(store) is None
        path.write_bytes(whole[:cut])
        assert (await store.append(KEY, first("anew"))).number == 1
        assert texts(await load(store)) == ["anew"]
    assert store.damaged == 0


@pytest.mark.parametrize("end", [b"\n", b"\0" * 5000, b"garbage" * 1000, b"\xff\xff\xff\xff\xff\xffEOC"])
async def test_an_end_that_is_not_ours_is_dropped_and_counted(
    store: FileStore, end: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    before = await talk(store, "one", "two")
    with file_of(store).open("ab") as file:
        file.write(end)
    assert await loaded(store) == before
    assert (store.torn, store.damaged) == (1, 0)
    assert "unfinished write" in caplog.text
    assert texts(await talk(store, "three")) == ["one", "two", "three"]
    assert store.torn == 1


async def read_or_none(store: FileStore) -> Session | None:
    """Twice, since what the first load does not touch another may."""
    session = await load(store)
    return session if await load(store) == session else None


async def test_a_changed_byte_is_never_served(tmp_path: Path, store: FileStore) -> None:
    session = await talk(store, *(f"turn {n}" for n in range(20)), system=None)
    neighbour = SessionKey("acme", "", "neighbour")
    await store.append(neighbour, first("safe"))
    path, outcomes = file_of(store), set()
    whole = path.read_bytes()
    for place in range(0, len(whole), 23):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        damaged = store.damaged
        got = await load(store)
        if got is None:
            outcomes.add("set aside")
            assert store.damaged == damaged + 1
        elif got != session:
            outcomes.add("cut")
            assert texts(got) == texts(session)[:-1]
        assert texts(await load(store, neighbour)) == ["safe"]
        path.unlink(missing_ok=True)
    assert outcomes == {"set aside", "cut"}


async def test_a_damaged_file_is_set_aside_and_reported(
    store: FileStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = await talk(store, "one", "two", "three")
    path = file_of(store)
    path.write_bytes(path.read_bytes().replace(b'"one"', b'"won"'))
    assert await load(store) is None
    assert store.damaged == 1
    assert "is damaged" in caplog.text
    (aside,) = path.parent.glob("*.damaged-*")
    assert b'"won"' in aside.read_bytes()
    with pytest.raises(StoreError, match="deleted or has expired"):
        await store.append(KEY, after(session))
    assert texts(await talk(store, "anew")) == ["anew"]
    assert (await store.list()).heads[0].key == KEY
    assert await store.cleanup() == 0
    assert aside.exists()


async def test_damage_before_an_unfinished_end_is_damage(store: FileStore) -> None:
    await talk(store, "one", "two", "three")
    path = file_of(store)
    path.write_bytes(path.read_bytes().replace(b'"one"', b'"won"') + b"unfinished")
    assert await load(store) is None
    assert (store.damaged, store.torn) == (1, 0)


@pytest.mark.parametrize("content", [b"{}", b"hello\n" * 100, b"\0" * 100, MAGIC + b"\0" + b"x" * 50])
async def test_a_file_of_somebody_else_is_set_aside(store: FileStore, content: bytes) -> None:
    await talk(store, "one")
    file_of(store).write_bytes(content)
    assert (await store.list()).heads == ()
    assert store.damaged == 1
    assert texts(await talk(store, "anew")) == ["anew"]


async def test_a_session_under_the_name_of_another_is_set_aside(store: FileStore) -> None:
    other = SessionKey("zeta", "", "x")
    await talk(store, "secret")
    await talk(store, "theirs", key=other)
    file_of(store).rename(file_of(store, other))
    assert await load(store, other) is None
    assert store.damaged == 1


async def test_a_session_of_a_newer_version_is_refused_and_left_alone(store: FileStore) -> None:
    await talk(store, "one")
    await talk(store, "two", key=SessionKey("acme", "", "other"))
    path = file_of(store)
    newer = path.read_bytes().replace(MAGIC + VERSION, MAGIC + bytes([VERSION[0] + 1]))
    path.write_bytes(newer)
    for attempt in (load(store), store.head(KEY), store.append(KEY, first()), store.flag(KEY, 1, "", unconfirmed=True)):
        with pytest.raises(StoreError, match="newer version"):
            await attempt
    assert [head.key.id for head in (await store.list()).heads] == ["other"]
    assert await store.cleanup() == 0
    assert path.read_bytes() == newer


async def test_a_file_replaced_between_opening_and_locking_is_opened_anew(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await talk(store, "one")
    path, lock = file_of(store), fcntl.flock

    def replace_first(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)  # this moment cannot be had from outside
        copy = path.with_suffix(".new")
        copy.write_bytes(path.read_bytes())
        copy.rename(path)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    await store.append(KEY, after(session, "two"))
    assert texts(await load(store)) == ["one", "two"]


async def test_a_rewriting_that_was_killed_is_cleared_away(store: FileStore) -> None:
    await talk(store, "one")
    halves = [file_of(store, key).with_suffix(".log.new") for key in (KEY, SessionKey("acme", "", "gone"))]
    for half in halves:
        half.parent.mkdir(exist_ok=True)
        half.write_bytes(b"half")
    await store.cleanup()
    assert not any(half.exists() for half in halves)
    assert texts(await load(store)) == ["one"]


HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(60)
"""


def lock_holder(path: Path) -> subprocess.Popen[bytes]:
    """A process that holds a file's lock."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    return holder


async def test_a_killed_process_leaves_no_lock(store: FileStore) -> None:
    await talk(store, "one")
    with lock_holder(file_of(store)) as holder:
        waiting = asyncio.create_task(talk(store, "two"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        holder.kill()
        assert texts(await waiting) == ["one", "two"]
