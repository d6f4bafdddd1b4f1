"""What operators do to sessions: patches, and sessions written whole."""

import pytest
from msgspec import Raw
from msgspec.structs import replace

from gateway.errors import SessionGone
from gateway.sessions.store import Patch, Pin, SessionKey, SessionStore, Wanted
from tests.contract.making import KEY, World, after, first, load, loaded, said, talk, texts

COPY = SessionKey("other", "ada", "copy")


async def test_a_patch_of_nothing_says_so(store: SessionStore) -> None:
    assert not await store.patch(KEY, Patch(keep=10))
    assert await store.head(KEY) is None


async def test_pin_and_context_are_set_and_removed(store: SessionStore, other: SessionStore) -> None:
    before = await talk(store, "a")
    assert await store.patch(KEY, Patch(pin=Pin("main", "main-1"), context=Raw(b'{"vip": true}')))
    head = (await loaded(other)).head
    assert (head.pin, bytes(head.context)) == (Pin("main", "main-1"), b'{"vip": true}')
    assert (head.updated, head.revision) == (before.head.updated, before.head.revision + 1)
    await other.patch(KEY, Patch(pin=None))
    head = (await loaded(store)).head
    assert (head.pin, bytes(head.context)) == (None, b'{"vip": true}')


async def test_a_longer_life_counts_from_now_and_outlives_the_next_turns(world: World) -> None:
    store = world.open()
    limits = world.limits(ttl=4, max_age=6)
    await store.append(KEY, first("a", limits=limits))
    await world.elapse(2)
    await store.patch(KEY, Patch(keep=8 * world.unit))
    await store.append(KEY, after(await load(store), "b", limits=limits))
    await world.elapse(5)
    assert texts(await load(store)) == ["a", "b"]
    await world.elapse(4)
    assert await store.head(KEY) is None


async def test_only_the_generation_that_is_meant_is_changed(store: SessionStore) -> None:
    session = await talk(store, "a")
    with pytest.raises(SessionGone):
        await store.patch(KEY, Patch(generation="another", drop_last=1))
    assert await store.patch(KEY, Patch(generation=session.head.generation, drop_last=1))


@pytest.mark.parametrize(("count", "left"), [(1, ["a", "b"]), (2, ["a"]), (3, []), (99, [])])
async def test_the_last_turns_go_and_the_session_goes_on(
    store: SessionStore, other: SessionStore, count: int, left: list[str]
) -> None:
    before = await talk(store, "a", "b", "c")
    await store.patch(KEY, Patch(drop_last=count))
    session = await loaded(other)
    assert texts(session) == left
    assert list(session.marks) == list(session.turns)
    assert session.head.totals == before.head.totals
    assert session.head.size == sum(mark.size for mark in session.marks.values())
    assert texts(await talk(other, "d")) == [*left, "d"]


async def test_dropping_reaches_turns_that_are_far_back(store: SessionStore) -> None:
    names = [str(number) for number in range(150)]
    await talk(store, *names)
    await store.patch(KEY, Patch(drop_last=120))
    assert texts(await load(store)) == names[:30]


async def test_a_session_written_whole_is_the_same_but_for_its_key(store: SessionStore, other: SessionStore) -> None:
    pinned = {"pin": Pin("main", "main-1"), "system": said("be kind"), "resends": True, "cost": 0.25}
    session = await talk(store, "a", "b", "c", **pinned)
    assert await store.write(COPY, session)
    copy = await loaded(other, COPY)
    head = replace(session.head, key=COPY, generation=copy.head.generation, revision=copy.head.revision)
    assert copy.head.generation != session.head.generation
    assert replace(copy.head, size=0) == replace(head, size=0)
    assert (copy.turns, list(copy.marks)) == (session.turns, [1, 2, 3])
    assert [key async for key in store.scan("other")] == [COPY]
    assert texts(await talk(other, "d", key=COPY)) == ["a", "b", "c", "d"]
    assert texts(await load(store)) == ["a", "b", "c"]


async def test_a_session_without_turns_can_be_written(store: SessionStore) -> None:
    session = await talk(store, "a")
    empty = replace(session, head=replace(session.head, first=1, next=1), turns={}, marks={})
    assert await store.write(COPY, empty)
    assert texts(await loaded(store, COPY)) == []
    assert await store.turns(COPY, first=1, count=5) == {}
    assert texts(await talk(store, "x", key=COPY)) == ["x"]


async def test_nothing_is_written_over_unless_that_is_wanted(store: SessionStore) -> None:
    session = await talk(store, "a", "b")
    running = await talk(store, "mine", key=COPY)
    assert not await store.write(COPY, session)
    assert texts(await load(store, COPY)) == ["mine"]
    assert await store.write(COPY, session, over=True)
    assert texts(await load(store, COPY)) == ["a", "b"]
    with pytest.raises(SessionGone):
        await store.append(COPY, after(running, "late"))


async def test_a_tombstone_does_not_stand_in_the_way(store: SessionStore) -> None:
    session = await talk(store, "a")
    await store.delete(KEY)
    assert await store.write(KEY, session)
    assert texts(await load(store)) == ["a"]


async def test_many_turns_are_written_whole(store: SessionStore) -> None:
    session = await talk(store, "a")
    numbers = range(1, 701)
    big = {n: replace(session.turns[1], question=said(f"{n} " + "x" * 1000)) for n in numbers}
    marks = dict.fromkeys(numbers, session.marks[1])
    whole = replace(session, head=replace(session.head, next=701), turns=big, marks=marks)
    assert await store.write(COPY, whole)
    assert (await loaded(store, COPY)).turns == big


async def test_an_owners_sessions_are_scanned_and_counted(store: SessionStore) -> None:
    for owner, id in (("a", "1"), ("a", "2"), ("b", "3")):
        await store.append(SessionKey(owner, "", id), first(id))
    assert sorted([key.id async for key in store.scan("a")]) == ["1", "2"]
    assert [await store.count(owner) for owner in ("a", "b", "c", None)] == [2, 1, 0, 3]
    head = await store.head(SessionKey("a", "", "1"))
    assert head is not None
    assert await store.count(since=head.updated + 10_000_000) == 0


async def test_a_list_can_begin_in_the_past(world: World) -> None:
    store = world.open()
    for name in ("a", "b", "c"):
        await store.append(SessionKey("acme", "", name), first(name))
        await world.elapse(0.02)
    newest, middle, oldest = (await store.list()).heads
    page = await store.list(limit=1, wanted=Wanted(until=newest.updated - 1))
    assert page.heads == (middle,)
    page = await store.list(limit=1, cursor=page.next, wanted=Wanted(until=newest.updated - 1))
    assert (page.heads, page.next) == ((oldest,), None)
