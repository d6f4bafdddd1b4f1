"""What a client key may spend: added up over the fleet in Redis, over the machine in a file, of what was counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from gateway.config import Duration, KeyLimits, RedisSessions
from gateway.conversation import Usage
from gateway.fleet.budget import periods
from gateway.fleet.file_spending import FileSpending
from gateway.fleet.limits import Limits, refusal
from gateway.fleet.redis_tally import RedisTally
from gateway.routing.prices import estimated
from gateway.sessions.redis.connect import connect
from tests import servers
from tests.harness import Harness
from tests.scripted import Say

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
BUDGET = KeyLimits(dollars_per_day=1, dollars_per_month=2)


class Wall:
    """A calendar that a test turns."""

    now = NOON

    def __call__(self) -> float:
        return self.now


Make = Callable[[], Limits]


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture(params=["redis", "file", "own"])
async def make(request: pytest.FixtureRequest, tmp_path: Path, wall: Wall) -> AsyncIterator[Make]:
    """Makes workers' Limits; those of Redis and of a file share."""
    opened: list[Limits] = []
    prefix = f"t-{uuid4().hex}:"

    def new() -> Limits:
        if request.param == "redis":
            opened.append(in_redis(request.getfixturevalue("redis_server").url, prefix, wall))
        else:
            spending = FileSpending(tmp_path / "s") if request.param == "file" else None
            opened.append(Limits(None, monotonic, wall=wall, spending=spending))
        return opened[-1]

    yield new
    for limits in opened:
        await limits.close()


def in_redis(url: str, prefix: str, wall: Wall, timeout: float = 5) -> Limits:
    settings = RedisSessions(url=url, connect_timeout=Duration(timeout), timeout=Duration(timeout))
    return Limits(RedisTally(connect(settings), prefix=prefix, timeout=timeout), monotonic, wall=wall)


async def settled(*workers: Limits) -> None:
    """Everything has been told, and heard."""
    for limits in workers:
        while limits._tasks:
            await asyncio.wait(limits._tasks)
        await limits._look()
    for limits in workers:
        await limits._look()


async def spend(limits: Limits, dollars: float, of_key: KeyLimits = BUDGET, key: str = "k") -> int:
    """One request at this cost: which limit refused it, 0 for none."""
    ticket = await limits.admit(key, of_key, uuid4().hex)
    assert ticket is not None
    limits.done(ticket, 10, dollars)
    await settled(limits)
    return ticket.taken.refused


async def test_a_key_that_has_spent_its_day_or_its_month_is_refused_until_the_next(make: Make, wall: Wall) -> None:
    limits = make()
    assert [await spend(limits, 0.6) for _ in range(3)] == [0, 0, 4]  # the second one may end beyond the budget
    ticket = await limits.admit("k", BUDGET, "r")
    assert ticket is not None
    assert ticket.taken.wait == 0.5 * DAY
    told = refusal(ticket)
    assert (told.code, told.retry_after) == ("budget_exceeded", 0.5 * DAY)
    assert "$1 of this day" in told.message
    wall.now += 0.5 * DAY
    assert [await spend(limits, 0.8) for _ in range(2)] == [0, 5]
    ticket = await limits.admit("k", BUDGET, "r")
    assert ticket is not None
    assert ticket.taken.wait == DAY
    assert "$2 of this month" in refusal(ticket).message
    wall.now += DAY
    assert await spend(limits, 0.1) == 0
    assert await limits.spent(["k", "other"]) == [(0.1, 0.1), (0, 0)]


async def test_a_refused_request_takes_nothing_and_other_keys_have_their_own(make: Make) -> None:
    limits, of_key = make(), KeyLimits(dollars_per_day=1, requests_per_minute=2)
    assert await spend(limits, 1, of_key) == 0
    assert [await spend(limits, 0, of_key) for _ in range(3)] == [4, 4, 4]
    assert await spend(limits, 1, of_key, "other") == 0


async def test_small_costs_add_up_exactly(make: Make) -> None:
    limits = make()
    for _ in range(100):
        ticket = await limits.admit("k", BUDGET, uuid4().hex)
        assert ticket is not None
        limits.done(ticket, 1, 0.000_001)
    await settled(limits)
    assert await limits.spent(["k"]) == [(0.0001, 0.0001)]


@pytest.mark.parametrize("make", ["redis", "file"], indirect=True)
async def test_workers_spend_one_budget_and_one_that_is_started_later_knows(make: Make) -> None:
    one, two = make(), make()
    assert (await spend(one, 0.5), await spend(two, 0.5)) == (0, 0)
    await settled(one, two)
    assert (await spend(one, 0), await spend(two, 0)) == (4, 4)
    late = make()
    await late.start()
    assert await spend(late, 0) == 4


async def test_while_redis_is_down_a_worker_counts_on_and_tells_it_afterwards(wall: Wall) -> None:
    with servers.one() as server:
        limits = in_redis(server.url, "t:", wall, timeout=0.3)
        assert await spend(limits, 0.6) == 0
        with server.paused():
            assert [await spend(limits, 0.2) for _ in range(3)] == [0, 0, 4]
        for _ in range(100):
            await limits._look()
            if await limits.spent(["k"]) == [(1.0, 1.0)]:
                break
            await asyncio.sleep(0.1)
        assert await limits.spent(["k"]) == [(1.0, 1.0)]
        await limits.close()


