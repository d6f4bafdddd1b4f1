"""F5: two hundred turns at once on one session, from two worker processes, on every store."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import Running, provider, running
from tests.scripted import Say, Seen
from tests.servers import cluster, one

TURNS = 200
KEY = "manage-me-please"


def echo(seen: Seen) -> Say:
    """Answers with its question, so that a stored pair can be checked."""
    return Say(f"echo {seen.body['messages'][-1]['content']}", wait=0.02)


@contextmanager
def two_workers(store: str, folder: Path, more: str = "") -> Iterator[list[Running]]:
    with ExitStack() as stack:
        _, url = stack.enter_context(provider(echo))
        redis = "{}"
        if store == "redis":
            redis = f'{{url: "{stack.enter_context(one()).url}", timeout: 10s, connect_timeout: 10s}}'
        elif store == "cluster":
            nodes = stack.enter_context(cluster())
            addresses = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
            redis = f'{{url: "redis://{addresses}", mode: cluster, timeout: 10s, connect_timeout: 10s}}'
        config = f"""
        server: {{port: PORT}}
        management: {{key: {KEY}}}
        sessions:
          store: {"file" if store == "file" else "redis"}
          file: {{directory: "{folder / "sessions"}"}}
          redis: {redis}
          {more}
        providers: {{p: {{kind: openai, base_url: "{url}/v1", keys: [k]}}}}
        models: {{m: {{targets: [{{provider: p, model: m}}]}}}}
        """
        if store == "file":
            yield [stack.enter_context(running(config, "--workers", "2"))]
        else:
            yield [stack.enter_context(running(config)), stack.enter_context(running(config))]


async def ask(http: httpx.AsyncClient, url: str, n: int) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": f"question {n}"}], "stream": n % 2 == 0}
    return await http.post(f"{url}/v1/chat/completions", json=body, headers={"x-session-id": "one"})


async def all_at_once(gateways: list[Running], count: int) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(timeout=120, limits=limits) as http:
        asks = (ask(http, gateways[n % len(gateways)].url, n) for n in range(count))
        return await asyncio.gather(*asks)


def transcript(gateway: Running) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for start in (1, 101, 201):
        path = f"/v0/management/sessions/one?turn={start}&limit=100"
        status, page = gateway.get(path, Authorization=f"Bearer {KEY}")
        assert status == 200, page
        messages += page["messages"]
    return messages


def text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@pytest.mark.parametrize("store", ["redis", "cluster", "file"])
async def test_two_hundred_turns_at_once_are_all_stored_whole_and_in_order(store: str, tmp_path: Path) -> None:
    with two_workers(store, tmp_path) as gateways:
        answers = await all_at_once(gateways, TURNS)
        assert {answer.status_code for answer in answers} == {200}
        assert not [answer for answer in answers if answer.headers["x-session-state"] in ("unsaved", "stateless")]
        messages = transcript(gateways[0])
    turns: dict[int, list[str]] = {}
    for message in messages:
        turns.setdefault(message["turn"], []).append(text_of(message))
    assert sorted(turns) == list(range(1, TURNS + 1))
    assert all(pair[1] == f"echo {pair[0]}" for pair in turns.values())
    assert len({pair[0] for pair in turns.values()}) == TURNS


@pytest.mark.parametrize("store", ["redis", "file"])
async def test_with_reject_one_turn_runs_at_a_time_and_the_others_are_told(store: str, tmp_path: Path) -> None:
    with two_workers(store, tmp_path, "conflict: reject") as gateways:
        answers = await all_at_once(gateways, 40)
        served = [answer for answer in answers if answer.status_code == 200]
        busy = [answer for answer in answers if answer.status_code == 409]
        assert len(served) + len(busy) == 40
        assert served
        assert busy
        assert all(json.loads(answer.content)["error"]["code"] == "session_busy" for answer in busy)
        assert all("retry-after" in answer.headers for answer in busy)
        assert len({message["turn"] for message in transcript(gateways[0])}) == len(served)
