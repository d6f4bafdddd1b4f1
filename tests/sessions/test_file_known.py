"""What a worker has seen of a session in a file is not read again, and never stands in the way of what is true."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.sessions.file.store import FileStore
from gateway.sessions.store import Patch, Session
from tests.contract.making import KEY, LIMITS, after, first, load, loaded, talk, texts
from tests.sessions.test_file_disk import Traffic

LARGE = 50_000
OPENING = 16 + 4096
"""Bytes that every load reads."""


@pytest.fixture
async def store(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path / "sessions"))


def large(letter: str) -> str:
    return letter * LARGE


def inode(store: FileStore) -> int:
    return Path(store._tree.path(KEY)).stat().st_ino


async def read_on(store: FileStore, known: Session, **fields: Any) -> tuple[list[str], int]:
    """The first letters of the questions that a load comes to, and the bytes that were read for it."""
    traffic = Traffic()
    session = await loaded(store, known=known, **fields)
    read = traffic[b"rchar"]
    assert session == await loaded(store, **fields)
    return [text[0] for text in texts(session)], read


@pytest.mark.parametrize("fields", [{"marks": True}, {"marks": False}, {"marks": False, "turns": 4}])
async def test_only_what_is_new_is_read(store: FileStore, fields: dict[str, Any]) -> None:
    await talk(store, *map(large, "abcdef"))
    known = await loaded(store, **fields)
    assert (await read_on(store, known, **fields))[1] == OPENING
    await store.append(KEY, first(large("g")))
    found, read = await read_on(store, known, **fields)
    assert found == list("abcdefg")[-fields.get("turns", 7) :]
    assert read < OPENING + 3 * LARGE


async def test_a_window_that_moved_far_is_read_whole(store: FileStore) -> None:
    await talk(store, *"abcdef")
    known = await loaded(store, turns=3, marks=False)
    for text in "ghijklmnopqrstuvw":
        await store.append(KEY, first(text))
    assert (await read_on(store, known, turns=3, marks=False))[0] == list("uvw")


async def test_no_turns_are_read_where_none_are_wanted(store: FileStore) -> None:
    await talk(store, "a", "b")
    known = await loaded(store, turns=0)
    await store.append(KEY, first("c"))
    session = await loaded(store, turns=0, known=known)
    assert (session.turns, sorted(session.marks)) == ({}, [1, 2, 3])


async def test_more_than_is_known_is_read(store: FileStore) -> None:
    await talk(store, *"abcdef")
    known = await loaded(store, turns=3, marks=False)
    assert (await read_on(store, known, turns=4, marks=False))[0] == list("cdef")
    assert sorted((await loaded(store, known=known, turns=0)).marks) == [1, 2, 3, 4, 5, 6]


CHANGES: dict[str, Callable[[FileStore, Session], Any]] = {
    "replaced": lambda store, known: store.append(KEY, after(known, "x", replace_from=3)),
    "dropped": lambda store, _: store.patch(KEY, Patch(drop_last=2)),
    "trimmed": lambda store, known: store.append(KEY, after(known, "x", limits=replace(LIMITS, max_turns=2))),
    "written anew": lambda store, known: store.write(KEY, known, over=True),
    "flagged": lambda store, _: store.flag(KEY, 1, "token of a", unconfirmed=True),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_known_gives_way_to_what_is_true(store: FileStore, change: str) -> None:
    await store.append(KEY, first("a", token="token of a"))
    known = await talk(store, *"bcd")
    await CHANGES[change](store, known)
    await read_on(store, known)
    await store.append(KEY, first("y"))
    await read_on(store, known)


async def test_what_is_known_of_a_deleted_session_is_not_told(store: FileStore) -> None:
    known = await talk(store, "a", "b")
    await store.delete(KEY)
    assert await load(store, known=known) is None
    await store.append(KEY, first("anew", since=0.0))
    assert texts(await loaded(store, known=known)) == ["anew"]


async def test_a_session_that_looks_the_same_is_not_taken_for_what_is_known(store: FileStore) -> None:
    await store.append(KEY, first("a", token="one"))
    known = await loaded(store)
    await store.delete(KEY)
    await store.append(KEY, first("b", token="one", since=0.0))
    assert texts(await loaded(store, known=known)) == ["b"]


async def test_a_turn_that_is_stored_again_is_not_taken_for_what_is_known(store: FileStore) -> None:
    await store.append(KEY, first("a", token="one"))
    await store.append(KEY, first("b", token="two"))
    known = await loaded(store)
    await store.patch(KEY, Patch(drop_last=1))
    await store.append(KEY, first("c", token="two"))
    assert texts(await loaded(store, known=known)) == ["a", "c"]


async def test_a_flag_that_a_rewriting_took_over_is_seen(store: FileStore) -> None:
    await store.append(KEY, first("a", token="token of a"))
    known = await talk(store, *"bcdefghijkl")
    await store.flag(KEY, 1, "token of a", unconfirmed=True)
    before = inode(store)
    while inode(store) == before:
        await store.append(KEY, after(await loaded(store), large("x"), replace_from=13))
        await store.close()
    assert (await loaded(store, known=known)).marks[1].unconfirmed
