"""The bench measures what it says: its provider speaks the formats, its driver counts what was answered."""

import asyncio
import json
import os

import pytest

from tests.bench.load import Request, complete, read_wrk, run_own
from tests.bench.processes import cpu, resident
from tests.bench.provider import Provider, answers

EVENTS = 12
TEXTS = {
    b"/chat/completions": lambda d: d["choices"][0]["delta"].get("content", ""),
    b"/responses": lambda d: d["delta"] if d["type"] == "response.output_text.delta" else "",
    b"/messages": lambda d: d.get("delta", {}).get("text", ""),
    b"enerateContent": lambda d: d["candidates"][0]["content"]["parts"][0]["text"],
}


@pytest.fixture
async def provider():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Provider(answers(EVENTS), 0), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def unchunked(answer: bytes) -> bytes:
    rest, body = answer.split(b"\r\n\r\n", 1)[1], b""
    while True:
        size, rest = rest.split(b"\r\n", 1)
        if size == b"0":
            return body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


@pytest.mark.parametrize("path", TEXTS)
def test_a_stream_has_as_many_events_as_asked_for_and_says_something(path):
    whole, stream = answers(EVENTS)[path]
    assert complete(whole)
    assert complete(b"".join(stream))
    frames = unchunked(b"".join(stream)).strip().split(b"\n\n")
    data = [json.loads(frame.split(b"data: ")[1]) for frame in frames if b"[DONE]" not in frame]
    assert len(frames) == EVENTS
    assert "".join(map(TEXTS[path], data)).startswith("The quick brown")
    assert b"The quick brown" in whole


async def test_the_driver_counts_what_was_answered(provider):
    request = Request(provider, "/v1/chat/completions", {}, b'{"stream":true}')
    load = await run_own(request, 4, 0.3)
    assert load.requests > 50
    assert load.errors == 0
    assert 0 < load.p50 <= load.p99


async def test_the_driver_counts_failures():
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" * 2)
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        load = await run_own(Request(server.sockets[0].getsockname()[1], "/", {}, b""), 2, 0.3)
    assert load.errors >= 2


def test_a_report_of_wrk_is_read():
    load = read_wrk(
        "  Latency Distribution\n     50%    1.76ms\n     75%    2.00ms\n     90%    2.27ms\n     99%    1.20s \n"
        "  33807 requests in 4.00s, 20.00MB read\n"
        "  Socket errors: connect 0, read 1, write 0, timeout 2\n  Non-2xx or 3xx responses: 10\n"
    )
    assert (load.requests, load.errors, load.seconds, load.p50, load.p99) == (33807, 13, 4.0, 1.76, 1200.0)


def test_a_process_tells_what_it_uses():
    before = cpu(os.getpid())
    sum(range(5_000_000))
    assert cpu(os.getpid()) > before
    assert resident(os.getpid()) > 1 << 20
