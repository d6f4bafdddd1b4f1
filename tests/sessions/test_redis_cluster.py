"""Redis Cluster: slots, servers that join and leave, slots that move while they are used."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from redis.crc import key_slot

from gateway.errors import StoreUnavailable
from gateway.sessions.breaker import Breaker
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import SessionKey
from tests.contract.making import after, first, load, loaded, talk, texts
from tests.servers import Process, cluster
from tests.ticking import Ticking


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Process]]:
    with cluster() as made:
        yield made


@pytest.fixture
def store(nodes: list[Process], open_store: Callable[..., RedisStore]) -> RedisStore:
    return cluster_store(nodes[:1], open_store)


def cluster_store(
    nodes: list[Process], open_store: Callable[..., RedisStore], timeout: float = 20.0, prefix: str = ""
) -> RedisStore:
    url = "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    patient = Breaker(time.monotonic, failures=1_000_000)
    return open_store(url, settings={"mode": "cluster"}, timeout=timeout, prefix=prefix, breaker=patient)


def keys(count: int) -> list[SessionKey]:
    return [SessionKey("acme", "", f"s{n}") for n in range(count)]


async def test_sessions_are_spread_and_the_keys_of_one_share_a_slot(nodes: list[Process], store: RedisStore) -> None:
    for key in keys(60):
        await store.append(key, first())
        await store.delete(key)
        names = {f"{store._prefix}{{{key.tag}}}:{letter}" for letter in "sdlk"}
        assert {key_slot(name.encode()) for name in names} == {key_slot(key.tag.encode())}
    tombstones = [len(node.ask("KEYS", f"{store._prefix}*:d")) for node in nodes]
    assert sum(tombstones) == 60
    assert min(tombstones) > 5


async def test_any_server_of_the_cluster_will_do_to_begin_with(
    nodes: list[Process], open_store: Callable[..., RedisStore]
) -> None:
    for node in nodes:
        store = cluster_store([node], open_store)
        for key in keys(9):
            await store.append(key, first())
        await store.ping()


async def test_servers_that_are_gone_from_the_url_do_not_matter(
    nodes: list[Process], open_store: Callable[..., RedisStore]
) -> None:
    gone = Process.__new__(Process)
    gone.port = 1
    store = cluster_store([gone, nodes[1]], open_store)
    assert texts(await talk(store, "one", "two")) == ["one", "two"]


async def test_slots_may_move_while_sessions_are_used(nodes: list[Process], store: RedisStore) -> None:
    key = keys(1)[0]
    slot = key_slot(key.tag.encode())
    source = next(node for node in nodes if owns(node, slot))
    target = next(node for node in nodes if node is not source)
    ids = {node.port: node.ask("CLUSTER", "MYID") for node in nodes}
    await talk(store, "one", key=key)
    moved = asyncio.Event()

    async def chat() -> int:
        turns = 1
        while not moved.is_set() or turns < 30:
            turns += 1
            await store.append(key, after(await loaded(store, key), f"turn {turns}"))
            await asyncio.sleep(0.002)
        return turns

    async def move() -> None:
        await asyncio.sleep(0.05)
        for node, *step in (
            (target, "IMPORTING", ids[source.port]),
            (source, "MIGRATING", ids[target.port]),
        ):
            await asyncio.to_thread(node.ask, "CLUSTER", "SETSLOT", slot, *step)
        await asyncio.sleep(0.05)
        for name in await asyncio.to_thread(source.ask, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            await asyncio.to_thread(source.ask, "MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
        await asyncio.sleep(0.05)  # here the source answers ASK
        for node in (target, source, *nodes):
            await asyncio.to_thread(node.ask, "CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])
        moved.set()

    turns, _ = await asyncio.gather(chat(), move())
    assert texts(await load(store, key)) == ["one", *(f"turn {n}" for n in range(2, turns + 1))]
    assert owns(target, slot)


def owns(node: Process, slot: int) -> bool:
    for low, high, (_, port, *_), *_ in node.ask("CLUSTER", "SLOTS"):
        if low <= slot <= high:
            return port == node.port
    return False


async def test_a_server_that_dies_is_replaced_by_its_replica(open_store: Callable[..., RedisStore]) -> None:
    with cluster(3, replicas=1) as nodes:
        steady = cluster_store(nodes[:3], open_store)
        store = cluster_store(nodes[:3], open_store, timeout=0.5, prefix=steady._prefix)
        chats = {key: after(await talk(steady, "one", key=key), "two") for key in keys(12)}
        for node in nodes[:3]:
            node.ask("WAIT", 1, 1000)
        nodes[0].kill()
        failed = served = 0
        deadline = time.monotonic() + 60
        waiting = set(chats)
        while waiting and time.monotonic() < deadline:
            for key in sorted(waiting, key=str):
                async with Ticking() as clock:
                    with suppress(StoreUnavailable):
                        await store.append(key, chats[key])
                        waiting.discard(key)
                        served += 1
                        continue
                    failed += 1
                    assert clock.seconds < 1
            await asyncio.sleep(0.05)
        assert served == 12
        assert failed > 0
        for key in chats:
            assert texts(await load(steady, key)) == ["one", "two"]
