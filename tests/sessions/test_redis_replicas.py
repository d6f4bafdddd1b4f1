"""`wait_replicas`: a turn waits until replicas have it too; what they lack is counted, and nothing else waits."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from gateway.config import ConfigError, Duration, RedisSessions, parse
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import SessionKey
from tests.contract.making import KEY, after, first, load, loaded, talk, texts
from tests.servers import Process, cluster, servers, wait

BUDGET = 20.0


class Replicated:
    """Stores that wait for one replica, and how often it lacked a write."""

    def __init__(self) -> None:
        self.short = 0
        self._opened: list[RedisStore] = []
        self._prefix = f"t-{uuid4().hex}:"

    def open(self, url: str, *, seconds: float = BUDGET / 2, mode: str = "single") -> RedisStore:
        durations = {"timeout": Duration(BUDGET), "connect_timeout": Duration(BUDGET)}
        settings = RedisSessions(
            url=url, mode=mode, wait_replicas=1, wait_timeout=Duration(seconds), connections=2, **durations
        )
        self._opened.append(RedisStore(connect(settings, self._count), prefix=self._prefix, timeout=BUDGET))
        return self._opened[-1]

    def _count(self) -> None:
        self.short += 1

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


@contextmanager
def pair() -> Iterator[tuple[Process, Process]]:
    """A master and its replica."""
    with servers() as made:
        master = made.start("--appendonly", "no")
        wait(master.ready)
        options = ("--repl-diskless-sync-delay", 0, "--appendonly", "no")
        replica = made.start(*options, "--replicaof", "127.0.0.1", master.port)
        wait(lambda: replica.info("replication").get("master_link_status") == "up")
        yield master, replica


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Process, Process]]:
    with pair() as made:
        yield made


@pytest.fixture
async def replicated() -> Iterator[Replicated]:
    made = Replicated()
    yield made
    await made.close()


async def test_an_acknowledged_turn_is_in_the_replica(
    both: tuple[Process, Process], replicated: Replicated, open_store: Callable[..., RedisStore]
) -> None:
    master, replica = both
    store = replicated.open(master.url)
    session = await talk(store, "one")
    for n in range(20):
        await store.append(KEY, after(session, str(n)))
        there = await loaded(open_store(replica.url, prefix=store._prefix))
        assert texts(there)[-1] == str(n)
        session = await loaded(store)
    assert replicated.short == 0


async def test_what_a_replica_lacks_is_stored_all_the_same_and_counted(
    both: tuple[Process, Process], replicated: Replicated
) -> None:
    master, replica = both
    store = replicated.open(master.url, seconds=0.1)
    session = await talk(store, "one")
    with replica.paused():
        replicated.short = 0
        assert (await store.append(KEY, after(session, "two"))).number == 2
        assert replicated.short == 1
    assert texts(await load(store)) == ["one", "two"]


async def test_nothing_else_waits_with_a_turn_that_waits(both: tuple[Process, Process], replicated: Replicated) -> None:
    master, replica = both
    store = replicated.open(master.url)
    session = await talk(store, "one")
    with replica.paused():
        waiting = [asyncio.create_task(store.append(KEY, after(session, str(n)))) for n in range(8)]
        for _ in range(20):
            await load(store)
            await asyncio.sleep(0.01)
        assert not [task for task in waiting if task.done()]
    assert sorted(done.number for done in await asyncio.gather(*waiting)) == list(range(2, 10))
    assert replicated.short == 0


async def test_turns_that_wait_at_once_wait_once(both: tuple[Process, Process], replicated: Replicated) -> None:
    master, replica = both
    store = replicated.open(master.url, seconds=0.5)
    many = [SessionKey("a", "", str(n)) for n in range(100)]
    await asyncio.gather(*(store.append(key, first()) for key in many[:2]))
    with replica.paused():
        await asyncio.gather(*(store.append(key, first()) for key in many))  # one at a time would take 50 s
    assert replicated.short >= 100


async def test_a_turn_that_is_sent_again_waits_again(both: tuple[Process, Process], replicated: Replicated) -> None:
    master, replica = both
    append = after(await talk(replicated.open(master.url, seconds=0.1), "one"), "two")
    with replica.paused():
        replicated.short = 0
        assert not (await replicated.open(master.url, seconds=0.1).append(KEY, append)).again
        assert (await replicated.open(master.url, seconds=0.1).append(KEY, append)).again
        assert replicated.short == 2


async def test_a_delete_waits_too(both: tuple[Process, Process], replicated: Replicated) -> None:
    master, replica = both
    store = replicated.open(master.url, seconds=0.1)
    await talk(store, "one")
    with replica.paused():
        replicated.short = 0
        assert await store.delete(KEY)
        assert replicated.short == 1


async def test_each_master_of_a_cluster_is_waited_for(replicated: Replicated) -> None:
    with cluster(3, replicas=1) as nodes:
        store = replicated.open(",".join(node.url.removesuffix("/0") for node in nodes[:1]), mode="cluster")
        for n in range(12):
            await talk(store, "one", "two", key=SessionKey("a", "", str(n)))
        assert replicated.short == 0


@pytest.mark.parametrize("setting", ["wait_replicas: -1", "wait_replicas: 1, wait_timeout: 200ms", "wait_timeout: 0s"])
def test_a_wait_that_cannot_be_is_refused_by_name(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"sessions\.redis\.wait_"):
        parse(f"sessions: {{redis: {{{setting}}}}}", {})
