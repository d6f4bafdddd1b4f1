"""Finding sessions: pages newest first, owners of an id, every key there is."""

import pytest
from msgspec.structs import replace

from gateway.conversation import Origin
from gateway.errors import GatewayError, Kind
from gateway.sessions.store import Patch, Pin, SessionKey, SessionStore, Wanted
from tests.contract.making import World, after, first, load


async def fill(world: World, store: SessionStore, names: list[str], owner: str = "acme") -> None:
    for name in names:
        await store.append(SessionKey(owner, "", name), first(name))
        await world.elapse(0.02)


async def ids(store: SessionStore, limit: int, owner: str | None = None) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    cursor = None
    for _ in range(100):
        page = await store.list(owner=owner, cursor=cursor, limit=limit)
        assert len(page.heads) <= limit
        found += [head.key.id for head in page.heads]
        if (cursor := page.next) is None:
            return found
    raise AssertionError("a list without end")


async def test_an_empty_store_lists_nothing(store: SessionStore) -> None:
    page = await store.list()
    assert (page.heads, page.next) == ((), None)
    assert await store.owners("any") == []
    assert [key async for key in store.scan()] == []
    assert await store.cleanup() == 0


async def test_the_newest_comes_first(world: World) -> None:
    store, other = world.open(), world.open()
    await fill(world, store, ["a", "b", "c"])
    assert [head.key.id for head in (await other.list()).heads] == ["c", "b", "a"]


async def test_a_turn_moves_its_session_to_the_front(world: World) -> None:
    store = world.open()
    await fill(world, store, ["a", "b", "c"])
    key = SessionKey("acme", "", "a")
    await store.append(key, after(await load(store, key)))
    assert [head.key.id for head in (await store.list()).heads] == ["a", "c", "b"]


async def test_a_list_has_the_heads(world: World) -> None:
    store, other = world.open(), world.open()
    await fill(world, store, ["a", "b"])
    for head in (await other.list()).heads:
        assert head == await store.head(head.key)


async def test_pages_follow_each_other_without_gap_or_repetition(world: World) -> None:
    store = world.open()
    names = [f"s{n}" for n in range(7)]
    await fill(world, store, names)
    for limit in (1, 2, 3, 7, 100):
        assert await ids(store, limit) == names[::-1]


async def test_a_list_is_limited_to_one_owner(world: World) -> None:
    store = world.open()
    for n in range(3):
        await fill(world, store, [f"a{n}"], "acme")
        await fill(world, store, [f"z{n}", "same"] if n == 0 else [f"z{n}"], "zeta")
    await fill(world, store, ["same"], "acme")
    assert await ids(store, 2, "acme") == ["same", "a2", "a1", "a0"]
    assert await ids(store, 2, "zeta") == ["z2", "z1", "same", "z0"]
    assert await ids(store, 2, "nobody") == []
    assert await ids(store, 2, "") == []


async def test_an_owners_users_are_listed_with_the_owner(world: World) -> None:
    store = world.open()
    await store.append(SessionKey("acme", "jo", "x"), first())
    await world.elapse(0.02)
    await store.append(SessionKey("acme", "al", "x"), first())
    assert [head.key.user for head in (await store.list(owner="acme")).heads] == ["al", "jo"]


async def test_a_cursor_stays_good_while_sessions_come_and_go(world: World) -> None:
    store, other = world.open(), world.open()
    names = [f"s{n}" for n in range(8)]
    await fill(world, store, names)
    page = await store.list(limit=3)
    assert [head.key.id for head in page.heads] == ["s7", "s6", "s5"]
    await fill(world, other, ["new"])
    await other.delete(SessionKey("acme", "", "s5"))
    await other.delete(SessionKey("acme", "", "s3"))
    moved = SessionKey("acme", "", "s6")
    await other.append(moved, after(await load(other, moved)))
    page = await other.list(cursor=page.next, limit=3)
    assert [head.key.id for head in page.heads] == ["s4", "s2", "s1"]
    page = await store.list(cursor=page.next, limit=3)
    assert [head.key.id for head in page.heads] == ["s0"]
    assert page.next is None


