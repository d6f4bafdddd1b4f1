"""SIGTERM while streams are open: what is begun is finished, or told and stored as cut; nothing new is begun."""

import asyncio
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import Running, provider, running, until
from tests.scripted import Say

STREAMS = 200
CONFIG = """
server: {{port: PORT, workers: {workers}, shutdown_grace: {grace}}}
management: {{key: a-long-management-key}}
sessions: {{file: {{directory: "{directory}"}}}}
providers: {{one: {{kind: openai, base_url: "{url}/v1", keys: [k]}}}}
models: {{m: {{targets: [{{provider: one, model: up}}]}}}}
"""


def asking(text: str = "hello") -> dict[str, Any]:
    return {"model": "m", "stream": True, "messages": [{"role": "user", "content": text}]}


async def read_stream(http: httpx.AsyncClient, session: str, begun: asyncio.Semaphore) -> tuple[str, dict[str, str]]:
    """The whole stream and its headers; releases `begun` with the first content."""
    headers, text = {"x-session-id": session}, ""
    async with http.stream("POST", "/v1/chat/completions", json=asking(session), headers=headers) as answer:
        async for piece in answer.aiter_text():
            if not text:
                begun.release()
            text += piece
        return text, dict(answer.headers)


async def stop_under_streams(gateway: Running, count: int) -> tuple[list[tuple[str, dict[str, str]]], int, int]:
    """Open streams, SIGTERM, read on. Returns the streams, and the statuses of probe and latecomer meanwhile."""
    limits = httpx.Limits(max_connections=count + 5)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60, limits=limits) as http:
        begun = asyncio.Semaphore(0)
        streams = [asyncio.create_task(read_stream(http, f"s{n}", begun)) for n in range(count)]
        for _ in range(count):
            await begun.acquire()
        assert (await http.get("/health/ready")).status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        probe = await http.get("/health/ready")
        late = await http.post("/v1/chat/completions", json=asking("late"))
        assert probe.headers["connection"] == late.headers["connection"] == "close"
        assert not all(stream.done() for stream in streams)
        return list(await asyncio.gather(*streams)), probe.status_code, late.status_code


def sessions_of(config: str) -> dict[str, dict[str, Any]]:
    """Every session's newest reply, read by a gateway that is started afterwards."""
    key = {"X-Management-Key": "a-long-management-key"}
    with running(config) as gateway:
        _, listed = gateway.get("/v0/management/sessions?limit=1000", **key)
        return {
            session["id"]: gateway.get(f"/v0/management/sessions/{session['id']}", **key)[1]["messages"][-1]
            for session in listed["sessions"]
        }


@pytest.mark.parametrize(("workers", "streams"), [(1, STREAMS), pytest.param(2, 40, marks=pytest.mark.slow)])
async def test_no_stream_is_cut_within_the_grace_and_every_turn_is_kept(tmp_path: Path, workers: int, streams: int):
    words = " ".join(f"word{n}" for n in range(10))
    with ExitStack() as stack:
        _, url = stack.enter_context(provider(lambda _: Say(words, pause=0.5)))
        config = CONFIG.format(workers=workers, grace="60s", directory=tmp_path / "s", url=url)
        gateway = stack.enter_context(running(config))
        answers, probe, late = await stop_under_streams(gateway, streams)
        assert (probe, late) == (503, 503)
        assert all("[DONE]" in text and "word9" in text for text, _ in answers)
        until(lambda: gateway.process.poll() is not None)
        assert gateway.process.returncode == 0
        kept = await asyncio.to_thread(sessions_of, config.replace(f"workers: {workers}", "workers: 1"))
    assert len(kept) == streams
    assert all("word9" in str(message["content"]) and not message["incomplete"] for message in kept.values())


async def test_what_outlasts_the_grace_ends_in_an_error_event_and_is_kept_as_cut(tmp_path: Path):
    words = " ".join(f"word{n}" for n in range(500))
    with ExitStack() as stack:
        _, url = stack.enter_context(provider(lambda _: Say(words, pause=0.2)))
        config = CONFIG.format(workers=1, grace="2s", directory=tmp_path / "s", url=url)
        gateway = stack.enter_context(running(config))
        started = time.monotonic()
        answers, probe, _ = await stop_under_streams(gateway, 5)
        assert probe == 503
        assert time.monotonic() - started < 30
        for text, _ in answers:
            assert '"error"' in text
            assert "stopping" in text
            assert "[DONE]" not in text
        until(lambda: gateway.process.poll() is not None)
        kept = await asyncio.to_thread(sessions_of, config)
    assert len(kept) == 5
    assert all(message["incomplete"] and "word0" in str(message["content"]) for message in kept.values())
