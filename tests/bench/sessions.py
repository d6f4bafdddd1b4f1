"""What finding sessions costs among many: seeds a Redis of its own, and measures the management API on it.

python -m tests.bench.sessions [--keep DIRECTORY] 1000 1000000

Redis' slow log tells how long a command took, the time in which the server waited for a core included: on a shared
machine that is any time at all. So here each command is sent alone, and what the kernel counted for the server's
thread in between is its cost: CPU time, in nanoseconds, with reading the command and writing the reply (Linux). That
counts what the server does by itself in between, too, such as looking for expired keys. Both can only be too long, so
of a command that seems to take more than a millisecond the shorter one is believed.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx
import redis
from prometheus_client import CollectorRegistry

from gateway.app import create_app
from gateway.config import parse
from gateway.conversation import Origin, Said
from gateway.sessions import codec
from gateway.sessions.redis.index import Index
from gateway.sessions.redis.lanes import Lanes
from gateway.sessions.store import Mark, Pin, SessionKey, Turn
from tests import servers

LIMIT = 5000
"""Microseconds that no command may keep Redis for."""

LOGGED = 1000
"""Microseconds from which Redis' slow log is asked."""

OWNERS = 100
RARE = 100_000
"""One session of so many is pinned to the rare provider."""

_BATCH = 2000
_RUNS = 30
_SAID = Said("openai_chat", (b'{"role":"user","content":"' + b"What became of my order? " * 8 + b'"}',))


def seed(client: "redis.Redis[bytes]", count: int, prefix: str) -> None:
    """So many sessions of a hundred owners with a turn each, one every 50 ms, the newest last."""
    index = Index(None, prefix)  # type: ignore[arg-type] # names only
    now = int(time.time() * 1000)
    common, rare = (codec.encode(Pin(name, f"{name}-1")) for name in ("chat", "rare"))
    last = codec.encode(Origin("chat", "up-chat"))
    turn, mark = codec.encode_turn(Turn(question=_SAID, reply=_SAID), Mark(b"q" * 16, b"r" * 16))
    pipe = client.pipeline(transaction=False)
    for number in range(count):
        key = SessionKey(f"owner-{number % OWNERS}", "", f"session-{number}")
        used = now - (count - number) * 50
        fields: dict[str, Any] = {
            "v": 1, "gen": "g", "rev": 1, "first": 1, "next": 2, "size": len(turn), "created": used, "updated": used,
            "owner": key.owner, "user": "", "id": key.id, "last": last,
            "turns": 1, "messages": 2, "input": 10, "output": 5, "cached": 0, "written": 0, "reasoning": 0,
            "cost": "0.1", "pin": rare if number % RARE == 7 else common,
            "t:1": turn, "d:1": b"%013d\x01e" % used + mark, "x:e": 1,
        }  # fmt: skip
        name = index.key_of(key.tag)
        pipe.hset(name, mapping=fields)
        pipe.pexpireat(name, now + 7 * 86_400_000)
        for found in index._names(key):
            pipe.zadd(found, {key.tag: used})
        if number % _BATCH == _BATCH - 1:
            pipe.execute()
    pipe.execute()


@asynccontextmanager
async def managed(url: str, prefix: str) -> AsyncIterator[httpx.AsyncClient]:
    config = parse(
        "management: {key: the-key}\n"
        'providers: {chat: {kind: openai, base_url: "http://chat/v1", keys: [k]}}\n'
        "models: {gpt: {targets: [{provider: chat, model: up-chat}]}}\n"
        f"sessions: {{store: redis, redis: {{url: '{url}', prefix: '{prefix}', timeout: 10s}}}}",
        {},
    )
    app = create_app(config, registry=CollectorRegistry(), finished=lambda _: None)
    headers = {"Authorization": "Bearer the-key"}
    transport = httpx.ASGITransport(app)
    base = "http://127.0.0.1/v0/management"
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=base, headers=headers) as client:
        yield client


class Step(NamedTuple):
    """What one request costs: milliseconds as its client sees it, and microseconds of Redis' CPU."""

    name: str
    median: float
    worst: float
    used: float
    commands: int
    longest: float
    command: str

    def __str__(self) -> str:
        return (
            f"{self.name:<16} {self.median:7.1f} ms median {self.worst:7.1f} ms worst   Redis:"
            f"{self.used / 1000:7.2f} ms of CPU for {self.commands:>4} commands, the longest {self.longest:>5.0f} us"
            f" ({self.command})"
        )


