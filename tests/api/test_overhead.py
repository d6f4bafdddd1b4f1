"""What counts as the gateway's own time: nobody is to look for a busy worker when a provider or a client is slow."""

import asyncio
import json
from pathlib import Path

from gateway.sessions.file.store import FileStore
from tests.harness import Harness, gateway
from tests.scripted import Say

SLOW = 0.4


def overhead(world: Harness) -> float:
    """Seconds, of all requests so far."""
    assert world.value("gateway_overhead_seconds_count") > 0
    return world.value("gateway_overhead_seconds_sum")


async def test_an_attempt_that_failed_slowly_is_the_providers_time(tmp_path: Path):
    async with gateway(FileStore(str(tmp_path))) as world:
        world.providers["chat"].script = lambda _: Say(status=503, wait=SLOW)
        assert (await world.chat("hello", model="both")).status_code == 200
        assert overhead(world) < SLOW / 2


async def test_that_every_attempt_failed_is_not_the_gateways_time_either(tmp_path: Path):
    async with gateway(FileStore(str(tmp_path))) as world:
        world.providers["chat"].script = lambda _: Say(status=503, wait=SLOW)
        assert (await world.chat("hello")).status_code >= 500
        assert overhead(world) < SLOW / 2


async def test_a_slow_count_and_slow_embeddings_are_the_providers_time(tmp_path: Path):
    async with gateway(FileStore(str(tmp_path))) as world:
        for name in world.providers:
            world.providers[name].script = lambda _: Say(body=b'{"input_tokens": 3, "data": []}', wait=SLOW)
        asked = {"model": "opus", "messages": [{"role": "user", "content": "hello"}]}
        await world.post("/v1/messages/count_tokens", asked)
        await world.post("/v1/embeddings", {"model": "gpt", "input": "hello"})
        assert overhead(world) < SLOW / 2


async def test_a_client_that_sends_slowly_takes_its_own_time(tmp_path: Path):
    async with gateway(FileStore(str(tmp_path))) as world:
        body = json.dumps({"model": "gpt", "messages": [{"role": "user", "content": "hello"}]}).encode()

        async def drops():
            for byte in (body[:10], body[10:]):
                yield byte
                await asyncio.sleep(SLOW / 2)

        headers = {"content-type": "application/json"}
        answer = await world.client.post("/v1/chat/completions", content=drops(), headers=headers)
        assert answer.status_code == 200
        assert overhead(world) < SLOW / 2
