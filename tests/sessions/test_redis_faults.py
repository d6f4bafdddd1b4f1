"""Redis down, slow, gone, demoted, or not Redis at all: always StoreUnavailable, always within the time allowed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gateway.errors import StoreUnavailable
from gateway.sessions.breaker import Breaker
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import SessionKey
from tests.contract.making import KEY, after, first, load, loaded, talk, texts
from tests.servers import Process, free_port, one
from tests.ticking import Ticking

BUDGET = 0.25
SLACK = 0.25


def patient() -> Breaker:
    """A breaker that never opens."""
    return Breaker(time.monotonic, failures=1_000_000)


def operations(store: RedisStore) -> list[Callable[[], Any]]:
    async def scan() -> None:
        async for _ in store.scan():
            pass

    return [
        lambda: load(store),
        lambda: store.append(KEY, first()),
        lambda: store.flag(KEY, 1, "t", unconfirmed=True),
        lambda: store.turns(KEY, first=1, count=5),
        lambda: store.head(KEY),
        lambda: store.delete(KEY),
        lambda: store.owners("x"),
        store.list,
        store.ping,
        store.check,
        scan,
    ]


async def refused(operation: Callable[[], Any], within: float = BUDGET + SLACK) -> StoreUnavailable:
    async with Ticking() as clock:
        with pytest.raises(StoreUnavailable) as caught:
            await operation()
        assert clock.seconds < within
    assert caught.value.message.endswith(".")
    return caught.value


async def eventually(operation: Callable[[], Any]) -> Any:
    """What it answers as soon as the store answers: a busy machine may need more than the budget."""
    for _ in range(300):
        with suppress(StoreUnavailable):
            return await operation()
        await asyncio.sleep(0.05)
    return await operation()


async def test_a_redis_that_is_not_there_is_unavailable(open_store) -> None:
    store = open_store(f"redis://127.0.0.1:{free_port()}/0", timeout=BUDGET, breaker=patient())
    for operation in operations(store):
        assert "cannot be reached" in (await refused(operation)).message


async def test_a_redis_that_hangs_is_unavailable_in_time(open_store) -> None:
    with one() as server:
        store = open_store(server.url, timeout=BUDGET, breaker=patient())
        await eventually(lambda: load(store))
        with server.paused():
            for operation in operations(store):
                assert "in time" in (await refused(operation)).message


async def test_a_redis_that_hangs_costs_a_crowd_once(open_store) -> None:
    with one() as server:
        store = open_store(server.url, timeout=BUDGET, breaker=Breaker(time.monotonic, pause=60))
        await eventually(lambda: load(store))
        with server.paused():
            async with Ticking() as clock:
                crowd = await asyncio.gather(*(load(store) for _ in range(100)), return_exceptions=True)
                assert clock.seconds < BUDGET + SLACK
                assert all(isinstance(answer, StoreUnavailable) for answer in crowd)
                assert store.breaker.state == "open"
                for _ in range(100):
                    await refused(lambda: load(store), within=0.1)
                assert clock.seconds < 2 * (BUDGET + SLACK)


async def test_a_redis_that_recovers_is_used_again(open_store) -> None:
    with one() as server:
        await talk(open_store(server.url, prefix="t:"), "one")
        breaker = Breaker(time.monotonic, failures=2, pause=0.5)
        store = open_store(server.url, prefix="t:", timeout=BUDGET, breaker=breaker)
        await eventually(lambda: load(store))
        with server.paused():
            for _ in range(2):
                await refused(lambda: load(store))
            assert breaker.state != "closed"
        assert texts(await eventually(lambda: load(store))) == ["one"]
        assert breaker.state == "closed"


async def test_an_append_that_redis_ran_after_we_gave_up_is_stored_once(open_store) -> None:
    with one() as server:
        steady = open_store(server.url, prefix="t:")
        store = open_store(server.url, prefix="t:", timeout=BUDGET, breaker=patient())
        append = after(await talk(steady, "one"), "two")
        await eventually(lambda: load(store))
        with server.paused():
            await refused(lambda: store.append(KEY, append))
        for _ in range(600):
            if (await loaded(steady)).head.next == 3:
                break
            await asyncio.sleep(0.05)
        assert (await steady.append(KEY, append)).again
        assert texts(await load(steady)) == ["one", "two"]


async def test_a_killed_redis_is_unavailable_and_used_again_when_it_is_back(open_store) -> None:
    with one() as server:
        store = open_store(server.url, timeout=BUDGET, breaker=patient())
        await eventually(lambda: load(store))
        server.kill()
        for operation in operations(store):
            await refused(operation)
        server.restart()
        assert await eventually(lambda: load(store)) is None
        await eventually(lambda: store.append(KEY, first()))


async def test_a_restart_between_two_requests_is_not_noticed(open_store) -> None:
    with one("--appendonly", "yes", "--appendfsync", "always") as server:
        store = open_store(server.url, breaker=patient())
        await asyncio.gather(*(store.append(SessionKey("a", "", str(n)), first()) for n in range(50)))
        await store.append(KEY, first("one"))
        server.restart()
        assert texts(await load(store)) == ["one"]


async def test_connections_that_were_cut_are_replaced_without_a_failure(
    redis_server: Process, open_store: Callable[..., RedisStore]
) -> None:
    store = open_store(redis_server.url)
    for _ in range(5):
        await asyncio.gather(*(talk(store, "one", key=SessionKey("a", "", str(n))) for n in range(20)))
        redis_server.ask("CLIENT", "KILL", "TYPE", "normal")
    session = await loaded(store, SessionKey("a", "", "7"))
    assert texts(session) == ["one"] * 5


async def test_when_nothing_was_heard_on_one_connection_no_older_one_is_used_again(open_store) -> None:
    with one() as server:
        store = open_store(server.url, timeout=1.0, settings={"connections": 3}, breaker=patient())

        def connected() -> set[str]:
            return {line.split()[0] for line in server.ask("CLIENT", "LIST").splitlines() if "cmd=eval" in line}

        async def crowd() -> None:
            """Commands that come at once, so that one connection does not do."""
            await asyncio.gather(*(load(store, SessionKey("a", "", str(n))) for n in range(200)))

        for _ in range(100):
            await crowd()
            if len(before := connected()) > 1:
                break
        with server.paused():
            await refused(lambda: load(store), within=20)
        assert len(before) > 1
        for _ in range(100):
            await crowd()
            if not before & connected():
                break
        assert connected()
        assert not before & connected()


async def test_connections_that_are_cut_in_mid_flight_lose_and_double_nothing(
    redis_server: Process, open_store: Callable[..., RedisStore]
) -> None:
    store = open_store(redis_server.url, breaker=patient())
    generation = (await store.append(KEY, first("0"))).generation
    appended: list[int] = []

    async def append(n: int) -> None:
        turn = first(str(n), generation=generation)
        while True:
            try:
                appended.append((await store.append(KEY, turn)).number)
            except StoreUnavailable:
                continue
            return

    async def cut() -> None:
        while True:
            await asyncio.to_thread(redis_server.ask, "CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.001)

    cutting = asyncio.create_task(cut())
    await asyncio.gather(*(append(n) for n in range(1, 201)))
    cutting.cancel()
    await asyncio.gather(cutting, return_exceptions=True)
    assert sorted(appended) == list(range(2, 202))
    session = await eventually(lambda: load(store))  # the last cut may still be under way
    assert sorted(map(int, texts(session))) == list(range(201))


async def test_a_caller_that_gives_up_disturbs_nobody(
    redis_server: Process, open_store: Callable[..., RedisStore]
) -> None:
    store = open_store(redis_server.url, settings={"connections": 1})
    await talk(store, "one")
    clients = redis_server.info("stats")["total_connections_received"]
    for n in range(50):
        gone = [asyncio.create_task(load(store)) for _ in range(5)]
        stays = asyncio.create_task(loaded(store))
        await asyncio.sleep(0.0002 * (n % 5))
        for task in gone:
            task.cancel()
        assert texts(await stays) == ["one"]
        await asyncio.gather(*gone, return_exceptions=True)
    assert redis_server.info("stats")["total_connections_received"] - clients <= 2
    assert store.breaker.state == "closed"


async def test_a_master_that_became_a_replica_is_left_and_found_again(open_store) -> None:
    with one() as server:
        store = open_store(server.url, breaker=patient())
        session = await talk(store, "one")
        server.ask("REPLICAOF", "127.0.0.1", free_port())
        assert "not ready" in (await refused(lambda: store.append(KEY, after(session)), within=6)).message
        server.ask("REPLICAOF", "NO", "ONE")
        assert (await store.append(KEY, after(session))).number == 2


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [("maxmemory", "1", "is full"), ("min-replicas-to-write", "1", "takes no writes now")],
)
async def test_a_redis_that_takes_no_writes_is_still_read(open_store, setting: str, value: str, message: str) -> None:
    with one() as server:
        breaker = Breaker(time.monotonic, pause=60)
        store = open_store(server.url, breaker=breaker)
        session = await talk(store, "one")
        server.ask("CONFIG", "SET", setting, value)
        for _ in range(20):
            assert message in (await refused(lambda: store.append(KEY, after(session)), within=6)).message
        assert breaker.state == "closed"
        assert texts(await load(store)) == texts(await load(store, keep=1e7)) == ["one"]
        server.ask("CONFIG", "SET", setting, "0")
        assert (await store.append(KEY, after(session))).number == 2


async def test_a_wrong_password_is_said_without_naming_it(
    redis_server: Process, open_store: Callable[..., RedisStore], caplog: pytest.LogCaptureFixture
) -> None:
    with one("--requirepass", "right") as server:
        for url in (server.url, server.url.replace("//", "//:wr0ng@")):
            store = open_store(url)
            failures = [await refused(lambda: load(store), within=6) for _ in range(6)]  # noqa: B023
            assert "credentials" in failures[0].message
            assert "wr0ng" not in caplog.text
        assert await load(open_store(server.url.replace("//", "//:right@"))) is None
    assert "is left alone for a while" in caplog.text


async def test_a_closed_store_is_unavailable(redis_server: Process, open_store: Callable[..., RedisStore]) -> None:
    store = open_store(redis_server.url)
    await store.append(KEY, first())
    await store.close()
    await refused(lambda: load(store))


# ---------------------------------------------------------------- servers that are not quite Redis


@asynccontextmanager
async def answering(reply: bytes | None) -> AsyncIterator[str]:
    """A server that gives one answer to everything, or none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if reply is not None:
                    writer.write(reply * max(1, data.count(b"\r\n$7\r\nEVALSHA") + data.count(b"CLIENT")))
                    await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None


@pytest.mark.parametrize("mode", ["single", "cluster", "sentinel"])
@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
        b"-BUSY Redis is busy running a script\r\n",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"-ASK 1 127.0.0.1:1\r\n",
        b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        b"-NOPERM this user has no permissions\r\n",
        b"-NOSCRIPT No matching script\r\n",
        b"-ERR unknown\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*-1\r\n" * 3,
        b"+OK\r\n",
        b"$5\r\nab",
    ],
    ids=lambda reply: (reply or b"silence")[:9].decode().strip(),
)
async def test_any_wrong_answer_is_an_unavailable_store(open_store, reply: bytes | None, mode: str) -> None:
    async with answering(reply) as url:
        store = open_store(url, timeout=BUDGET, breaker=patient(), settings={"mode": mode})
        for operation in (lambda: load(store), lambda: store.append(KEY, first()), store.ping):
            async with Ticking() as clock:
                done, _ = await asyncio.wait([asyncio.ensure_future(operation())], timeout=60)
                assert clock.seconds < BUDGET + SLACK
            failure = done.pop().exception()
            if failure is None:  # a nil is no session, and anything but an error answers a ping
                assert operation == store.ping or (reply or b"").startswith(b"*-1")
            else:
                assert type(failure) is StoreUnavailable
