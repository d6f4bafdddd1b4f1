"""The bench measures what it says: its provider speaks the formats, its driver counts what was answered."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.driver import Request, closed, once, open_loop
from tests.bench.loads import QUICK
from tests.bench.processes import cpu, resident
from tests.bench.provider import Provider, answers
from tests.bench.report import Results, Sample, Start, bars_table, saved, write

ROOT = Path(__file__).parent.parent.parent
EVENTS = 12
CRLF = b"\r\n"
TEXTS = {
    b"/chat/completions": lambda d: d["choices"][0]["delta"].get("content", ""),
    b"/responses": lambda d: d["delta"] if d["type"] == "response.output_text.delta" else "",
    b"/messages": lambda d: d.get("delta", {}).get("text", ""),
    b"enerateContent": lambda d: d["candidates"][0]["content"]["parts"][0]["text"],
}


@pytest.fixture
async def provider():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider, "127.0.0.1", 0)
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
    frames = unchunked(b"".join(stream)).strip().split(b"\n\n")
    data = [json.loads(frame.split(b"data: ")[1]) for frame in frames if b"[DONE]" not in frame]
    assert len(frames) == EVENTS
    assert "".join(map(TEXTS[path], data)).startswith("The quick brown")
    assert b"The quick brown" in whole


async def test_a_request_says_how_many_events_it_wants(provider):
    body = b'{"stream":true,"messages":[{"content":"go on. events:30 gap:1"}]}'
    request = Request(provider, "/v1/chat/completions", {}, body)
    reader, writer = await asyncio.open_connection("127.0.0.1", provider)
    writer.write(request.encode())
    answer = await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    assert answer.count(b"data: ") == 30


async def test_a_long_request_is_read_to_its_end(provider):
    request = Request(provider, "/v1/chat/completions", {}, b'{"x":"' + b"x" * (2 << 20) + b'"}')
    outcome = await closed(request, 2, 0.2)
    assert outcome.requests > 0
    assert outcome.errors == 0


async def test_the_driver_counts_what_was_answered(provider):
    request = Request(provider, "/v1/chat/completions", {}, b'{"stream":true}')
    outcome = await closed(request, 4, 0.2)
    assert outcome.requests > 50
    assert outcome.errors == 0
    assert 0 < outcome.p50 <= outcome.p99


async def test_a_load_that_runs_once_asks_once_on_each_connection(provider):
    request = Request(provider, "/v1/chat/completions", {}, b'{"stream":true}')
    assert (await once(request, 5)).requests == 5


async def test_an_open_loop_keeps_its_rate(provider):
    outcome = await open_loop(Request(provider, "/v1/chat/completions", {}, b"{}"), 200, 0.5, 4)
    assert 90 <= outcome.requests <= 110
    assert outcome.errors == 0


async def test_the_driver_counts_failures():
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" * 2)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        outcome = await closed(Request(server.sockets[0].getsockname()[1], "/", {}, b""), 2, 0.3)
    assert outcome.errors >= 2


def test_no_two_requests_of_a_session_load_say_the_same():
    request = Request(1, "/", {}, b"say (number) please", "x-session-id: s-", 2)
    first, second, third = (request.encode(number) for number in range(3))
    assert b"x-session-id: s-1\r\n" in second
    assert b"x-session-id: s-0\r\n" in third
    assert third.endswith(b"say 00000002 please")
    assert f"content-length: {len(first.split(CRLF * 2)[1])}".encode() in first


def test_bars_are_ratios_of_medians():
    def sample(contestant, load, cpu):
        return Sample(contestant, load, 16, 0, cpu, 1.0, 1.0, 1.0, 0)

    cheap = [sample("tensorzero", "whole", 100.0)]
    dear = [sample("gateway", "whole", cpu) for cpu in (130.0, 140.0, 900.0)]
    lines = "\n".join(bars_table(Results([*cheap, *dear])))
    assert "| whole, CPU, to TensorZero | 1.40 x | 1.50 x | 1.00 x | pass |" in lines
    assert "| resident after load | not measured |" in lines


def test_a_measurement_with_errors_counts_for_nothing():
    flawed = Sample("gateway", "whole", 16, 0, 1.0, 1.0, 1.0, 1.0, 3)
    assert Results([flawed]).of("gateway", "whole") is None


def test_what_was_saved_is_read_again(tmp_path):
    found = [Sample("gateway", "whole", 16, 0, 1.0, 2.0, 3.0, 4.0, 0), Start("gateway", "file", 0, 1.0, 2.0, 3.0)]
    for one in found:
        write(tmp_path / "found", one)
    assert saved([tmp_path / "found"]) == found


def test_a_process_tells_what_it_uses():
    before = cpu(os.getpid())
    sum(range(5_000_000))
    assert cpu(os.getpid()) > before
    assert resident(os.getpid()) > 1 << 20


def test_the_command_measures_the_gateway(tmp_path):
    names = ["gateway", "bare-transport", "mock"]
    command = [sys.executable, "-m", "tests.bench.run", "--quick", "--seconds", "0.3", "--only", *names]
    command += ["--save", str(tmp_path / "found")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    results = Results(saved([tmp_path / "found"]))
    for load in QUICK:
        assert 1 < (results.of("gateway", load) or 0) < 100_000, done.stderr
    for other in names[1:]:
        assert 1 < (results.of(other, "streamed-20") or 0) < 100_000, done.stderr
    assert "| whole |" in done.stdout