async def test_redis_forgets_by_itself_and_what_is_told_twice_counts_once(
    redis_server: servers.Process, wall: Wall
) -> None:
    tally = RedisTally(connect(RedisSessions(url=redis_server.url)), prefix="own-budget:", timeout=5)
    for _ in range(3):
        await tally.spend("k", BUDGET, "same", (10, 250), periods(wall.now))
    assert await tally.spent(["k"], periods(wall.now)) == [(250, 250)]
    async with redis.asyncio.Redis(port=redis_server.port, decode_responses=True) as client:
        keys = [key async for key in client.scan_iter("own-budget:*")]
        assert len(keys) == 3
        assert all(key.startswith("own-budget:{fleet}:") for key in keys)
        left = sorted([await client.ttl(key) for key in keys])
    assert left[0] <= 120 < left[1] <= 2 * DAY < left[2] <= 33 * DAY
    await tally.close()


def test_days_and_months_are_those_of_utc() -> None:
    new_year = periods(datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC).timestamp())
    assert new_year.names == ("d20261231", "m202612")
    assert new_year.day.ends == new_year.month.ends == datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    assert periods(new_year.day.ends).names == ("d20270101", "m202701")


def test_what_was_not_counted_is_estimated_and_an_image_is_no_text() -> None:
    text, image = b'{"messages": "' + b"word " * 800 + b'"}', b'{"url": "data:;base64,' + b"A" * 400_000 + b'"}'
    assert estimated(None, text, 400) == Usage(input=1004, output=100)
    assert estimated(None, text + image, 0).input == pytest.approx(2000, abs=20)
    assert estimated(Usage(input=7, output=1), text, 400) == Usage(input=7, output=100)


# ---------------------------------------------------------------- as a client meets it

CONFIG = """
auth:
  keys:
    - {id: team, key: a-key, limits: {dollars_per_day: 0.05}}
    - {id: busy, key: b-key, limits: {requests_per_minute: 3, tokens_per_minute: 1000}}
    - {id: free, key: c-key}
providers:
  chat: {kind: openai, base_url: "http://chat/v1", keys: [k]}
  claude: {kind: anthropic, base_url: "http://claude", keys: [k]}
models:
  gpt: {targets: [{provider: chat, model: up}], prices: {input: 1000, output: 2000}}
  opus: {targets: [{provider: claude, model: up}]}
  both:
    targets: [{provider: claude, model: up}, {provider: chat, model: up, priority: 1, prices: {input: 0, output: 0}}]
"""

Start = Callable[..., AbstractAsyncContextManager[Harness]]
TEAM = {"authorization": "Bearer a-key"}


async def test_a_client_is_told_that_its_budget_is_spent_and_until_when(start: Start) -> None:
    async with start(config=CONFIG) as gw:  # a reply costs 10 * 1000 + 5 * 2000 millionths
        assert [(await gw.chat("q", **TEAM)).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = await gw.chat("q", **TEAM)
        assert refused.json()["error"]["code"] == "budget_exceeded"
        assert 1 <= int(refused.headers["retry-after"]) <= DAY
        assert (await gw.message("q", model="gpt", x_api_key="a-key")).json()["error"]["type"] == "rate_limit_error"
        assert (await gw.chat("q", authorization="Bearer c-key")).status_code == 200
        assert gw.value("gateway_limit_refusals_total", key="team", limit="day") == 3


async def test_a_budget_is_spent_on_what_has_a_price_only(start: Start) -> None:
    async with start(config=CONFIG) as gw:
        refused = await gw.chat("q", model="opus", **TEAM)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "model_unpriced"
        served = await gw.chat("q", model="both", **TEAM)
        assert served.headers["x-gateway-provider"] == "chat"  # the other target's price is unknown
        assert (await gw.chat("q", model="opus", authorization="Bearer c-key")).status_code == 200


async def test_a_stream_that_its_client_cuts_is_no_gift(start: Start) -> None:
    said = "word " * 800
    async with start(config=CONFIG, chat=lambda _: Say(said, cut=60)) as gw:
        body: dict[str, Any] = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "q"}]}
        assert (await gw.post("/v1/chat/completions", body, **TEAM)).status_code == 200
        assert gw.records[-1].incomplete
        assert (await gw.chat("q", **TEAM)).status_code == 429


async def test_counting_tokens_is_a_request_that_costs_no_tokens(start: Start) -> None:
    async with start(config=CONFIG) as gw:
        body = {"model": "opus", "messages": [{"role": "user", "content": "hello " * 500}]}
        answers = [await gw.post("/v1/messages/count_tokens", body, x_api_key="b-key") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[2].headers["anthropic-ratelimit-tokens-remaining"] == "1000"
        assert answers[3].json()["error"]["type"] == "rate_limit_error"
        assert int(answers[3].headers["retry-after"]) <= 20
        assert (await gw.store.list()).heads == ()


async def test_embeddings_count_by_the_tokens_that_the_provider_tells(start: Start) -> None:
    told = b'{"object": "list", "data": [], "model": "up", "usage": {"prompt_tokens": 40, "total_tokens": 40}}'
    async with start(config=CONFIG, chat=lambda _: Say(body=told)) as gw:
        body = {"model": "gpt", "input": "hello"}
        first = await gw.post("/v1/embeddings", body, authorization="Bearer b-key")
        second = await gw.post("/v1/embeddings", body, authorization="Bearer b-key")
        assert first.json()["usage"]["prompt_tokens"] == 40
        assert 955 <= int(second.headers["x-ratelimit-remaining-tokens"]) <= 962
        assert gw.records[-1].cost == pytest.approx(0.04)
        assert (await gw.post("/v1/embeddings", body, **TEAM)).status_code == 200
        assert [(await gw.post("/v1/embeddings", body, **TEAM)).status_code for _ in range(2)] == [200, 429]
