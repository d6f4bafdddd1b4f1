"""Redis behind Sentinel: the master is found, and found again when it is another."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from gateway.errors import StoreUnavailable
from gateway.sessions.breaker import Breaker
from gateway.sessions.redis import RedisStore
from tests.contract.making import KEY, after, loaded, talk, texts
from tests.servers import Trio, sentinels


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    with sentinels() as made:
        yield made


def sentinel_store(url: str, open_store: Callable[..., RedisStore], master: str = "gw") -> RedisStore:
    patient = Breaker(time.monotonic, failures=1_000_000)
    settings = {"mode": "sentinel", "sentinel_master": master}
    return open_store(url, settings=settings, timeout=0.5, breaker=patient)


async def test_the_master_is_found_and_used(trio: Trio, open_store: Callable[..., RedisStore]) -> None:
    store = sentinel_store(trio.url, open_store)
    assert texts(await talk(store, "one", "two")) == ["one", "two"]
    await store.ping()
    await store.check()


async def test_one_sentinel_that_answers_is_enough(trio: Trio, open_store: Callable[..., RedisStore]) -> None:
    port = trio.sentinels[2].port
    store = sentinel_store(f"redis://127.0.0.1:1,127.0.0.1:2,127.0.0.1:{port}/0", open_store)
    assert texts(await talk(store, "one")) == ["one"]


async def test_a_master_that_sentinel_does_not_know_is_unavailable(
    trio: Trio, open_store: Callable[..., RedisStore]
) -> None:
    store = sentinel_store(trio.url, open_store, master="other")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await store.ping()


async def test_a_failover_costs_some_requests_and_no_turn(trio: Trio, open_store: Callable[..., RedisStore]) -> None:
    store = sentinel_store(trio.url, open_store)
    await talk(store, "0")
    master = next(process for process in trio.data if process.port == trio.master())
    master.ask("WAIT", 2, 1000)
    master.kill()
    acknowledged = ["0"]
    failed = 0
    deadline = time.monotonic() + 20
    while len(acknowledged) < 20 and time.monotonic() < deadline:
        text = str(len(acknowledged))
        started = time.monotonic()
        with suppress(StoreUnavailable):
            await store.append(KEY, after(await loaded(store), text))
            acknowledged.append(text)
            continue
        failed += 1
        assert time.monotonic() - started < 2
        await asyncio.sleep(0.05)
    assert failed > 0
    assert trio.master() != master.port
    assert texts(await loaded(store)) == acknowledged == [str(n) for n in range(20)]
