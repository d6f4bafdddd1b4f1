"""What a user sees when a provider or the store goes away and comes back: real processes, real Redis."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import Running, provider, running
from tests.scripted import Say, Scripted
from tests.servers import Process, one

CONFIG = """
server: {{port: PORT}}
sessions: {{store: redis, redis: {{url: "{redis}", timeout: 500ms, connect_timeout: 500ms}}}}
providers:
  home: {{kind: openai, base_url: "{home}/v1", keys: [k1]}}
  away: {{kind: anthropic, base_url: "{away}", keys: [k2]}}
models:
  both: {{targets: [{{provider: home, model: m}}, {{provider: away, model: n, priority: 1}}]}}
"""


class World:
    """One gateway, two providers, one Redis."""

    def __init__(self, gateway: Running, redis: Process, home: Scripted, away: Scripted) -> None:
        self.gateway, self.redis, self.home, self.away = gateway, redis, home, away
        self.http = httpx.Client(base_url=gateway.url, timeout=30)

    def ask(self, text: str, **headers: str) -> httpx.Response:
        body = {"model": "both", "messages": [{"role": "user", "content": text}]}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/v1/chat/completions", json=body, headers=named)

    def metric(self, line: str) -> float:
        text = self.http.get("/metrics").text
        return sum(float(found.split()[-1]) for found in text.splitlines() if found.startswith(line))


@pytest.fixture
def world() -> Iterator[World]:
    with one() as redis, provider() as (home, home_url), provider() as (away, away_url):
        config = CONFIG.format(redis=redis.url, home=home_url, away=away_url)
        with running(config) as gateway:
            world = World(gateway, redis, home, away)
            with world.http:
                yield world


def conversation(body: Any) -> list[str]:
    return [str(message["content"]) for message in body["messages"]]


def test_the_session_is_served_elsewhere_while_its_provider_is_down_and_goes_home(world: World) -> None:
    assert world.ask("q1", x_session_id="s").headers["x-gateway-provider"] == "home"
    world.home.script = lambda _: Say(status=429, headers={"retry-after": "2"})
    moved = world.ask("q2", x_session_id="s")
    assert moved.headers["x-gateway-provider"] == "away"
    assert moved.headers["x-gateway-attempts"] == "2"
    assert len(world.away.seen[-1].body["messages"]) == 3
    world.home.script = lambda _: None
    assert world.ask("q3", x_session_id="s").headers["x-gateway-provider"] == "away"
    time.sleep(2.5)
    back = world.ask("q4", x_session_id="s")
    assert back.headers["x-gateway-provider"] == "home"
    assert len(world.home.seen[-1].body["messages"]) == 7


def test_a_stopped_redis_costs_the_memory_but_no_request_and_is_told(world: World) -> None:
    world.ask("q1", x_session_id="s")
    world.redis.stop()
    for _ in range(10):
        answer = world.ask("q2", x_session_id="s")
        assert answer.status_code == 200
        assert answer.headers["x-session-state"] == "stateless"
    assert world.metric('gateway_store_failures_total{operation="load"') == 10
    assert world.metric('gateway_session_requests_total{state="stateless"}') == 10
    assert any(line.get("session") == "stateless" for line in world.gateway.lines())
    assert world.gateway.get("/health/live")[0] == 200


def test_a_frozen_redis_delays_a_request_by_no_more_than_its_budget(world: World) -> None:
    world.ask("q1", x_session_id="s")
    with world.redis.paused():
        started = time.monotonic()
        took = []
        for _ in range(8):
            begun = time.monotonic()
            assert world.ask("q2", x_session_id="s").headers["x-session-state"] == "stateless"
            took.append(time.monotonic() - begun)
        assert max(took) < 2.5
        assert time.monotonic() - started < 8 * 2.5
    deadline = time.monotonic() + 20
    while (answer := world.ask("q3", x_session_id="s")).headers["x-session-state"] != "resumed":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert conversation(world.home.seen[-1].body)[0] == "q1"
    assert answer.status_code == 200


def test_requests_without_a_session_leave_nothing_behind(world: World) -> None:
    for n in range(100):
        assert world.ask(f"q{n}").status_code == 200
    assert world.redis.ask("DBSIZE") == 0


def test_file_sessions_leave_no_file_without_a_session(tmp_path: Path) -> None:
    with provider() as (_, url):
        config = f"""
        server: {{port: PORT}}
        sessions: {{file: {{directory: "{tmp_path / "s"}"}}}}
        providers: {{home: {{kind: openai, base_url: "{url}/v1", keys: [k]}}}}
        models: {{both: {{targets: [{{provider: home, model: m}}]}}}}
        """
        with running(config) as gateway, httpx.Client(base_url=gateway.url) as http:
            for _ in range(100):
                body = {"model": "both", "messages": [{"role": "user", "content": "q"}]}
                assert http.post("/v1/chat/completions", json=body).status_code == 200
        assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []
