"""What a client key may use: counted over the fleet in Redis, by each worker without it; told as the vendors do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from time import monotonic, time
from uuid import uuid4

import pytest

from gateway.config import Duration, KeyLimits, RedisSessions
from gateway.fleet.limits import Limits
from gateway.fleet.redis_tally import RedisTally
from gateway.sessions.redis.connect import connect
from tests import servers
from tests.harness import Harness
from tests.scripted import Say

Make = Callable[[], Limits]


@pytest.fixture(params=["redis", "own", "down"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes Limits; those of Redis share."""
    opened: list[Limits] = []
    prefix = f"t-{uuid4().hex}:"

    def new() -> Limits:
        url = {"own": "", "down": "redis://127.0.0.1:1/0"}.get(request.param)
        url = request.getfixturevalue("redis_server").url if url is None else url
        link = connect(RedisSessions(url=url, connect_timeout=Duration(5))) if url else None
        opened.append(Limits(link and RedisTally(link, prefix=prefix, timeout=5), monotonic))
        return opened[-1]

    yield new
    for limits in opened:
        await limits.close()


def of_fleet(server: servers.Process, prefix: str, wall: Callable[[], float] = time) -> Limits:
    """One worker's limits, which those of the same prefix share."""
    link = connect(RedisSessions(url=server.url, connect_timeout=Duration(5)))
    return Limits(RedisTally(link, prefix=prefix, timeout=5), monotonic, wall=wall)


async def settled(limits: Limits) -> None:
    while limits._tasks:
        await asyncio.wait(limits._tasks)


async def test_a_key_without_limits_costs_nothing(make: Make) -> None:
    assert await make().admit("k", KeyLimits(), "r") is None


async def test_requests_a_minute(make: Make) -> None:
    limits, of_key = make(), KeyLimits(requests_per_minute=3)
    taken = [(await limits.admit("k", of_key, f"r{n}")).taken for n in range(5)]
    assert [t.refused for t in taken] == [0, 0, 0, 1, 1]
    assert [t.requests for t in taken] == [2, 1, 0, 0, 0]
    assert 10 < taken[-1].wait <= 20
    assert (await limits.admit("other", of_key, "r")).taken.refused == 0


async def test_a_bucket_fills_evenly(make: Make) -> None:
    limits, of_key = make(), KeyLimits(requests_per_minute=300)
    for n in range(300):
        ticket = await limits.admit("k", of_key, f"r{n}")
    refused = 0
    while not ticket.taken.refused and refused < 100:
        refused += 1
        ticket = await limits.admit("k", of_key, f"more{refused}")
    assert 0 < ticket.taken.wait <= 0.2
    await asyncio.sleep(0.3)
    assert (await limits.admit("k", of_key, "later")).taken.refused == 0


async def test_tokens_are_taken_when_they_are_known_and_owed_if_there_were_more(make: Make) -> None:
    limits, of_key = make(), KeyLimits(tokens_per_minute=600)
    first, second = await limits.admit("k", of_key, "1"), await limits.admit("k", of_key, "2")
    assert (first.taken.tokens, second.taken.tokens) == (600, 600)
    limits.done(first, 300)
    limits.done(second, 1200)
    await settled(limits)
    third = (await limits.admit("k", of_key, "3")).taken
    assert third.refused == 2
    assert third.tokens == pytest.approx(-900, abs=60)
    assert third.wait == pytest.approx(90, abs=6)


async def test_requests_at_once_and_the_end_of_one_lets_another_in(make: Make) -> None:
    limits, of_key = make(), KeyLimits(concurrency=2)
    tickets = [await limits.admit("k", of_key, f"r{n}") for n in range(3)]
    assert [ticket.taken.refused for ticket in tickets] == [0, 0, 3]
    limits.done(tickets[2], 0)
    assert (await limits.admit("k", of_key, "still")).taken.refused == 3
    limits.done(tickets[0], 0)
    await settled(limits)
    assert (await limits.admit("k", of_key, "next")).taken.refused == 0


