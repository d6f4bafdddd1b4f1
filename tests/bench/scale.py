"""How the gateway grows: workers, open streams that say nothing, and memory over time.

    python tests/bench/scale.py workers                        # 1, 2 and 4 workers
    python tests/bench/scale.py idle --streams 5000            # memory of a stream; --only names another gateway
    python tests/bench/scale.py soak --seconds 600             # mixed load with cuts; memory must not grow

`--save FILE` appends the figures that have a bar. The short forms are `--streams 200` and `--seconds 20`.
"""

import argparse
import asyncio
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import uvloop

from tests.bench import driver
from tests.bench.contestants import CONTESTANTS, Contestant
from tests.bench.driver import Request
from tests.bench.loads import CLOSED, LOADS, Load
from tests.bench.processes import CORES, OTHERS, cpu, resident
from tests.bench.report import Scale, write
from tests.bench.stage import Place, launched, mock

WHOLE = LOADS[0]
SILENT = Load("idle", "a stream that has begun to speak", events=10, gap=3_600_000)
OPENING = 200
"""Streams that are opened at once."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- workers


def workers(contestant: Contestant, provider: int, args: argparse.Namespace) -> None:
    """Rate, CPU and memory with more workers, on all cores: they share them with the load and the mock."""
    say("| workers | requests/s | CPU us/request | p50 ms | p99 ms | MiB together |")
    say("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for count in args.workers:
        os.environ["GATEWAY_WORKERS"] = str(count)
        with launched(contestant, provider, "file", set(CORES)) as (place, _):
            request = WHOLE.request(contestant, place.port, provider)
            driver.run(driver.closed(request, 64, args.seconds / 4))
            before = cpu(place.pid)
            outcome = driver.run(driver.closed(request, 64, args.seconds))
            used = (cpu(place.pid) - before) / outcome.requests
            rate, memory = outcome.requests / outcome.seconds, resident(place.pid) / 2**20
            say(f"| {count} | {rate:.0f} | {used:.0f} | {outcome.p50:.2f} | {outcome.p99:.2f} | {memory:.0f} |")
            if outcome.errors:
                raise SystemExit(f"{outcome.errors} errors")


# ---------------------------------------------------------------- idle streams


class Stream(asyncio.Protocol):
    """A stream that stays open; `begun` when its first event has come."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.begun = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if b"data:" in data and not self.begun.done():
            self.begun.set_result(None)

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_exception(ConnectionError("closed before its first event"))


async def held(request: Request, pid: int, count: int) -> tuple[int, int]:
    """Bytes of memory before and while so many streams are open."""
    loop = asyncio.get_running_loop()
    streams: list[Stream] = []

    async def more(target: int) -> None:
        while len(streams) < target:
            batch = []
            for _ in range(min(OPENING, target - len(streams))):
                made = await loop.create_connection(lambda: Stream(request.encode()), "127.0.0.1", request.port)
                batch.append(made[1])
            await asyncio.wait_for(asyncio.gather(*(stream.begun for stream in batch)), 60)
            streams.extend(batch)

    await more(OPENING // 2)  # what the first ones cost once is not theirs
    before = resident(pid)
    await more(OPENING // 2 + count)
    after = resident(pid)
    for stream in streams:
        stream.transport.abort()
    return before, after


def idle(contestant: Contestant, provider: int, args: argparse.Namespace) -> None:
    with launched(contestant, provider, "file") as (place, _):
        driver.run(driver.closed(WHOLE.request(contestant, place.port, provider), 64, 1))
        before, after = uvloop.run(held(SILENT.request(contestant, place.port, provider), place.pid, args.streams))
        each = (after - before) / args.streams / 1024
        say(f"{contestant.name}: {args.streams} streams, from {before / 2**20:.0f} to {after / 2**20:.0f} MiB")
        say(f"{contestant.name}: {each:.1f} KiB a stream")
        if args.save and contestant.name == "gateway":
            write(args.save, Scale("idle stream", each))


# ---------------------------------------------------------------- soak


def mixed(place: Place) -> Iterator[tuple[bytes, str]]:
    """Requests of all kinds without end, and what becomes of each: `answered`, `left` by the client, `cut` above."""
    plain = [load for load in LOADS if load.shape == CLOSED and load.size <= 200_000 and not load.store]
    short = replace(WHOLE, name="soak", turns=1, pool=5000, store="file")
    kinds = (*plain, short, replace(short, events=20))
    requests = [load.request(place.contestant, place.port, place.provider) for load in kinds]
    stream = replace(WHOLE, events=20).request(place.contestant, place.port, place.provider)
    cut = replace(stream, body=stream.body.replace(b'"mock"', b'"cut"').replace(b"gap:0", b"gap:0 cut:7"))
    for number in range(sys.maxsize):
        fate = random.choices(("answered", "left", "cut"), (17, 2, 1))[0]
        yield (cut if fate == "cut" else random.choice(requests)).encode(number), fate


async def client(port: int, requests: Iterator[tuple[bytes, str]], end: float, counts: dict[str, int]) -> None:
    """One client after another, each with one request of its own connection."""
    while time.monotonic() < end:
        request, fate = next(requests)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request.replace(b"\r\nhost:", b"\r\nconnection: close\r\nhost:", 1))
            if fate == "left":
                await asyncio.sleep(random.random() * 0.01)
            else:
                answer = await asyncio.wait_for(reader.read(-1), 60)
                if fate == "answered" and not answer.startswith(b"HTTP/1.1 200"):
                    fate = "failed"
            counts[fate] += 1
        finally:
            writer.transport.abort()


async def soaked(place: Place, seconds: float) -> tuple[list[float], dict[str, int]]:
    """MiB of memory, once a second, under load."""
    counts = {"answered": 0, "left": 0, "cut": 0, "failed": 0}
    end, memory, requests = time.monotonic() + seconds, [], mixed(place)
    clients = [asyncio.create_task(client(place.port, requests, end, counts)) for _ in range(16)]
    while time.monotonic() < end:
        await asyncio.sleep(1)
        memory.append(resident(place.pid) / 2**20)
    await asyncio.gather(*clients)
    return memory, counts


def soak(contestant: Contestant, provider: int, args: argparse.Namespace) -> None:
    """Memory in tenths of the time. It must not grow by more than a twentieth from the third tenth to the last."""
    with launched(contestant, provider, "file") as (place, _):
        memory, counts = uvloop.run(soaked(place, args.seconds))
    tenth = max(1, len(memory) // 10)
    tenths = [statistics.mean(memory[start : start + tenth]) for start in range(0, tenth * 10, tenth) if memory[start:]]
    say(f"{counts}; MiB in tenths of {args.seconds:.0f} s: {', '.join(f'{value:.1f}' for value in tenths)}")
    if counts["failed"] or tenths[-1] > tenths[min(2, len(tenths) - 1)] * 1.05:
        raise SystemExit("requests failed, or memory grew")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["workers", "idle", "soak"])
    parser.add_argument("--only", default="gateway", choices=[contestant.name for contestant in CONTESTANTS])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    args.seconds = args.seconds or (600.0 if args.what == "soak" else 4.0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if args.what != "workers":
        os.sched_setaffinity(0, OTHERS)
    contestant = next(contestant for contestant in CONTESTANTS if contestant.name == args.only)
    with mock() as provider:
        {"workers": workers, "idle": idle, "soak": soak}[args.what](contestant, provider, args)


if __name__ == "__main__":
    main()