class Server:
    """The Redis that is measured."""

    def __init__(self, process: servers.Process) -> None:
        self.client = redis.Redis.from_url(process.url, socket_timeout=None)
        self._schedule = Path(f"/proc/{process.process.pid}/schedstat")
        self._alone = asyncio.Lock()
        self._logged = -1
        self.client.config_set("slowlog-log-slower-than", LOGGED)
        self.commands: list[tuple[float, str]] = []

    def used(self) -> float:
        """Microseconds of CPU that its main thread has used."""
        return int(self._schedule.read_text().split()[0]) / 1000

    def _told(self, used: float) -> float:
        """What the slow log says of the last command, in microseconds, at least LOGGED."""
        if used <= LOGGED:
            return used
        newest = [(entry["id"], entry["duration"]) for entry in self.client.slowlog_get(1)]
        fresh = [duration for number, duration in newest if number > self._logged]
        self._logged = max([self._logged, *(number for number, _ in newest)])
        return max([LOGGED, *fresh])

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Send each command alone, and remember what it used."""
        call = Lanes.call

        async def watched(lanes: Lanes, packed: bytes, *args: Any, **named: Any) -> Any:
            async with self._alone:
                before = self.used()
                reply = await call(lanes, packed, *args, **named)
                used = self.used() - before
                self.commands.append((min(used, self._told(used)), packed.split(b"\r\n")[2].decode()))
                return reply

        self.commands.clear()
        with patch.object(Lanes, "call", watched):
            yield


async def taken(server: Server, name: str, work: Callable[[], Awaitable[httpx.Response]]) -> Step:
    took = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        reply = await work()
        took.append((time.perf_counter() - started) * 1000)
        assert reply.status_code in (200, 201), reply.text
    with server.watching():
        for _ in range(_RUNS):
            await work()
    longest, command = max(server.commands)
    used = sum(used for used, _ in server.commands) / _RUNS
    return Step(name, statistics.median(took), max(took), used, len(server.commands) // _RUNS, longest, command)


async def measure(server: Server, url: str, prefix: str, count: int) -> list[Step]:
    numbers = iter(range(count // 2, count))
    async with managed(url, prefix) as client:

        def listing(**params: Any) -> Callable[[], Awaitable[httpx.Response]]:
            return lambda: client.get("/sessions", params={"limit": 100, **params})

        next_ = (await listing()()).json()["next"]
        steps: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
            "page of 100": listing(),
            "next page": listing(cursor=next_),
            "page of 1000": listing(limit=1000),
            "an owner's page": listing(owner="owner-7"),
            "older than": listing(older_than=30),
            "a rare provider": listing(provider="rare"),
            "read one": lambda: client.get(f"/sessions/session-{count // 3}"),
            "make one": lambda: client.post("/sessions", json={"owner": "owner-7"}),
            "delete one": lambda: client.delete(f"/sessions/session-{next(numbers)}"),
            "dry run of 2000": lambda: client.delete("/sessions", params={"owner": "owner-7", "dry_run": True}),
            "stats": lambda: client.get("/stats"),
        }
        return [await taken(server, name, step) for name, step in steps.items()]


def run(count: int, keep: Path | None) -> None:
    say, prefix = sys.stdout.write, f"bench-{count}:"
    directory = keep / str(count) if keep else None
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    with servers.one(*(("--dir", str(directory)) if directory else ()), "--loglevel", "warning") as process:
        servers.wait(lambda: not process.info("persistence")["loading"], 600)
        server = Server(process)
        if server.client.dbsize() < count:
            started = time.perf_counter()
            seed(server.client, count, prefix)
            say(f"{count:>9}  seeded in {time.perf_counter() - started:.0f} s\n")
            if directory is not None:
                server.client.save()
        steps = asyncio.run(measure(server, process.url, prefix, count))
        for step in steps:
            say(f"{count:>9}  {step}\n")
        longest = max(step.longest for step in steps)
        say(f"{count:>9}  longest command {longest:.0f} us, {'within' if longest <= LIMIT else 'BEYOND'} {LIMIT} us\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="What finding sessions costs among many.")
    parser.add_argument("counts", nargs="*", type=int, default=[1000], help="numbers of sessions")
    parser.add_argument("--keep", type=Path, help="keep what was seeded here, for the next time")
    arguments = parser.parse_args()
    for count in arguments.counts:
        run(count, arguments.keep)


if __name__ == "__main__":
    main()
