"""One contract for every board: what one worker writes, all read; each step is atomic."""

import asyncio
from collections.abc import Callable

import pytest
import redis.asyncio

from gateway.config import Duration, RedisSessions
from gateway.errors import Kind, StoreUnavailable
from gateway.fleet.board import Board
from gateway.fleet.redis_board import RedisBoard
from gateway.routing.health import Failing
from gateway.sessions.redis.connect import connect
from tests import servers

PLACE = ("p", "p-1", "some/model*{x}")
BROKEN = Failing(Kind.BAD_GATEWAY, 5.0, 0.0, 60.0)
LIMITED = Failing(Kind.RATE_LIMITED, 0.0, 0.2, 300.0)

Boards = Callable[[], Board]


async def test_what_one_worker_writes_all_read(boards: Boards) -> None:
    one, other = boards(), boards()
    assert await other.read() == {}
    made = await one.fail(PLACE, BROKEN, 0)
    assert (made.kind, made.level, made.until) == (Kind.BAD_GATEWAY, 0, pytest.approx(5, abs=0.1))
    read = (await other.read())[PLACE]
    assert (read.kind, read.level, read.until) == (Kind.BAD_GATEWAY, 0, pytest.approx(5, abs=1))
    assert await one.clear(PLACE, None)
    assert await other.read() == {}


async def test_a_burst_of_failures_is_one_incident_and_a_failed_probe_a_level_higher(boards: Boards) -> None:
    workers = [boards() for _ in range(3)]
    short = Failing(Kind.BAD_GATEWAY, 0.3, 0.0, 60.0)
    burst = await asyncio.gather(*(worker.fail(PLACE, short, 5) for worker in workers for _ in range(10)))
    assert {cooling.level for cooling in burst} == {0}
    await asyncio.sleep(0.6)
    for level in (1, 2):
        made = await workers[level].fail(PLACE, Failing(Kind.BAD_GATEWAY, 0.1, 0.0, 60.0), 0)
        assert made.level == level
        await asyncio.sleep(0.5)


async def test_a_cool_down_is_capped_and_the_longer_of_two_holds(boards: Boards) -> None:
    board = boards()
    long = await board.fail(PLACE, Failing(Kind.RATE_LIMITED, 0.0, 9000.0, 300.0), 0)
    assert long.until == pytest.approx(300, abs=0.1)
    kept = await board.fail(PLACE, BROKEN, 1)
    assert (kept.kind, kept.until) == (Kind.RATE_LIMITED, pytest.approx(300, abs=1))


async def test_one_worker_at_a_time_probes(boards: Boards) -> None:
    workers = {name: boards() for name in "abcde"}
    assert await workers["a"].claim(PLACE, "a", 10) == (True, None)
    await workers["a"].fail(PLACE, LIMITED, 0)
    granted, cooling = await workers["b"].claim(PLACE, "b", 10)
    assert not granted
    assert cooling is not None
    await asyncio.sleep(0.3)
    asked = await asyncio.gather(*(worker.claim(PLACE, name, 10) for name, worker in workers.items()))
    assert [granted for granted, _ in asked].count(True) == 1
    holder = "abcde"[[granted for granted, _ in asked].index(True)]
    other = "a" if holder != "a" else "b"
    assert (await workers[holder].claim(PLACE, holder, 10))[0]
    await workers[other].release(PLACE, other)
    assert not (await workers[other].claim(PLACE, other, 10))[0]
    await workers[holder].release(PLACE, holder)
    assert (await workers[other].claim(PLACE, other, 0.2))[0]
    await asyncio.sleep(0.3)
    assert (await workers[holder].claim(PLACE, holder, 10))[0]


async def test_a_success_that_began_before_the_cool_down_says_nothing(boards: Boards) -> None:
    board = boards()
    await board.fail(PLACE, LIMITED, 0)
    assert not await board.clear(PLACE, 3)
    await asyncio.sleep(0.3)
    assert not await board.clear(PLACE, 3)
    assert PLACE in await board.read()
    assert await board.clear(PLACE, 0)
    assert await board.read() == {}


async def test_workers_hear_what_the_others_have_in_flight_until_they_are_silent(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = boards(), boards(), boards()
    assert await one.load("one", {("p", "p-1"): 3, ("q", "q-1"): 1}) == {}
    assert await two.load("two", {("p", "p-1"): 2}) == {("p", "p-1"): 3, ("q", "q-1"): 1}
    assert await three.load("three", {}) == {("p", "p-1"): 5, ("q", "q-1"): 1}
    assert await one.load("one", {}) == {("p", "p-1"): 2}
    assert await three.load("three", {}) == {("p", "p-1"): 2}
    for board in ("redis_board", "file_board"):
        monkeypatch.setattr(f"gateway.fleet.{board}.SILENCE", 0.2)
    await asyncio.sleep(0.4)
    assert await three.load("three", {}) == {}


async def test_redis_forgets_by_itself_and_no_model_name_reaches_a_key(redis_server: servers.Process) -> None:
    board = RedisBoard(connect(RedisSessions(url=redis_server.url)), prefix="own:", timeout=5)
    await board.fail(PLACE, BROKEN, 0)
    async with redis.asyncio.Redis(port=redis_server.port, decode_responses=True) as client:
        keys = [key async for key in client.scan_iter("own:*")]
        assert len(keys) == 2
        assert all(key.startswith("own:{fleet}:c") and "model" not in key for key in keys)
        left = [await client.pttl(key) for key in keys]
    assert all(500_000 < milliseconds <= 605_000 for milliseconds in left)
    await board.close()


async def test_a_redis_that_is_down_is_told_as_such() -> None:
    settings = RedisSessions(url="redis://127.0.0.1:1/0", connect_timeout=Duration(0.2))
    board = RedisBoard(connect(settings), prefix="x:", timeout=0.5)
    with pytest.raises(StoreUnavailable):
        await board.read()
    await board.close()