@pytest.mark.parametrize("cursor", ["", "nonsense", "!!!", "AAAA", "é", "../../etc", "0", "x" * 1000])
async def test_a_cursor_that_is_not_ours_is_refused(world: World, cursor: str) -> None:
    store = world.open()
    await fill(world, store, ["a"])
    with pytest.raises(GatewayError) as caught:
        await store.list(cursor=cursor)
    assert caught.value.kind is Kind.INVALID


async def test_every_owner_of_an_id_is_found(world: World) -> None:
    store, other = world.open(), world.open()
    keys = [SessionKey("acme", "", "x"), SessionKey("acme", "jo", "x"), SessionKey("zeta", "", "x")]
    for key in [*keys, SessionKey("acme", "", "xx"), SessionKey("x", "x", "y")]:
        await store.append(key, first())
    found = await other.owners("x")
    assert sorted(found, key=str) == sorted(keys, key=str)
    await store.delete(keys[1])
    assert sorted(await other.owners("x"), key=str) == sorted([keys[0], keys[2]], key=str)


async def test_a_scan_finds_every_session_once(world: World) -> None:
    store, other = world.open(), world.open()
    keys = {SessionKey(owner, user, f"id-{n}") for owner in "ab" for user in ("", "jo") for n in range(10)}
    for key in keys:
        await store.append(key, first())
    found = [key async for key in other.scan()]
    assert len(found) == len(keys)
    assert set(found) == keys


async def test_sessions_may_go_while_a_scan_runs(world: World) -> None:
    store, other = world.open(), world.open()
    keys = {SessionKey("acme", "", f"id-{n}") for n in range(20)}
    for key in keys:
        await store.append(key, first())
    found = []
    async for key in store.scan():
        found.append(key)
        if len(found) == 1:
            for gone in keys - {key}:
                await other.delete(gone)
    assert set(found) <= keys
    assert len(found) == len(set(found))


async def served(store: SessionStore, id: str, provider: str, user: str = "") -> None:
    append = first(id)
    reply = replace(append.turn.reply, origin=Origin(provider, f"m-{provider}"))
    await store.append(SessionKey("acme", user, id), replace(append, turn=replace(append.turn, reply=reply)))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(provider="one"), ["1", "4"]),
        (Wanted(model="m-two"), ["2", "5"]),
        (Wanted(user="jo"), ["3"]),
        (Wanted(user="jo", provider="one"), []),
        (Wanted(provider="none"), []),
    ],
)
async def test_a_list_has_what_is_wanted(store: SessionStore, wanted: Wanted, expected: list[str]) -> None:
    for id, provider in (("1", "one"), ("2", "two"), ("4", "one"), ("5", "two")):
        await served(store, id, provider)
    await served(store, "3", "three", "jo")
    page = await store.list(wanted=wanted)
    assert sorted(head.key.id for head in page.heads) == expected
    assert (page.next, page.looked) == (None, 5)
    assert all([head == await store.head(head.key) for head in page.heads])


async def test_a_pinned_provider_is_wanted_too(store: SessionStore) -> None:
    await served(store, "1", "one")
    await served(store, "2", "two")
    await store.patch(SessionKey("acme", "", "2"), Patch(pin=Pin("one", "c")))
    assert sorted(head.key.id for head in (await store.list(wanted=Wanted(provider="one"))).heads) == ["1", "2"]


async def test_pages_of_what_is_wanted_follow_each_other(store: SessionStore) -> None:
    for number in range(9):
        await served(store, str(number), "one" if number % 3 else "two")
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = await store.list(limit=2, cursor=cursor, wanted=Wanted(provider="one"))
        assert len(page.heads) <= 2
        found += [head.key.id for head in page.heads]
        cursor, pages = page.next, pages + 1
    assert sorted(found) == ["1", "2", "4", "5", "7", "8"]


async def test_a_list_can_end_in_the_past(world: World) -> None:
    store = world.open()
    await fill(world, store, ["a", "b", "c"])
    newest, middle, _ = (await store.list()).heads
    page = await store.list(wanted=Wanted(since=middle.updated))
    assert (page.heads, page.next) == ((newest, middle), None)
