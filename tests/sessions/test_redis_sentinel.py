"""Redis behind Sentinel: the master is found, and found again when it is another."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from gateway.errors import StoreUnavailable
from gateway.sessions.breaker import Breaker
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import Append
from tests.contract.making import KEY, after, loaded, talk, texts
from tests.servers import Trio, sentinels
from tests.ticking import Ticking


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    with sentinels() as made:
        yield made


def sentinel_store(
    url: str, open_store: Callable[..., RedisStore], master: str = "gw", *, timeout: float = 20, prefix: str = ""
) -> RedisStore:
    patient = Breaker(time.monotonic, failures=1_000_000)
    settings = {"mode": "sentinel", "sentinel_master": master}
    return open_store(url, settings=settings, timeout=timeout, prefix=prefix, breaker=patient)


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
    store = sentinel_store(trio.url, open_store, master="other", timeout=0.5)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await store.ping()


async def test_a_failover_costs_some_requests_and_no_turn(trio: Trio, open_store: Callable[..., RedisStore]) -> None:
    store = sentinel_store(trio.url, open_store, timeout=0.5)
    await talk(sentinel_store(trio.url, open_store, prefix=store._prefix), "0")
    master = next(process for process in trio.data if process.port == trio.master())
    master.ask("WAIT", 2, 1000)
    master.kill()
    asked = ["0"]
    failed = 0
    append: Append | None = None
    deadline = time.monotonic() + 60
    while len(asked) < 20 and time.monotonic() < deadline:
        async with Ticking() as clock:
            with suppress(StoreUnavailable):
                append = append or after(await loaded(store), str(len(asked)))  # the same one again, until it is there
                await store.append(KEY, append)
                asked.append(str(len(asked)))
                append = None
                continue
            failed += 1
            assert clock.seconds < 1
        await asyncio.sleep(0.05)
    assert failed > 0
    assert trio.master() != master.port
    assert (
        texts(await loaded(sentinel_store(trio.url, open_store, prefix=store._prefix)))
        == asked
        == [str(n) for n in range(20)]
    )
