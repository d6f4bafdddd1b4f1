"""Files of an older format: read as they are, rewritten before anything is added, never harmed."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.errors import StoreError, StoreUnavailable
from gateway.sessions.file.log import MAGIC, VERSION
from gateway.sessions.file.store import FileStore
from gateway.sessions.store import Patch, Pin, Reservation, Session, SessionKey
from tests.contract import format_2
from tests.contract.format_1 import GONE, KEY, LIMITS, NOW, append_of
from tests.contract.format_2 import LONG
from tests.contract.making import loaded, stored_files
from tests.sessions.test_file_disk import files_no_larger_than


def opened(root: Path) -> FileStore:
    return FileStore(str(root), clock=lambda: NOW + 1)


def path_of(store: FileStore, key: SessionKey = KEY) -> Path:
    return Path(store._tree.path(key))


@pytest.fixture
def old(tmp_path: Path) -> FileStore:
    return opened(stored_files("1", tmp_path / "kept"))


async def whole(store: FileStore, **fields: float) -> Session:
    return await loaded(store, KEY, **fields)


def alike(session: Session) -> Session:
    """Without what differs: what is random, and the bytes that turns take, which have grown."""
    marks = {number: replace(mark, size=0) for number, mark in session.marks.items()}
    return replace(session, head=replace(session.head, generation="", size=0), marks=marks, stamp=b"", memo=None)


@pytest.mark.parametrize("key", [KEY, LONG], ids=["short", "long"])
async def test_what_is_stored_now_reads_as_what_was_stored_then(tmp_path: Path, key: SessionKey) -> None:
    then = opened(stored_files("2", tmp_path / "then"))
    now = FileStore(str(tmp_path / "now"), clock=lambda: NOW)
    await format_2.write(now)
    expected = alike(await loaded(now, key))
    assert alike(await loaded(then, key)) == expected
    for number in expected.turns:
        assert await then.turns(key, first=number, count=1) == {number: expected.turns[number]}


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_stored_tombstone_still_stands(tmp_path: Path, version: str) -> None:
    store = opened(stored_files(version, tmp_path / "kept"))
    assert await store.head(GONE) is None
    with pytest.raises(StoreError):
        await store.append(GONE, append_of(1, None, 0))


async def test_an_old_file_is_read_without_being_changed(old: FileStore) -> None:
    before = path_of(old).read_bytes()
    session = await whole(old)
    assert await old.turns(KEY, first=5, count=2) == {n: session.turns[n] for n in (5, 6)}
    assert [head.key for head in (await old.list()).heads] == [KEY]
    assert await old.head(KEY) == session.head
    assert path_of(old).read_bytes() == before


CHANGES: dict[str, Callable[[FileStore, Session], Awaitable[object]]] = {
    "append": lambda store, session: store.append(KEY, append_of(21, session.head.generation, session.head.revision)),
    "replace": lambda store, session: store.append(
        KEY, replace(append_of(21, session.head.generation, session.head.revision), replace_from=6)
    ),
    "flag": lambda store, _: store.flag(KEY, 5, "token-5", unconfirmed=True),
    "patch": lambda store, _: store.patch(KEY, Patch(pin=Pin("other", "k2"))),
    "drop": lambda store, _: store.patch(KEY, Patch(drop_last=9)),
    "keep": lambda store, _: whole(store, keep=2 * LIMITS.ttl),
    "write": lambda store, session: store.write(KEY, session, over=session.head),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_an_old_file_is_changed_like_a_new_one(old: FileStore, tmp_path: Path, change: str) -> None:
    new = opened(stored_files("2", tmp_path / "new"))
    results = [await CHANGES[change](store, await whole(store)) for store in (old, new)]
    assert path_of(old).read_bytes().startswith(MAGIC + VERSION)
    sessions = [alike(await whole(store)) for store in (old, new)]
    assert sessions[0] == sessions[1]
    assert isinstance(results[0], type(results[1]))


async def test_an_old_session_is_deleted(old: FileStore) -> None:
    assert await old.delete(KEY)
    assert await old.head(KEY) is None


async def test_an_old_session_runs_under_reservations(old: FileStore) -> None:
    session = await whole(old)
    wish = Reservation(holder="token-21", lease=True, retry="key", body="body")
    assert (await old.reserve(KEY, wish)).outcome == "granted"
    append = append_of(21, session.head.generation, session.head.revision)
    assert (await old.append(KEY, replace(append, reserved=wish))).number == 21
    found = await old.reserve(KEY, replace(wish, holder="next"))
    assert (found.outcome, found.number) == ("stored", 21)


async def test_an_old_file_stays_whole_if_the_disk_is_full(old: FileStore) -> None:
    before, session = path_of(old).read_bytes(), await whole(old)
    for room in (0, 1000, 5000):
        with files_no_larger_than(room), pytest.raises(StoreUnavailable):
            await old.append(KEY, append_of(21, session.head.generation, session.head.revision))
        assert path_of(old).read_bytes() == before
    assert await whole(old) == session
    with files_no_larger_than(len(before)):
        assert await old.delete(KEY)


async def test_a_killed_rewriting_of_an_old_file_leaves_it_whole(old: FileStore) -> None:
    session = await whole(old)
    path_of(old).with_suffix(".log.new").write_bytes(b"half")
    assert await whole(old) == session
    await old.append(KEY, append_of(21, session.head.generation, session.head.revision))
    assert max((await whole(old)).turns) == 21
    assert not path_of(old).with_suffix(".log.new").exists()


async def test_an_old_file_with_an_unfinished_end_is_mended(old: FileStore) -> None:
    session, path = await whole(old), path_of(old)
    path.write_bytes(path.read_bytes() + b"unfinished")
    assert await whole(old) == session
    assert (old.torn, old.damaged) == (1, 0)


async def test_a_damaged_old_file_is_set_aside(old: FileStore) -> None:
    path = path_of(old)
    path.write_bytes(path.read_bytes().replace(b"question 7", b"question 8"))
    assert await old.turns(KEY, first=7, count=1) == {}
    assert old.damaged == 1


async def test_many_that_change_an_old_file_at_once_lose_nothing(old: FileStore, tmp_path: Path) -> None:
    generation, stores = (await whole(old)).head.generation, [old, opened(tmp_path / "kept")]
    appends = [stores[n % 2].append(KEY, append_of(n, generation, 10**9)) for n in range(21, 41)]
    assert sorted(appended.number for appended in await asyncio.gather(*appends)) == list(range(21, 41))
    assert max((await whole(old)).turns) == 40
