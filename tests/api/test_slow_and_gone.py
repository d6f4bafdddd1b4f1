"""Clients that read slowly or leave, over real sockets (feature C8)."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bench.slow_reader import Endless, measure
from tests.processes import running

CONFIG = """
server: {{port: PORT}}
sessions: {{file: {{directory: "{directory}"}}}}
providers: {{p: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", keys: [k]}}}}
models: {{m: {{targets: [{{provider: p, model: up}}]}}}}
"""


@pytest.mark.parametrize("session", ["", "s"])
async def test_a_slow_reader_costs_little_and_its_provider_waits(session: str):
    found = await measure(seconds=6, session=session)
    assert found["read"] >= 3 * 1024
    assert found["cut"] == 0  # after six times the idle limit
    assert found["grown"] < 5 << 20
    assert found["sent"] < 1 << 20  # the provider is held back, not read ahead of the client


async def silent(reader: asyncio.StreamReader, left: asyncio.Future[float]) -> None:
    """Takes the request, answers nothing, and notes when the other side leaves."""
    await reader.readuntil(b"\r\n\r\n")
    while await reader.read(65536):
        pass
    left.set_result(time.monotonic())


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_it_waits_is_left_by_the_provider_s_connection_too(
    tmp_path: Path, *, stream: bool
):
    left: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await silent(reader, left)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with running(CONFIG.format(port=port, directory=tmp_path)) as gateway:
            _, writer = await ask(gateway.url, stream=stream)
            async with asyncio.timeout(20):
                await asked.wait()
            await asyncio.sleep(0.2)
            gone = time.monotonic()
            writer.close()
            async with asyncio.timeout(20):
                assert await left - gone < 3  # a second, on a machine that has nothing else to do


async def test_a_client_that_leaves_in_the_middle_of_a_stream_stops_it(tmp_path: Path):
    endless = Endless()
    async with await endless.start():
        with running(CONFIG.format(port=endless.port, directory=tmp_path)) as gateway:
            reader, writer = await ask(gateway.url, stream=True)
            async with asyncio.timeout(20):
                await reader.readexactly(100_000)
            gone = time.monotonic()
            writer.transport.abort()
            while not endless.gone:
                await asyncio.sleep(0.01)
                assert time.monotonic() - gone < 3


async def ask(url: str, *, stream: bool) -> tuple[asyncio.StreamReader, Any]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body.encode())
    return reader, writer
