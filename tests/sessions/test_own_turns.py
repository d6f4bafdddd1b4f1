"""What a worker stored itself it need not read: it goes on from there, as long as nothing else came between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import redis
from msgspec import Raw

from gateway.config import Encryption, EncryptionKey
from gateway.conversation import Usage
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.sealed import SealedStore
from gateway.sessions.sealing import Seal
from gateway.sessions.seen import Seen
from gateway.sessions.store import Append, Patch, Pin, SessionStore
from tests.contract.making import KEY, LIMITS, after, first, loaded, said, talk, texts
from tests.servers import Process
from tests.sessions.test_redis_store import session_key

TURN: dict[str, Any] = {"turns": 1000, "marks": False, "keep": 60.0}
"""What a turn loads that sends only what is new."""

PLAIN = Seal(Encryption(), compress=False)
SEALED = Seal(Encryption(keys=(EncryptionKey(id="k", key="11" * 32),)), compress=True)


def worker(store: RedisStore, seal: Seal = PLAIN) -> SealedStore:
    return SealedStore(store, seal, Seen(1 << 20))


async def said_in_turn(store: SessionStore, append: Append) -> None:
    """A turn as the gateway makes it: loaded, then stored."""
    await loaded(store, **TURN)
    await store.append(KEY, append)


async def next_turn(store: SealedStore, text: str, **fields: Any) -> None:
    await store.append(KEY, after(await loaded(store, **TURN), text, **fields))


@contextmanager
def answers(store: RedisStore) -> Iterator[list[Any]]:
    """What Redis answers meanwhile."""
    given: list[Any] = []
    run = store._link.run

    async def listening(*args: Any, **named: Any) -> Any:
        given.append(await run(*args, **named))
        return given[-1]

    store._link.run = listening  # type: ignore[method-assign]
    try:
        yield given
    finally:
        store._link.run = run  # type: ignore[method-assign]


async def is_as_stored(remembering: SealedStore, store: RedisStore, seal: Seal = PLAIN) -> list[Any]:
    """That the worker loads what one does that remembers nothing; what Redis answered it."""
    with answers(store) as given:
        session = await loaded(remembering, **TURN)
    fresh = await loaded(SealedStore(store, seal, Seen(0)), **TURN)
    assert session == fresh
    return given


@asynccontextmanager
async def failed_over(server: Process, name: str) -> AsyncIterator[None]:
    """What happens within is lost: a replica becomes the master that has not heard of it."""
    with redis.Redis(port=server.port) as client:
        replica = client.dump(name)
        yield
        client.restore(name, 600_000, replica, replace=True)
    await asyncio.sleep(0.002)  # no failover is over within the millisecond by which turns are stored


# ---------------------------------------------------------------- it goes on


@pytest.mark.parametrize("seal", [PLAIN, SEALED], ids=["plain", "sealed"])
async def test_after_its_own_turns_a_worker_reads_one_number(store: RedisStore, seal: Seal) -> None:
    one = worker(store, seal)
    await one.append(KEY, first("a", pin=Pin("main", "1"), system=said("be brief"), tools=said("[]")))
    changes: list[dict[str, Any]] = [
        {"pin": Pin("claude", "2"), "pin_was": Pin("main", "1")},
        {"pin": Pin("main", "1"), "pin_was": Pin("other", "1")},
        {"drop_pin": True, "pin_was": Pin("claude", "2")},
        {"system": said("be long"), "preamble": said("user: hi"), "calls": (("call_1", "look"),)},
        {"preamble": said(), "results": ("call_1",), "fresh": False},
        {"cost": None, "usage": None},
        {"cost": 0.1, "messages": 2, "usage": Usage(7, 6, 5, 4, 3)},
        {"cost": 0.2, "resends": True, "cut": 3, "incomplete": True},
        {"limits": LIMITS},
    ]
    await loaded(one, **TURN)
    for number, change in enumerate(changes):
        await next_turn(one, f"turn {number}", **change)
        (expires,) = await is_as_stored(one, store, seal)
        assert isinstance(expires, int)
    assert texts(await loaded(one, **TURN)) == ["a", *(f"turn {number}" for number in range(len(changes)))]


async def test_a_window_moves_on_over_its_own_turns(store: RedisStore) -> None:
    one = worker(store)
    await talk(store, *"abcdef")
    for text in "ghijklm":
        await one.append(KEY, after(await loaded(one, **{**TURN, "turns": 3}), text))
        few = {**TURN, "turns": 3}
        assert await loaded(one, **few) == await loaded(store, **few)
    assert texts(await loaded(one, **{**TURN, "turns": 3})) == ["k", "l", "m"]


async def test_its_life_goes_on_too(store: RedisStore) -> None:
    one = worker(store)
    limits = LIMITS.__class__(ttl=30.0, max_age=1e7, max_turns=1000, max_bytes=8 << 20)
    await one.append(KEY, first("a", limits=limits))
    await loaded(one, **TURN)
    await next_turn(one, "b", limits=limits)
    session = await loaded(one, **TURN)
    assert session.head.expires - session.head.updated > 59_000
    assert session == await loaded(store, **{**TURN, "keep": 0.0})


async def test_two_turns_at_once_are_both_there(store: RedisStore) -> None:
    one = worker(store)
    await one.append(KEY, first("a"))
    begun = await asyncio.gather(*(loaded(one, **TURN) for _ in range(5)))
    await asyncio.gather(*(one.append(KEY, after(session, f"b{n}")) for n, session in enumerate(begun)))
    (expires,) = await is_as_stored(one, store)
    assert isinstance(expires, int)
    assert len((await loaded(one, **TURN)).turns) == 6


# ---------------------------------------------------------------- what comes between


async def test_another_workers_turn_is_read(store: RedisStore) -> None:
    one, other = worker(store), worker(store)
    await one.append(KEY, first("a"))
    for number in range(4):
        await next_turn(one, f"b{number}")
        await next_turn(other, f"c{number}")
        await is_as_stored(one, store)
        await is_as_stored(other, store)
    session = await loaded(one, **TURN)
    await other.append(KEY, after(session, "d"))
    await one.append(KEY, after(session, "e"))
    assert isinstance((await is_as_stored(one, store))[0], list)
    assert texts(await loaded(one, **TURN))[-2:] == ["d", "e"]


@pytest.mark.parametrize(
    "patch", [Patch(pin=Pin("other", "9")), Patch(pin=None), Patch(context=Raw(b'{"a":1}')), Patch(drop_last=1),
              Patch(keep=900.0)]
)  # fmt: skip
async def test_what_an_operator_changes_is_read(store: RedisStore, patch: Patch) -> None:
    one = worker(store)
    await talk(store, "a", "b", pin=Pin("main", "1"))
    await loaded(one, **TURN)
    await store.patch(KEY, patch)
    assert isinstance((await is_as_stored(one, store))[0], list)
    await next_turn(one, "c")
    await is_as_stored(one, store)


async def test_what_an_operator_changes_while_a_turn_runs_is_read(store: RedisStore) -> None:
    one = worker(store)
    await talk(store, "a")
    session = await loaded(one, **TURN)
    await store.patch(KEY, Patch(context=Raw(b'{"a":1}'), pin=Pin("other", "9")))
    await one.append(KEY, after(session, "b"))
    assert isinstance((await is_as_stored(one, store))[0], list)


async def test_a_flag_is_read(store: RedisStore) -> None:
    one, append = worker(store), first("a")
    done = await one.append(KEY, append)
    await loaded(one, **TURN)
    await one.flag(KEY, done.number, append.token, unconfirmed=True)
    await is_as_stored(one, store)
    assert (await loaded(one, **TURN)).marks[1].unconfirmed


async def test_turns_that_are_replaced_or_trimmed_are_gone(store: RedisStore) -> None:
    one = worker(store)
    await talk(store, *"abcd")
    await next_turn(one, "x", replace_from=3)
    await is_as_stored(one, store)
    few = LIMITS.__class__(ttl=1e6, max_age=1e7, max_turns=3, max_bytes=8 << 20)
    for text in "efgh":
        await next_turn(one, text, limits=few)
        await is_as_stored(one, store)
    assert texts(await loaded(one, **TURN)) == ["f", "g", "h"]


async def test_a_turn_that_had_been_stored_before_is_stored_once(store: RedisStore) -> None:
    one, append = worker(store), first("b")
    await one.append(KEY, first("a"))
    await said_in_turn(one, append)
    await said_in_turn(one, append)
    await is_as_stored(one, store)
    assert texts(await loaded(one, **TURN)) == ["a", "b"]


# ---------------------------------------------------------------- other states under the same number


async def test_a_failover_under_a_turn_is_noticed(redis_server: Process, store: RedisStore) -> None:
    one = worker(store)
    await talk(store, "a")
    async with failed_over(redis_server, session_key(store)):
        await one.append(KEY, after(await loaded(one, **TURN), "lost"))
        session = await loaded(one, **TURN)
    await store.append(KEY, first("kept"))
    await one.append(KEY, after(session, "b"))
    assert isinstance((await is_as_stored(one, store))[0], list)
    assert texts(await loaded(one, **TURN)) == ["a", "kept", "b"]


async def test_a_change_that_a_failover_lost_is_not_taken_for_the_one_after_it(
    redis_server: Process, store: RedisStore
) -> None:
    """The revision is the same, and so is the last turn."""
    one = worker(store)
    await talk(store, "a")
    async with failed_over(redis_server, session_key(store)):
        await store.patch(KEY, Patch(pin=Pin("lost", "1")))
        await loaded(one, **TURN)
    await store.patch(KEY, Patch(pin=Pin("kept", "1")))
    await is_as_stored(one, store)
    assert (await loaded(one, **TURN)).head.pin == Pin("kept", "1")


async def test_a_flag_that_a_failover_lost_is_not_taken_for_the_one_after_it(
    redis_server: Process, store: RedisStore
) -> None:
    one, appends = worker(store), [first("a"), first("b")]
    for append in appends:
        await store.append(KEY, append)
    async with failed_over(redis_server, session_key(store)):
        await store.flag(KEY, 1, appends[0].token, unconfirmed=True)
        await loaded(one, **TURN)
    await store.flag(KEY, 2, appends[1].token, unconfirmed=True)
    await is_as_stored(one, store)
    marks = (await loaded(one, **TURN)).marks
    assert (marks[1].unconfirmed, marks[2].unconfirmed) == (False, True)


@asynccontextmanager
async def older_gateway(server: Process, store: RedisStore) -> AsyncIterator[None]:
    """What happens within is done by one that stands beside this one during an upgrade: it leaves `tip` as it was."""
    with redis.Redis(port=server.port) as client:
        tip = client.hget(session_key(store), "tip")
        yield
        client.hset(session_key(store), "tip", tip)


async def test_what_a_gateway_stores_that_knows_no_tip_is_read(redis_server: Process, store: RedisStore) -> None:
    one = worker(store)
    await one.append(KEY, first("a"))
    for number in range(3):
        await next_turn(one, f"b{number}")
        await loaded(one, **TURN)
        async with older_gateway(redis_server, store):
            await store.append(KEY, first(f"c{number}"))
        assert isinstance((await is_as_stored(one, store))[0], list)
    assert texts(await loaded(one, **TURN)) == ["a", "b0", "c0", "b1", "c1", "b2", "c2"]


async def test_what_it_does_while_a_turn_runs_is_read(redis_server: Process, store: RedisStore) -> None:
    one = worker(store)
    await one.append(KEY, first("a"))
    session = await loaded(one, **TURN)
    async with older_gateway(redis_server, store):
        await store.append(KEY, first("b"))
    await one.append(KEY, after(session, "c"))
    await is_as_stored(one, store)
    async with older_gateway(redis_server, store):
        await store.patch(KEY, Patch(context=Raw(b'{"a":1}')))
    await one.append(KEY, after(session, "d"))
    await is_as_stored(one, store)
    assert texts(await loaded(one, **TURN)) == ["a", "b", "c", "d"]


async def test_a_session_without_a_tip_gets_one_with_its_next_turn(redis_server: Process, store: RedisStore) -> None:
    """It was stored by an older version."""
    one = worker(store)
    await talk(store, "a", "b")
    with redis.Redis(port=redis_server.port) as client:
        client.hdel(session_key(store), "tip")
    await loaded(one, **TURN)
    assert isinstance((await is_as_stored(one, store))[0], list)
    await next_turn(one, "c")
    await loaded(one, **TURN)
    assert isinstance((await is_as_stored(one, store))[0], int)