async def test_two_workers_count_as_one(redis_server: servers.Process) -> None:
    prefix, of_key = f"t-{uuid4().hex}:", KeyLimits(requests_per_minute=10, concurrency=8)
    workers = [of_fleet(redis_server, prefix) for _ in "ab"]
    tickets = await asyncio.gather(*(workers[n % 2].admit("k", of_key, f"r{n}") for n in range(20)))
    assert sum(ticket.taken.refused == 0 for ticket in tickets) == 8
    for n, ticket in enumerate(tickets):
        workers[n % 2].done(ticket, 0)
    for worker in workers:
        await settled(worker)
    tickets = await asyncio.gather(*(workers[n % 2].admit("k", of_key, f"s{n}") for n in range(10)))
    assert sum(ticket.taken.refused == 0 for ticket in tickets) == 2
    for worker in workers:
        await worker.close()


async def test_a_request_whose_worker_died_is_given_up(redis_server: servers.Process, monkeypatch) -> None:
    monkeypatch.setattr("gateway.fleet.redis_tally.LEASE", 0.3)
    prefix, of_key = f"t-{uuid4().hex}:", KeyLimits(concurrency=1)
    limits = of_fleet(redis_server, prefix)
    assert (await limits.admit("k", of_key, "dies")).taken.refused == 0
    assert (await limits.admit("k", of_key, "too many")).taken.refused == 3
    await asyncio.sleep(0.5)
    assert (await limits.admit("k", of_key, "next")).taken.refused == 0
    await limits.close()


CONFIG = """
auth:
  keys: [{id: team, key: a-key, limits: {requests_per_minute: 2, tokens_per_minute: 1000}}, {id: free, key: b-key}]
providers:
  chat: {kind: openai, base_url: "http://chat/v1", keys: [k]}
  claude: {kind: anthropic, base_url: "http://claude", keys: [{key: k, concurrency: 1}]}
models:
  gpt: {targets: [{provider: chat, model: up}]}
  opus: {targets: [{provider: claude, model: up}]}
"""

Start = Callable[..., AbstractAsyncContextManager[Harness]]


async def test_a_client_is_told_what_is_left_and_when_to_come_back(start: Start) -> None:
    async with start(config=CONFIG) as gw:
        first = await gw.chat("one", authorization="Bearer a-key")
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-reset-requests"] == "30s"
        assert first.headers["x-ratelimit-remaining-tokens"] == "1000"
        second = await gw.message("two", x_api_key="a-key")
        assert second.headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert int(second.headers["anthropic-ratelimit-tokens-remaining"]) == pytest.approx(985, abs=10)
        assert second.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
        third = await gw.message("three", x_api_key="a-key")
        assert third.status_code == 429
        assert 1 <= int(third.headers["retry-after"]) <= 30
        assert third.headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert third.json()["error"]["type"] == "rate_limit_error"
        free = await gw.chat("four", authorization="Bearer b-key")
        assert free.status_code == 200
        assert not any("ratelimit" in name for name in free.headers)


async def test_a_credential_takes_no_more_requests_at_once_than_it_may(start: Start) -> None:
    async with start(config=CONFIG, claude=lambda _: Say("slow", wait=0.5)) as gw:
        answers = await asyncio.gather(*(gw.message(f"{n}", x_api_key="b-key") for n in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 503, 503]
        busy = next(answer for answer in answers if answer.status_code == 503)
        assert busy.headers["retry-after"] == "1"
        assert (await gw.message("again", x_api_key="b-key")).status_code == 200


async def test_a_worker_takes_no_more_requests_at_once_than_its_ceiling(start: Start) -> None:
    config = "server: {max_concurrency: 2}\n" + CONFIG
    async with start(config=config, chat=lambda _: Say("slow", wait=0.5)) as gw:
        headers = {"authorization": "Bearer b-key"}
        answers = await asyncio.gather(*(gw.chat(f"{n}", **headers) for n in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.headers["retry-after"] == "1"
        assert (await gw.chat("again", **headers)).status_code == 200
