"""Rule S11: what is gone stays gone, and a first turn joins a session that was made meanwhile."""

import asyncio

import pytest

from gateway.errors import SessionGone
from gateway.sessions.store import SessionKey, SessionStore
from tests.contract.making import KEY, World, after, first, load, loaded, talk, texts


async def test_a_deleted_session_is_gone_for_everybody(store: SessionStore, other: SessionStore) -> None:
    await talk(store, "one", "two")
    assert await other.delete(KEY) is True
    assert await load(store) is None
    assert await store.head(KEY) is None
    assert await store.turns(KEY, first=1, count=9) == {}
    assert await store.owners(KEY.id) == []
    assert (await store.list()).heads == ()
    assert [key async for key in store.scan()] == []


async def test_deleting_twice_is_deleting_once(store: SessionStore, other: SessionStore) -> None:
    assert await store.delete(KEY) is False
    neighbour = SessionKey("acme", "jo", KEY.id)
    await talk(store, "one", key=neighbour)
    await store.append(SessionKey("acme", "", "x"), first())
    assert await store.delete(SessionKey("acme", "", "x")) is True
    assert await store.delete(SessionKey("acme", "", "x")) is False
    assert await other.delete(SessionKey("acme", "", "x")) is False
    assert texts(await load(store, neighbour)) == ["one"]


async def test_a_turn_whose_session_was_deleted_is_refused(store: SessionStore, other: SessionStore) -> None:
    session = await talk(store, "one")
    await other.delete(KEY)
    with pytest.raises(SessionGone):
        await store.append(KEY, after(session))
    with pytest.raises(SessionGone):
        await store.append(KEY, after(session, replace_from=1))
    assert await load(other) is None


async def test_a_first_turn_is_refused_if_its_session_was_made_and_deleted_meanwhile(
    store: SessionStore, other: SessionStore
) -> None:
    assert await load(store) is None
    await talk(other, "one")
    await other.delete(KEY)
    with pytest.raises(SessionGone):
        await store.append(KEY, first())
    assert await load(other) is None


async def test_a_session_that_was_deleted_before_the_load_may_be_made_anew(world: World) -> None:
    store, other = world.open(), world.open()
    await talk(store, "one")
    await other.delete(KEY)
    await world.elapse(0.2)
    assert await load(store) is None
    await store.append(KEY, first("two", since=0.1 * world.unit))
    assert texts(await load(other)) == ["two"]


async def test_a_first_turn_is_refused_if_a_delete_came_while_it_ran(store: SessionStore, other: SessionStore) -> None:
    assert await load(store) is None
    assert await other.delete(KEY) is False
    with pytest.raises(SessionGone):
        await store.append(KEY, first())
    assert await load(other) is None


async def test_an_append_sent_again_after_a_delete_brings_nothing_back(
    store: SessionStore, other: SessionStore
) -> None:
    append = first()
    await store.append(KEY, append)
    await other.delete(KEY)
    with pytest.raises(SessionGone):
        await store.append(KEY, append)
    assert await load(other) is None


async def test_a_first_turn_joins_the_session_that_another_first_turn_made(
    store: SessionStore, other: SessionStore
) -> None:
    one = await store.append(KEY, first("one"))
    two = await other.append(KEY, first("two"))
    assert (one.number, two.number) == (1, 2)
    assert one.generation == two.generation
    assert texts(await load(store)) == ["one", "two"]


async def test_first_turns_at_once_make_one_session(world: World) -> None:
    stores = [world.open() for _ in range(3)]
    appended = await asyncio.gather(*(stores[n % 3].append(KEY, first(f"turn {n}")) for n in range(9)))
    assert sorted(a.number for a in appended) == list(range(1, 10))
    assert len({a.generation for a in appended}) == 1
    assert len((await loaded(stores[0])).turns) == 9


async def test_a_turn_whose_session_expired_is_refused(world: World) -> None:
    store = world.open()
    session = await talk(store, "one", limits=world.limits(ttl=1))
    await world.elapse(1.5)
    with pytest.raises(SessionGone):
        await store.append(KEY, after(session))
    assert await load(store) is None


async def test_a_turn_of_an_older_generation_is_refused(world: World) -> None:
    store, other = world.open(), world.open()
    session = await talk(store, "one", limits=world.limits(ttl=1))
    await world.elapse(1.5)
    anew = await talk(other, "anew")
    assert anew.head.generation != session.head.generation
    assert (anew.head.first, anew.head.next, anew.head.totals.turns) == (1, 2, 1)
    with pytest.raises(SessionGone):
        await store.append(KEY, after(session))
    with pytest.raises(SessionGone):
        await store.append(KEY, after(session, replace_from=1))
    assert await loaded(store) == anew


async def test_a_generation_that_nobody_had_is_refused(store: SessionStore) -> None:
    with pytest.raises(SessionGone):
        await store.append(KEY, first(generation="never"))
    await talk(store, "one")
    with pytest.raises(SessionGone):
        await store.append(KEY, first(generation="never"))
    assert texts(await load(store)) == ["one"]


async def test_two_sessions_have_two_generations(store: SessionStore) -> None:
    keys = [SessionKey("acme", "", f"id-{n}") for n in range(20)]
    assert len({(await store.append(key, first())).generation for key in keys}) == 20
