"""Rule S12: caps by whole turns, lives by ttl, max_age and keep."""

import pytest
from msgspec.structs import replace

from gateway.errors import SessionTooLarge
from gateway.sessions.store import SessionKey, SessionStore
from tests.contract.making import KEY, LIMITS, World, after, first, load, loaded, talk, texts

THREE = replace(LIMITS, max_turns=3)


async def test_the_oldest_turns_go_when_there_are_too_many(store: SessionStore, other: SessionStore) -> None:
    session = await talk(store, "one", "two", "three", limits=THREE)
    assert texts(session) == ["one", "two", "three"]
    appended = await store.append(KEY, after(session, "four", limits=THREE))
    assert (appended.number, appended.trimmed) == (4, 1)
    got = await loaded(other)
    assert (texts(got), set(got.turns), set(got.marks)) == (["two", "three", "four"], {2, 3, 4}, {2, 3, 4})
    assert (got.head.first, got.head.next) == (2, 5)
    assert got.head.size == sum(mark.size for mark in got.marks.values())
    assert got.head.totals.turns == 4


async def test_a_session_at_its_cap_goes_on_for_ever(store: SessionStore, other: SessionStore) -> None:
    limits = replace(LIMITS, max_turns=20)
    session = await talk(store, *(f"turn {n}" for n in range(1, 121)), limits=limits)
    assert texts(session) == [f"turn {n}" for n in range(101, 121)]
    assert (await loaded(other)).head.size == sum(mark.size for mark in session.marks.values())
    assert await other.turns(KEY, first=95, count=8) == {n: session.turns[n] for n in (101, 102)}


async def test_trimmed_turns_are_gone_for_readers_too(store: SessionStore) -> None:
    await talk(store, "one", "two", "three", "four", "five", limits=THREE)
    assert set(await store.turns(KEY, first=1, count=9)) == {3, 4, 5}
    assert set((await loaded(store, turns=0)).marks) == {3, 4, 5}


async def test_an_append_that_trimmed_and_is_sent_again_trims_nothing_more(
    store: SessionStore, other: SessionStore
) -> None:
    session = await talk(store, "one", "two", "three", limits=THREE)
    append = after(session, "four", limits=THREE)
    await store.append(KEY, append)
    assert (await other.append(KEY, append)).again
    assert texts(await load(store)) == ["two", "three", "four"]
    await talk(store, "five", limits=THREE)
    assert (await other.append(KEY, append)).again
    assert texts(await load(store)) == ["three", "four", "five"]


async def test_a_smaller_cap_takes_hold_with_the_next_turn(store: SessionStore) -> None:
    session = await talk(store, "one", "two", "three", "four", "five")
    appended = await store.append(KEY, after(session, "six", limits=THREE))
    assert appended.trimmed == 3
    assert texts(await load(store)) == ["four", "five", "six"]


