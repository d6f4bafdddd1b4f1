"""The file store and its directory: who may look, what a full disk does, how much is read and written."""

import asyncio
import fcntl
import os
import re
import resource
import stat
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.config import ConfigError
from gateway.errors import SessionGone, SessionLimit, StoreUnavailable
from gateway.sessions.file.store import FileStore
from gateway.sessions.store import SessionKey
from tests.contract.making import KEY, LIMITS, after, first, load, loaded, said, talk, texts


@pytest.fixture
async def store(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path / "sessions"))


def root(store: FileStore) -> Path:
    return Path(store._tree.root)


def everything(store: FileStore) -> list[Path]:
    return list(root(store).rglob("*"))


def files(store: FileStore) -> list[Path]:
    return [path for path in everything(store) if path.is_file()]


# ---------------------------------------------------------------- the directory


async def test_nobody_else_may_look(store: FileStore) -> None:
    await talk(store, "one", "two")
    await store.delete(SessionKey("acme", "", "never"))
    for path in (root(store), *everything(store)):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


async def test_a_rewritten_file_is_as_private(store: FileStore) -> None:
    await fill(store, 200)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(store)} == {0o600}


async def test_no_character_of_a_key_reaches_a_name(store: FileStore) -> None:
    await talk(store, "one", key=SessionKey("../owner", "user/../..", "id\0\n.log"))
    (path,) = files(store)
    name = str(path.relative_to(store._tree.root))
    assert re.fullmatch(r"[\w-]{22}/[\w-]/[\w-]{22}\.[\w-]{22}\.log", name)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777, 0o701])
def test_a_directory_that_others_may_look_into_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 700 {tmp_path}"):
        FileStore(str(tmp_path))


@pytest.mark.parametrize("directory", ["/proc/gateway", "/dev/null", "/dev/null/sessions", "/dev/null\0"])
def test_a_directory_that_cannot_be_written_to_is_refused(directory: str) -> None:
    with pytest.raises(ConfigError, match=r"sessions\.file\.directory"):
        FileStore(directory)


def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    theirs = "/proc/1" if os.geteuid() else str(tmp_path)
    if not os.geteuid():
        tmp_path.chmod(0o700)
        os.chown(tmp_path, 65534, 65534)
    with pytest.raises(ConfigError, match="another user"):
        FileStore(theirs)


def test_a_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    FileStore(str(tmp_path / "a" / "b" / "c"))
    assert (tmp_path / "a" / "b" / "c").is_dir()


async def test_many_sessions_share_few_folders(store: FileStore) -> None:
    for n in range(200):
        await store.append(SessionKey("acme", "", f"id-{n}"), first())
    folders = {path.parent for path in files(store)}
    assert 30 < len(folders) <= 64


async def test_cleanup_removes_folders_without_files(tmp_path: Path) -> None:
    now = [1e9]
    store = FileStore(str(tmp_path / "sessions"), clock=lambda: now[0], tombstone=10)
    await talk(store, "one", limits=replace(LIMITS, ttl=5))
    await talk(store, "two", key=SessionKey("zeta", "", "x"))
    await store.delete(SessionKey("zeta", "", "x"))
    now[0] += 20
    assert await store.cleanup() == 1
    assert everything(store) == []


async def test_a_tombstone_ends(tmp_path: Path) -> None:
    now = [1e9]
    store = FileStore(str(tmp_path / "sessions"), clock=lambda: now[0], tombstone=10)
    await talk(store, "one")
    await store.delete(KEY)
    now[0] += 11
    assert texts(await talk(store, "anew")) == ["anew"]


async def test_a_turn_that_comes_right_after_a_delete_begins_anew(tmp_path: Path) -> None:
    now = [1e9]
    store = FileStore(str(tmp_path / "sessions"), clock=lambda: now[0])
    await talk(store, "one")
    await store.delete(KEY)
    now[0] += 0.000_1
    with pytest.raises(SessionGone):
        await store.append(KEY, first("ran before", since=0.000_2))
    await store.append(KEY, first("anew", since=0.000_05))
    assert texts(await load(store)) == ["anew"]


async def test_a_turn_that_waits_for_the_lock_while_its_session_is_deleted_stays_out(store: FileStore) -> None:
    await talk(store, "one")
    await store.delete(KEY)
    (path,) = files(store)
    with path.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        waiting = asyncio.create_task(store.append(KEY, first("two", since=0.0)))
        await asyncio.sleep(0.02)
    await store.delete(KEY)
    with pytest.raises(SessionGone):
        await waiting
    assert await load(store) is None


async def test_a_deleted_session_leaves_nothing_on_the_disk(store: FileStore) -> None:
    await talk(store, "the secret", system=said("the secret"))
    assert any(b"the secret" in path.read_bytes() for path in files(store))
    await store.delete(KEY)
    assert not any(b"the secret" in path.read_bytes() for path in files(store))
    assert not any(KEY.owner.encode() in path.read_bytes() for path in files(store))


