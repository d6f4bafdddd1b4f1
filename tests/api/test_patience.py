"""`routing.wait`: a request waits for the target that is ready first, where all cool down."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from time import monotonic

import pytest

from tests.harness import Harness
from tests.scripted import Say, Seen

CONFIG = """
routing: {wait: WAIT}
providers: {chat: {kind: openai, base_url: "http://chat/v1", keys: [k]}}
models: {gpt: {targets: [{provider: chat, model: up}]}}
"""

Start = Callable[..., AbstractAsyncContextManager[Harness]]


class Failing:
    """Fails so often as it is asked first, then answers."""

    def __init__(self, *failures: Say) -> None:
        self.left = list(failures)

    def __call__(self, seen: Seen) -> Say | None:
        return self.left.pop(0) if self.left else None


def limited(seconds: int) -> Say:
    return Say(status=429, headers={"retry-after": str(seconds)})


async def test_a_request_waits_for_the_end_of_a_cool_down(start: Start) -> None:
    async with start(config=CONFIG.replace("WAIT", "5s"), chat=Failing(limited(1))) as gw:
        began = monotonic()
        answer = await gw.chat("q", "s")
        assert (answer.status_code, answer.headers["x-gateway-attempts"]) == (200, "2")
        assert monotonic() - began >= 1
        assert 1 <= gw.records[-1].outside < 5
        assert len((await gw.store.list()).heads) == 1


async def test_a_stream_waits_as_well(start: Start) -> None:
    async with start(config=CONFIG.replace("WAIT", "5s"), chat=Failing(limited(1))) as gw:
        body = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "q"}]}
        assert "reply-2" in (await gw.post("/v1/chat/completions", body)).text


@pytest.mark.parametrize("wait", ["0s", "2s"])
async def test_what_takes_longer_is_refused_at_once(start: Start, wait: str) -> None:
    async with start(config=CONFIG.replace("WAIT", wait), chat=Failing(limited(60))) as gw:
        answer = await gw.chat("q")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        assert gw.records[-1].outside < 1


async def test_what_would_never_pass_is_refused_at_once(start: Start) -> None:
    async with start(config=CONFIG.replace("WAIT", "5s"), chat=Failing(Say(status=404), Say(status=400))) as gw:
        assert (await gw.chat("q")).status_code == 404
        assert len(gw.providers["chat"].seen) == 1


async def test_many_that_wait_are_all_served_and_one_of_them_tries_first(start: Start) -> None:
    async with start(config=CONFIG.replace("WAIT", "30s"), chat=Failing(limited(1))) as gw:
        await gw.chat("first")
        gw.providers["chat"].script = Failing(limited(1))
        answers = await asyncio.gather(*(gw.chat(f"{n}") for n in range(10)))
        assert {answer.status_code for answer in answers} == {200}


async def test_a_client_that_leaves_meanwhile_asks_nobody(start: Start) -> None:
    async with start(config=CONFIG.replace("WAIT", "30s"), chat=Failing(limited(2))) as gw:
        asked = asyncio.Event()
        gw.providers["chat"].meanwhile = lambda: asyncio.sleep(0, asked.set())
        waiting = asyncio.create_task(gw.chat("q"))
        await asyncio.wait_for(asked.wait(), 15)
        await asyncio.wait([waiting], timeout=0.5)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(2.5)
        assert len(gw.providers["chat"].seen) == 1
