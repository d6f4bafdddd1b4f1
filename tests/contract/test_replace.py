"""Turns that take the place of others, and what a turn changes beside itself."""

import asyncio

import pytest

from gateway.errors import SessionChanged
from gateway.sessions.store import Appended, Pin, SessionStore
from tests.contract.making import KEY, World, after, first, load, loaded, said, talk, texts

HOME = Pin("main", "key-1")
AWAY = Pin("claude", "key-2")


async def test_the_last_turn_is_replaced(store: SessionStore, other: SessionStore) -> None:
    session = await talk(store, "one", "two", "three")
    appended = await store.append(KEY, after(session, "three again", replace_from=3))
    assert (appended.number, appended.generation, appended.again) == (3, session.head.generation, False)
    assert appended.revision > session.head.revision
    got = await loaded(other)
    assert texts(got) == ["one", "two", "three again"]
    assert set(got.marks) == {1, 2, 3}
    assert got.marks[3].question == b"qthree again"
    assert (got.head.first, got.head.next) == (1, 4)


async def test_a_turn_and_all_after_it_are_replaced(store: SessionStore, other: SessionStore) -> None:
    session = await talk(store, "one", "two", "three", "four")
    await store.append(KEY, after(session, "two again", replace_from=2))
    assert texts(await load(other)) == ["one", "two again"]
    assert texts(await talk(other, "three again")) == ["one", "two again", "three again"]


async def test_the_whole_of_a_session_is_replaced(store: SessionStore) -> None:
    session = await talk(store, "one", "two", "three")
    assert (await store.append(KEY, after(session, "anew", replace_from=1))).number == 1
    got = await loaded(store)
    assert (texts(got), set(got.marks), got.head.generation) == (["anew"], {1}, session.head.generation)


async def test_a_replaced_turn_no_longer_counts_in_the_size_but_in_the_totals(store: SessionStore) -> None:
    session = await talk(store, "one", "two", "three " * 100)
    await store.append(KEY, after(session, "2", replace_from=2))
    got = await loaded(store)
    assert got.head.size == got.marks[1].size + got.marks[2].size
    assert got.head.totals.turns == 4


@pytest.mark.parametrize("start", [1, 2, 15, 16, 17, 31, 33, 39, 40])
async def test_replacing_far_back_leaves_what_was_before(store: SessionStore, other: SessionStore, start: int) -> None:
    names = [f"turn {n}" for n in range(1, 41)]
    session = await talk(store, *names)
    await store.append(KEY, after(session, "new", replace_from=start))
    expected = [*names[: start - 1], "new", *(f"later {n}" for n in range(25))]
    got = await talk(other, *expected[start:])
    assert texts(got) == expected
    assert [got.marks[n].question.decode() for n in sorted(got.marks)] == [f"q{text}" for text in expected]
    assert got.head.size == sum(mark.size for mark in got.marks.values())


async def test_replacing_what_has_changed_since_is_refused(store: SessionStore, other: SessionStore) -> None:
    stale = await talk(store, "one", "two")
    await talk(other, "three")
    before = await loaded(store)
    with pytest.raises(SessionChanged):
        await store.append(KEY, after(stale, "two again", replace_from=2))
    assert await loaded(store) == before


async def test_only_a_replacement_compares_revisions(store: SessionStore, other: SessionStore) -> None:
    stale = await talk(store, "one")
    await talk(other, "two")
    assert (await store.append(KEY, after(stale, "three"))).number == 3


async def test_of_two_replacements_at_once_one_is_refused(world: World) -> None:
    stores = [world.open(), world.open()]
    session = await talk(stores[0], "one", "two")
    results = await asyncio.gather(
        *(store.append(KEY, after(session, "again", replace_from=2)) for store in stores), return_exceptions=True
    )
    assert {type(result) for result in results} == {Appended, SessionChanged}
    assert texts(await load(stores[0])) == ["one", "again"]


async def test_a_replacement_sent_twice_is_stored_once(store: SessionStore, other: SessionStore) -> None:
    session = await talk(store, "one", "two", "three")
    replacement = after(session, "two again", replace_from=2)
    await store.append(KEY, replacement)
    repeated = await other.append(KEY, replacement)
    assert (repeated.number, repeated.again) == (2, True)
    await talk(other, "three again")
    assert (await other.append(KEY, replacement)).again
    assert texts(await load(store)) == ["one", "two again", "three again"]