async def test_a_store_whose_directory_is_gone_says_so(store: FileStore) -> None:
    root(store).rmdir()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    with pytest.raises(StoreUnavailable):
        await store.append(KEY, first())


async def test_a_session_that_stays_locked_is_unavailable(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "sessions"), timeout=0.05)
    session = await talk(store, "one")
    (path,) = files(store)
    with path.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        for attempt in (load(store), store.append(KEY, after(session)), store.delete(KEY), store.list()):
            with pytest.raises(StoreUnavailable, match="locked"):
                await attempt
    assert await load(store) == session


async def test_an_owner_has_no_more_sessions_than_it_may(tmp_path: Path) -> None:
    now = [1e9]
    store = FileStore(str(tmp_path / "sessions"), clock=lambda: now[0])
    limits = replace(LIMITS, max_sessions=2, ttl=100)
    for n in range(2):
        await store.append(SessionKey("acme", "", f"id-{n}"), first(limits=limits))
    with pytest.raises(SessionLimit):
        await store.append(SessionKey("acme", "", "id-2"), first(limits=limits))
    await store.append(SessionKey("zeta", "", "id-2"), first(limits=limits))
    await talk(store, "more", key=SessionKey("acme", "", "id-1"), limits=limits)
    assert (await store.append(SessionKey("acme", "", "id-1"), first(limits=limits))).number == 3
    now[0] += 200
    await store.append(SessionKey("acme", "", "id-2"), first(limits=limits))


# ---------------------------------------------------------------- a full disk


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk looks like to a write: it is short, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_leaves_the_session_as_it_was(store: FileStore) -> None:
    session = await talk(store, "one", "two")
    (path,) = files(store)
    before = path.read_bytes()
    refused = after(session, "x" * 3000)
    for room in (0, 1, 10, 1000, 5000):
        with files_no_larger_than(len(before) + room), pytest.raises(StoreUnavailable):
            await store.append(KEY, refused)
        assert path.read_bytes() == before
        assert await loaded(store) == session
    assert (await store.append(KEY, refused)).number == 3
    assert store.torn == 0


async def test_a_full_disk_makes_no_half_session(store: FileStore) -> None:
    for room in (0, 10, 100):
        with files_no_larger_than(room), pytest.raises(StoreUnavailable):
            await store.append(KEY, first())
        assert await load(store) is None
        assert files(store) == []


async def test_a_full_disk_does_not_hinder_reading_and_deleting(store: FileStore) -> None:
    session = await talk(store, "one", "two", "three")
    (path,) = files(store)
    with files_no_larger_than(path.stat().st_size):
        assert await loaded(store) == session
        assert await store.delete(KEY) is True
    assert await load(store) is None