async def test_the_oldest_turns_go_when_the_session_is_too_large(store: SessionStore, other: SessionStore) -> None:
    size = (await talk(store, "x" * 1000)).head.size
    limits = replace(LIMITS, max_bytes=size * 3 + size // 2)
    session = await talk(store, "y" * 1000, "z" * 1000, limits=limits)
    assert session.head.first == 1
    assert (await store.append(KEY, after(session, "1" * 1000, limits=limits))).trimmed == 1
    got = await loaded(other)
    assert [text[0] for text in texts(got)] == ["y", "z", "1"]
    assert got.head.size == sum(mark.size for mark in got.marks.values()) <= limits.max_bytes
    assert (await store.append(KEY, after(got, "2" * 2400, limits=limits))).trimmed == 2


async def test_a_session_is_cut_in_front_of_a_user_message_only(store: SessionStore, other: SessionStore) -> None:
    await talk(store, "ask", limits=THREE)
    await talk(store, "tool", "tool", fresh=False, limits=THREE)
    session = await talk(store, "next", limits=THREE)
    assert texts(session) == ["next"]
    assert (session.head.first, session.head.next) == (4, 5)
    assert set((await loaded(other)).marks) == {4}


async def test_a_session_without_a_place_to_cut_is_left_whole(store: SessionStore, other: SessionStore) -> None:
    await talk(store, "ask", limits=THREE)
    session = await talk(store, *["tool"] * 30, fresh=False, limits=THREE)
    assert (session.head.first, session.head.next) == (1, 32)
    appended = await store.append(KEY, after(session, "next", limits=THREE))
    assert appended.trimmed == 31
    assert texts(await load(other)) == ["next"]


async def test_no_more_is_cut_than_must_be(store: SessionStore) -> None:
    limits = replace(LIMITS, max_turns=5)
    for text, fresh in (("a", True), ("a2", False), ("b", True), ("b2", False), ("c", True)):
        session = await talk(store, text, fresh=fresh, limits=limits)
    assert session.head.first == 1
    assert (await store.append(KEY, after(session, "d", limits=limits))).trimmed == 2
    assert texts(await load(store)) == ["b", "b2", "c", "d"]


async def test_a_replacement_is_held_to_the_caps_after_it_replaced(store: SessionStore) -> None:
    session = await talk(store, "one", "two", "three", limits=THREE)
    appended = await store.append(KEY, after(session, "three again", replace_from=3, limits=THREE))
    assert appended.trimmed == 0
    assert texts(await load(store)) == ["one", "two", "three again"]


async def test_turns_can_be_replaced_after_others_were_trimmed(store: SessionStore, other: SessionStore) -> None:
    limits = replace(LIMITS, max_turns=20)
    session = await talk(store, *(f"turn {n}" for n in range(1, 51)), limits=limits)
    assert (await store.append(KEY, after(session, "new", replace_from=33, limits=limits))).number == 33
    got = await talk(other, "newer", limits=limits)
    assert texts(got) == [f"turn {n}" for n in (31, 32)] + ["new", "newer"]
    assert (got.head.first, got.head.next) == (31, 35)
    assert got.head.size == sum(mark.size for mark in got.marks.values())


async def test_a_turn_larger_than_a_session_may_be_is_refused(store: SessionStore) -> None:
    limits = replace(LIMITS, max_bytes=4096)
    with pytest.raises(SessionTooLarge):
        await store.append(KEY, first("x" * 5000, limits=limits))
    assert await load(store) is None
    session = await talk(store, "one", limits=limits)
    with pytest.raises(SessionTooLarge):
        await store.append(KEY, after(session, "x" * 5000, limits=limits))
    with pytest.raises(SessionTooLarge):
        await store.append(KEY, after(session, "x" * 5000, replace_from=1, limits=limits))
    assert await loaded(store) == session


# ---------------------------------------------------------------- lives


async def gone(store: SessionStore, key: SessionKey = KEY) -> bool:
    """Whether every way of asking says that there is no such session."""
    answers = [
        await store.head(key) is None,
        await store.turns(key, first=1, count=5) == {},
        await store.owners(key.id) == [],
        key not in [head.key for head in (await store.list()).heads],
        key not in [found async for found in store.scan()],
        await load(store, key) is None,
    ]
    assert len(set(answers)) == 1, answers
    return answers[0]


async def test_an_expired_session_does_not_exist(world: World) -> None:
    store = world.open()
    append = first(limits=world.limits(ttl=2))
    await store.append(KEY, append)
    assert not await gone(store)
    await world.elapse(2.5)
    assert await gone(store)
    assert not await store.flag(KEY, 1, append.token, unconfirmed=True)
    assert not await store.delete(KEY)


async def test_every_turn_makes_the_life_longer(world: World) -> None:
    store = world.open()
    limits = world.limits(ttl=3)
    for _ in range(4):
        head = (await talk(store, "turn", limits=limits)).head
        assert head.expires - head.updated == pytest.approx(limits.ttl * 1000, abs=2)
        await world.elapse(2)
    await world.elapse(1.5)
    assert await gone(store)


async def test_no_session_grows_older_than_max_age(world: World) -> None:
    store = world.open()
    limits = world.limits(ttl=4, max_age=6)
    await talk(store, "one", limits=limits)
    await world.elapse(3)
    head = (await talk(store, "two", limits=limits)).head
    assert head.expires - head.created == pytest.approx(limits.max_age * 1000, abs=2)
    await world.elapse(3.5)
    assert await gone(store)


async def test_a_load_keeps_the_session_for_the_time_of_a_turn(world: World) -> None:
    store, other = world.open(), world.open()
    await talk(store, "one", limits=world.limits(ttl=2))
    await world.elapse(1)
    session = await loaded(other, keep=4 * world.unit)
    await world.elapse(2.5)
    assert not await gone(store)
    await store.append(KEY, after(session, "two", limits=world.limits(ttl=2)))
    assert texts(await load(other)) == ["one", "two"]


async def test_what_a_load_kept_runs_out_too(world: World) -> None:
    store = world.open()
    await talk(store, "one", limits=world.limits(ttl=2))
    await loaded(store, keep=4 * world.unit)
    await world.elapse(5)
    assert await gone(store)


async def test_a_load_never_makes_a_life_shorter(world: World) -> None:
    store = world.open()
    before = (await talk(store, "one", limits=world.limits(ttl=50))).head
    assert (await loaded(store, keep=world.unit)).head == before


async def test_readers_do_not_touch_the_life(world: World) -> None:
    store = world.open()
    head = (await talk(store, "one", limits=world.limits(ttl=50))).head
    await world.elapse(0.5)
    await store.turns(KEY, first=1, count=1)
    await store.list()
    await store.owners(KEY.id)
    assert await store.head(KEY) == head


async def test_cleanup_removes_what_has_expired_and_nothing_else(world: World) -> None:
    store = world.open()
    for n in range(3):
        await store.append(SessionKey("acme", "", f"short-{n}"), first(limits=world.limits(ttl=1)))
    await store.append(KEY, first(limits=world.limits(ttl=100)))
    assert await store.cleanup() == 0
    await world.elapse(1.5)
    assert await store.cleanup() == (3 if store.name == "file" else 0)
    assert await store.cleanup() == 0
    assert not await gone(store)
    assert [key async for key in store.scan()] == [KEY]


async def test_an_expired_session_can_be_begun_anew(world: World) -> None:
    store, other = world.open(), world.open()
    old = await talk(store, "one", "two", limits=world.limits(ttl=1), system=None)
    await world.elapse(1.5)
    new = await talk(other, "anew")
    assert texts(new) == ["anew"]
    assert new.head.generation != old.head.generation
    assert new.head.created > old.head.created