async def test_the_turns_before_a_replacement_keep_their_tokens(store: SessionStore) -> None:
    one = first("one")
    await store.append(KEY, one)
    await talk(store, "two")
    await store.append(KEY, after(await load(store), "two again", replace_from=2))
    assert (await store.append(KEY, one)).again
    assert texts(await load(store)) == ["one", "two again"]


# ---------------------------------------------------------------- what changes with a turn


@pytest.mark.parametrize("name", ["system", "preamble", "tools"])
async def test_what_a_turn_brings_is_the_sessions_until_another_brings_its_own(
    store: SessionStore, other: SessionStore, name: str
) -> None:
    await store.append(KEY, first("one", **{name: said("first")}))
    await talk(store, "two")
    assert getattr((await loaded(other)).head, name) == said("first")
    await store.append(KEY, after(await load(store), "three", **{name: said("second", "and more")}))
    await store.append(KEY, after(await load(store), "again", replace_from=2))
    head = (await loaded(other)).head
    assert getattr(head, name) == said("second", "and more")
    assert [getattr(head, n) for n in ("system", "preamble", "tools") if n != name] == [None, None]


async def test_what_is_given_again_and_again_is_stored_as_given(store: SessionStore, other: SessionStore) -> None:
    for text in ("one", "two", "three"):
        await store.append(KEY, after(await load(store), text, system=said("same"), tools=said("[1]")))
    head = (await loaded(other)).head
    assert (head.system, head.tools) == (said("same"), said("[1]"))


async def test_a_session_that_saw_a_resend_stays_marked(store: SessionStore, other: SessionStore) -> None:
    await talk(store, "one")
    await store.append(KEY, after(await load(store), resends=True))
    await store.append(KEY, after(await load(store), resends=None))
    assert (await loaded(other)).head.resends is True


async def test_the_cut_is_set_and_kept(store: SessionStore, other: SessionStore) -> None:
    await talk(store, "one", "two", "three")
    await store.append(KEY, after(await load(store), cut=2))
    await talk(store, "five")
    assert (await loaded(other)).head.cut == 2
    await store.append(KEY, after(await load(store), cut=4))
    assert (await loaded(other)).head.cut == 4


async def test_a_pin_is_set_on_a_session_without_one_and_kept(store: SessionStore, other: SessionStore) -> None:
    await store.append(KEY, first(pin=HOME))
    await talk(store, "two")
    assert (await loaded(other)).head.pin == HOME


async def test_a_pin_is_changed_only_from_the_one_that_was_read(store: SessionStore, other: SessionStore) -> None:
    await store.append(KEY, first(pin=HOME))
    await store.append(KEY, after(await load(store), pin=AWAY, pin_was=None))
    assert (await loaded(other)).head.pin == HOME
    await store.append(KEY, after(await load(store), pin=AWAY, pin_was=HOME))
    assert (await loaded(other)).head.pin == AWAY
    await store.append(KEY, after(await load(store), pin=HOME, pin_was=Pin("claude", "other")))
    session = await loaded(other)
    assert session.head.pin == AWAY
    assert session.head.next == 5


async def test_a_pin_is_dropped_only_if_it_is_the_one_that_was_read(store: SessionStore, other: SessionStore) -> None:
    await store.append(KEY, first(pin=HOME))
    await store.append(KEY, after(await load(store), drop_pin=True, pin_was=AWAY))
    assert (await loaded(other)).head.pin == HOME
    await store.append(KEY, after(await load(store), drop_pin=True, pin_was=HOME))
    assert (await loaded(other)).head.pin is None
    await store.append(KEY, after(await load(store), pin=AWAY))
    assert (await loaded(other)).head.pin == AWAY


async def test_of_two_pins_at_once_the_first_wins(store: SessionStore, other: SessionStore) -> None:
    await store.append(KEY, first("one", pin=HOME))
    await other.append(KEY, first("two", pin=AWAY))
    assert (await loaded(store)).head.pin == HOME
