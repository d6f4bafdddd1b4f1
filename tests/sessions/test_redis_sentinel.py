"""Redis behind Sentinel: the master is found, and found again when it is another, whatever fails on the way."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

import pytest
import redis
from redis.asyncio.connection import Connection
from redis.exceptions import ReadOnlyError

from gateway.config import Duration
from gateway.errors import StoreUnavailable
from gateway.sessions.breaker import Breaker
from gateway.sessions.redis.sentinel import be_master
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.redis.wire import Script
from gateway.sessions.store import Append
from tests.contract.making import KEY, after, loaded, talk, texts
from tests.servers import QUICK, Process, Trio, sentinels, wait
from tests.ticking import Ticking

T = TypeVar("T")

BUDGET = 0.5
SLACK = 0.5

Open = Callable[..., RedisStore]


@pytest.fixture(scope="module")
def all_of_them() -> Iterator[Trio]:
    with sentinels() as made:
        yield made


@pytest.fixture
def trio(all_of_them: Trio) -> Trio:
    """A master, two replicas that have all of it, three sentinels that agree, whatever the test before has done."""
    for process in (*all_of_them.data, *all_of_them.sentinels):
        if process.process.poll() is not None:
            process.start()
    for sentinel in all_of_them.sentinels:
        wait(partial(all_of_them.time, sentinel, **QUICK))
    wait(lambda: len({all_of_them.master(sentinel) for sentinel in all_of_them.sentinels}) == 1)
    for replica in all_of_them.data:
        if replica.port != all_of_them.master():  # who came back is told by Sentinel only some ten seconds later
            wait(partial(replica.ask, "REPLICAOF", "127.0.0.1", all_of_them.master()))
    wait(lambda: replicated(all_of_them))
    wait(lambda: all(all_of_them.usable(sentinel) for sentinel in all_of_them.sentinels))
    return all_of_them


def master_of(trio: Trio) -> Process:
    return next(process for process in trio.data if process.port == trio.master())


def replicated(trio: Trio) -> bool:
    """Whether both replicas have all that the master has been told before."""
    with redis.Redis(port=trio.master(), single_connection_client=True) as client:
        client.set("a write of this connection", "for its WAIT", ex=60)
        return client.wait(2, 1000) == 2


def sentinel_store(
    url: str, open_store: Open, master: str = "gw", *, timeout: float = 20, prefix: str = "", wait: int = 0
) -> RedisStore:
    patient = Breaker(time.monotonic, failures=1_000_000)
    settings = {"mode": "sentinel", "sentinel_master": master, "wait_replicas": wait}
    settings["wait_timeout"] = Duration(2 * timeout)  # what too few replicas have is never acknowledged
    return open_store(url, settings=settings, timeout=timeout, prefix=prefix, breaker=patient)


async def in_the_end(operation: Callable[[], Awaitable[T]], *, refused: list[str] | None = None) -> T:
    """What it answers as soon as it does; none of its refusals takes longer than the store may."""
    deadline = time.monotonic() + 60
    while True:
        async with Ticking() as clock:
            try:
                return await operation()
            except StoreUnavailable as exc:
                if time.monotonic() > deadline:
                    raise
                if refused is not None:
                    refused.append(exc.message)
            assert clock.seconds < BUDGET + SLACK
        await asyncio.sleep(0.02)


async def turns(store: RedisStore, count: int) -> int:
    """So many more turns, each tried until it is acknowledged; how often one was refused."""
    refused: list[str] = []
    for _ in range(count):
        session = await in_the_end(lambda: loaded(store), refused=refused)
        append: Append = after(session, str(session.head.next - 1))
        await in_the_end(lambda: store.append(KEY, append), refused=refused)  # noqa: B023 - awaited here
    return len(refused)


def numbers(count: int) -> list[str]:
    return [str(n) for n in range(count)]


# ---------------------------------------------------------------- finding the master


async def test_the_master_is_found_and_used(trio: Trio, open_store: Open) -> None:
    store = sentinel_store(trio.url, open_store)
    assert texts(await talk(store, "one", "two")) == ["one", "two"]
    await store.ping()
    await store.check()


async def test_one_sentinel_that_answers_is_enough(trio: Trio, open_store: Open) -> None:
    port = trio.sentinels[2].port
    store = sentinel_store(f"redis://127.0.0.1:1,127.0.0.1:2,127.0.0.1:{port}/0", open_store)
    assert texts(await talk(store, "one")) == ["one"]


async def test_sentinels_that_hang_cost_some_requests_their_budget(trio: Trio, open_store: Open) -> None:
    store = sentinel_store(trio.url, open_store, timeout=BUDGET)
    with trio.sentinels[0].paused(), trio.sentinels[1].paused():
        await in_the_end(store.ping)


async def test_a_master_that_sentinel_does_not_know_is_unavailable(trio: Trio, open_store: Open) -> None:
    store = sentinel_store(trio.url, open_store, master="other", timeout=0.5)
    with pytest.raises(StoreUnavailable, match="names no master") as caught:
        await store.ping()
    assert "no sentinel knows a master 'other'" in str(caught.value.__cause__)


async def test_a_replica_is_never_taken_for_the_master(trio: Trio) -> None:
    replica = next(process for process in trio.data if process.port != trio.master())
    connection = Connection(port=replica.port, redis_connect_func=be_master, protocol=2)
    with pytest.raises(ReadOnlyError):
        await connection.connect()
    connection = Connection(port=trio.master(), redis_connect_func=be_master, protocol=2)
    await connection.connect()
    await connection.disconnect()


# ---------------------------------------------------------------- while something fails


async def test_sentinels_that_come_later_than_the_gateway_are_found(trio: Trio, open_store: Open) -> None:
    for sentinel in trio.sentinels:
        sentinel.kill()
    store = sentinel_store(trio.url, open_store, timeout=BUDGET)
    for _ in range(3):
        async with Ticking() as clock:
            with pytest.raises(StoreUnavailable, match="names no master"):
                await store.ping()
            assert clock.seconds < BUDGET + SLACK
    trio.sentinels[1].start()
    await in_the_end(store.ping)


async def test_without_any_sentinel_the_last_master_serves_on(trio: Trio, open_store: Open) -> None:
    store, master = sentinel_store(trio.url, open_store), master_of(trio)
    await talk(store, "one")
    for sentinel in trio.sentinels:
        sentinel.kill()
    for number in range(3):
        master.ask("CLIENT", "KILL", "TYPE", "normal")
        assert (await store.append(KEY, after(await loaded(store)))).number == number + 2
    master.ask("REPLICAOF", "127.0.0.1", master.port)
    with pytest.raises(StoreUnavailable, match="not ready"):
        await talk(store, "two")
    master.ask("REPLICAOF", "NO", "ONE")
    assert (await store.append(KEY, after(await loaded(store)))).number == 5


async def test_a_master_that_loads_its_data_is_waited_for(trio: Trio, open_store: Open) -> None:
    store, master = sentinel_store(trio.url, open_store, timeout=BUDGET), master_of(trio)
    await talk(store, "0")
    master.ask("CONFIG", "SET", "rdbcompression", "no")
    for n in range(15):
        master.ask("SET", f"filling-{n}", "x" * 5000, "EX", 60)
    master.ask("SAVE")
    slow = ("--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024")
    master.args, plain = [*master.args, *slow], master.args
    refused: list[str] = []
    try:
        master.kill()
        master.start()
        session = await in_the_end(lambda: loaded(store), refused=refused)
    finally:
        master.args = plain
    assert texts(session) == ["0"]
    assert any("not ready" in message for message in refused)


async def test_a_failover_costs_some_requests_and_no_turn(trio: Trio, open_store: Open) -> None:
    store, master = sentinel_store(trio.url, open_store, timeout=BUDGET), master_of(trio)
    await talk(store, "0")
    wait(lambda: replicated(trio))
    master.kill()
    assert await turns(store, 19) > 0
    assert trio.master() != master.port
    assert texts(await loaded(sentinel_store(trio.url, open_store, prefix=store._prefix))) == numbers(20)


async def test_a_master_that_stood_still_and_comes_back_is_given_no_turn(trio: Trio, open_store: Open) -> None:
    store, old = sentinel_store(trio.url, open_store, timeout=BUDGET), master_of(trio)
    await talk(store, "0")
    wait(lambda: replicated(trio))
    with ExitStack() as later:
        with old.paused():
            await asyncio.to_thread(wait, lambda: trio.master() != old.port)
            new = master_of(trio)
            assert not any(new.ask("SCRIPT", "EXISTS", Script("load").sha, Script("append").sha))
            await turns(store, 5)
            for sentinel in trio.sentinels:
                later.enter_context(sentinel.paused())
        assert old.info("replication")["role"] == "master"  # nobody told it, so it takes whatever it is given
        await turns(store, 5)
        new.ask("CLIENT", "KILL", "TYPE", "normal")
        await turns(store, 4)
    await turns(store, 5)
    assert texts(await loaded(sentinel_store(trio.url, open_store, prefix=store._prefix))) == numbers(20)


async def test_a_master_that_is_the_master_no_more_is_left_before_it_knows(trio: Trio, open_store: Open) -> None:
    others_first = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in reversed(trio.sentinels))
    store, old = sentinel_store(f"redis://{others_first}/0", open_store), master_of(trio)
    await talk(store, "0")
    wait(lambda: replicated(trio))
    for sentinel in trio.sentinels:
        trio.time(sentinel, PUBLISH_PERIOD=3_600_000)  # the old master is told after four of these
    trio.ask_for_another()
    there = open_store(master_of(trio).url, prefix=store._prefix)
    for _ in range(600):
        await turns(store, 1)
        if await loaded(there) == await loaded(store):
            break
        await asyncio.sleep(0.05)
    assert await loaded(there) == await loaded(store)
    assert old.info("replication")["role"] == "master"


async def test_a_failover_that_an_operator_asks_for_loses_no_turn_that_all_replicas_have(
    trio: Trio, open_store: Open
) -> None:
    store = sentinel_store(trio.url, open_store, timeout=BUDGET, wait=2)
    await talk(store, "0")
    talking = asyncio.create_task(turns(store, 10_000))
    await asyncio.to_thread(trio.ask_for_another)
    with suppress(TimeoutError):
        await asyncio.wait_for(talking, 1)
    said = texts(await in_the_end(lambda: loaded(store)))
    assert said == numbers(int(said[-1]) + 1)[-len(said) :]  # those before went for max_turns