async def test_a_file_that_cannot_be_rewritten_is_left_as_it_is(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    limits = replace(LIMITS, max_turns=10)
    await talk(store, "start", limits=limits)
    (path,) = files(store)
    path.with_name(path.name + ".new").mkdir()
    session = await talk(store, *("x" * 6000 for _ in range(30)), limits=limits)
    await store.close()
    assert "could not be rewritten" in caplog.text
    assert await loaded(store) == session


# ---------------------------------------------------------------- how much is read and written


async def fill(store: FileStore, count: int, **fields: Any) -> None:
    session = await load(store, turns=0, marks=False)
    for n in range(count):
        await store.append(KEY, after(session, f"turn {n} " + "x" * 500, revision=10**9, **fields))
        session = session or await load(store, turns=0, marks=False)
    await store.close()


class Traffic:
    """Bytes and calls of reading and writing of this thread since it was made, by the kernel's count."""

    def __init__(self) -> None:
        with Path("/proc/thread-self/io").open("rb", buffering=0) as file:
            own = file.read(4096)  # one call, which the next reading counts
        self._counts = {name: int(count) for name, count in (line.split(b": ") for line in own.splitlines())}
        self._own = {b"rchar": len(own), b"syscr": 1}

    def __getitem__(self, name: bytes) -> int:
        return self.counts()[name]

    def counts(self) -> dict[bytes, int]:
        return {name: n - self._counts[name] - self._own.get(name, 0) for name, n in Traffic()._counts.items()}


async def test_a_load_reads_what_it_returns(store: FileStore) -> None:
    await fill(store, 800)
    (path,) = files(store)
    assert path.stat().st_size > 1_000_000
    traffic = Traffic()
    await load(store, turns=2, marks=False)
    assert traffic[b"rchar"] < 20_000
    traffic = Traffic()
    await load(store, turns=0, marks=True)
    assert traffic[b"rchar"] < 200_000
    traffic = Traffic()
    await store.turns(KEY, first=300, count=3)
    assert traffic[b"rchar"] < 30_000


class Calls(list[tuple[str, int]]):
    """The system calls that the store makes, by name, each with the bytes that it moves."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        for module, name in [(os, name) for name in CALLS] + [(fcntl, "flock")]:
            patch.setattr(module, name, partial(self._call, name, getattr(module, name)))

    def _call(self, name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        self.append((name, len(result) if name == "pread" else result if name == "pwrite" else 0))
        return result

    async def of(self, work: Awaitable[object]) -> list[tuple[str, int]]:
        """Those of some work. The kernel must have seen the same."""
        self.clear()
        traffic = Traffic()
        await work
        counts = traffic.counts()
        read, written = ([size for called, size in self if called == name] for name in ("pread", "pwrite"))
        assert (counts[b"syscr"], counts[b"rchar"]) == (len(read), sum(read))
        assert (counts[b"syscw"], counts[b"wchar"]) == (len(written), sum(written))
        return list(self)


CALLS = ("open", "close", "fstat", "pread", "pwrite", "utime", "ftruncate", "fsync")


async def test_a_commit_costs_the_same_calls_and_bytes_at_the_tenth_turn_and_at_the_thousandth(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, session, costs = Calls(monkeypatch), None, {}
    for number in range(1, 1001):
        append = after(session, "x" * 2000, token=f"{number:032}", system=said("Be of help."))
        cost = await calls.of(store.append(KEY, append))
        session = await loaded(store, turns=1, marks=False)
        costs[number] = cost
    assert session.head.next == 1001
    assert costs[10] == costs[1000]
    assert all(costs[number] == costs[10] for number in range(9, 1001))
    assert [name for name, _ in costs[10]] == ["open", "flock", "fstat", "pread", "pread", "pwrite", "utime", "close"]


async def test_any_turn_of_a_long_session_is_found_in_a_few_reads(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, 1000)
    calls = Calls(monkeypatch)
    for number in range(1, 1001, 7):
        reads = [size for name, size in await calls.of(store.turns(KEY, first=number, count=1)) if name == "pread"]
        assert len(reads) <= 14
        assert sum(reads) < 16_000


async def test_what_does_not_change_is_not_written_again(store: FileStore) -> None:
    tools = said("x" * 50_000)
    await store.append(KEY, first(tools=tools))
    (path,) = files(store)
    before = path.stat().st_size
    for text in ("two", "three"):
        await store.append(KEY, after(await load(store), text, tools=tools))
    assert path.stat().st_size < before + 5000
    assert (await loaded(store)).head.tools == tools


async def test_a_session_at_its_cap_does_not_grow_on_the_disk(store: FileStore) -> None:
    limits, largest = replace(LIMITS, max_turns=50), 0
    for _ in range(10):
        await fill(store, 60, limits=limits)
        (path,) = files(store)
        largest = max(largest, path.stat().st_size)
    session = await loaded(store)
    assert (session.head.first, session.head.next) == (551, 601)
    assert [text[:10].rstrip("x ") for text in texts(session)] == [f"turn {n}" for n in range(10, 60)]
    assert largest < 300_000


async def test_a_rewriting_is_not_done_for_every_turn(store: FileStore) -> None:
    limits = replace(LIMITS, max_turns=50)
    await fill(store, 200, limits=limits)
    (path,) = files(store)
    inodes = set()
    for _ in range(100):
        await fill(store, 1, limits=limits)
        inodes.add(path.stat().st_ino)
    assert len(inodes) < 6


async def test_flags_and_tokens_survive_a_rewriting(store: FileStore) -> None:
    one = first("one " + "x" * 500)
    await store.append(KEY, one)
    await fill(store, 20)
    assert await store.flag(KEY, 1, one.token, unconfirmed=True)
    inode = files(store)[0].stat().st_ino
    while files(store)[0].stat().st_ino == inode:
        session = await loaded(store)
        await store.append(KEY, after(session, "y" * 4000, replace_from=21))
        await store.close()
    marks = (await loaded(store)).marks
    assert [number for number in marks if marks[number].unconfirmed] == [1]
    assert sorted(marks) == list(range(1, 22))
    assert (await store.append(KEY, one)).again


# ---------------------------------------------------------------- the event loop


class Counting(ThreadPoolExecutor):
    """Counts what it is given."""

    jobs = 0

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs += 1
        return super().submit(*args, **kwargs)


async def test_short_work_is_done_at_once_and_long_work_in_a_thread(store: FileStore) -> None:
    with Counting(2) as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        await talk(store, "one", "two", "three")
        assert executor.jobs == 0
        await talk(store, "x" * 3_000_000)
        assert executor.jobs > 0
        executor.jobs = 0
        await load(store, turns=1, marks=False)
        await load(store, turns=0, marks=True)
        assert executor.jobs < 2
        await load(store)
        assert executor.jobs > 0


async def test_a_cancelled_caller_leaves_no_lock_behind(store: FileStore) -> None:
    session, loop = await talk(store, "one"), asyncio.get_running_loop()
    with ThreadPoolExecutor() as threads:
        loop.set_default_executor(threads)
        for _ in range(5):
            task = asyncio.create_task(store.append(KEY, after(session, "x" * 2_000_000)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    loop.set_default_executor(ThreadPoolExecutor())
    assert texts(await talk(store, "last"))[-1] == "last"
    assert await store.delete(KEY)
