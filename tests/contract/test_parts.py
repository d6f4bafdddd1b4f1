"""Reading a session up to a turn, and writing it whole only in the place of what was read."""

from msgspec.structs import replace

from gateway.sessions.store import Responded, SessionStore
from tests.contract.making import KEY, after, load, loaded, talk, texts


async def test_a_session_is_read_up_to_a_turn(store: SessionStore) -> None:
    whole = await talk(store, *"abcdef")
    part = await loaded(store, turns=2, marks=False, below=5)
    assert texts(part) == texts(whole)[2:4]
    assert part.marks == {n: whole.marks[n] for n in (3, 4)}
    assert part.head.next == 7
    for below, numbers in ((1, []), (2, [1]), (7, [1, 2, 3, 4, 5, 6]), (9, [1, 2, 3, 4, 5, 6]), (99, [])):
        assert sorted((await loaded(store, turns=10, marks=False, below=below)).turns) == numbers


async def test_a_session_is_written_over_only_if_nothing_came_between(store: SessionStore) -> None:
    read = await talk(store, "a", "b")
    await store.append(KEY, after(read, "c"))
    assert not await store.write(KEY, read, over=read.head)
    newest = await loaded(store)
    assert len(newest.turns) == 3
    assert await store.write(KEY, newest, over=newest.head)
    assert texts(await loaded(store)) == texts(newest)


async def test_nothing_is_written_over_a_session_that_is_gone(store: SessionStore) -> None:
    read = await talk(store, "a")
    await store.delete(KEY)
    assert not await store.write(KEY, read, over=read.head)
    assert await load(store) is None


async def test_a_stored_response_is_kept_with_its_turn(store: SessionStore) -> None:
    read = await talk(store, "a")
    append = after(read, "b")
    response = Responded("0123", b'{"metadata":{"k":"v"}}', (("chain_x", 1, 7), ("my-session", 2, 3)))
    await store.append(KEY, replace(append, turn=replace(append.turn, response=response)))
    assert (await loaded(store)).turns[2].response == response
