"""What finding sessions costs among many: seeds a Redis of its own, and measures the management API on it.

python -m tests.bench.sessions 1000 1000000
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import redis
from prometheus_client import CollectorRegistry

from gateway.app import create_app
from gateway.config import parse
from gateway.conversation import Origin
from gateway.sessions import codec
from gateway.sessions.redis_index import Index
from gateway.sessions.store import Pin, SessionKey
from tests import servers

SLOW = 5000
"""Microseconds that no command may keep Redis for."""

_BATCH = 2000
_RUNS = 30


def seed(client: "redis.Redis[bytes]", count: int, prefix: str) -> None:
    """So many sessions of a hundred owners, one second apart, the newest last. One in 100,000 is pinned elsewhere."""
    index = Index(None, prefix)  # type: ignore[arg-type] # names only
    now = int(time.time() * 1000)
    common, rare = (codec.encode(Pin(name, f"{name}-1")) for name in ("chat", "rare"))
    last = codec.encode(Origin("chat", "up-chat"))
    pipe = client.pipeline(transaction=False)
    for number in range(count):
        key = SessionKey(f"owner-{number % 100}", "", f"session-{number}")
        used = now - (count - number) * 50
        fields: dict[str, Any] = {
            "v": 1, "gen": "g", "rev": 1, "first": 1, "next": 1, "size": 0, "created": used, "updated": used,
            "owner": key.owner, "user": "", "id": key.id, "last": last,
            "turns": 1, "messages": 2, "input": 10, "output": 5, "cached": 0, "written": 0, "reasoning": 0,
            "cost": "0.1", "pin": rare if number % 100_000 == 7 else common,
        }  # fmt: skip
        name = index.key_of(key.tag)
        pipe.hset(name, mapping=fields)
        pipe.pexpireat(name, now + 86_400_000)
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


async def timed(work: Callable[[], Awaitable[httpx.Response]]) -> tuple[float, float]:
    """Median and worst, in milliseconds."""
    took = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        reply = await work()
        took.append((time.perf_counter() - started) * 1000)
        assert reply.status_code == 200, reply.text
    return statistics.median(took), max(took)


async def measure(url: str, prefix: str, count: int) -> None:
    numbers = iter(range(count // 2, count))
    async with managed(url, prefix) as client:
        next_ = (await client.get("/sessions", params={"limit": 100})).json()["next"]
        steps: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
            "page of 100": lambda: client.get("/sessions", params={"limit": 100}),
            "next page": lambda: client.get("/sessions", params={"limit": 100, "cursor": next_}),
            "an owner's page": lambda: client.get("/sessions", params={"limit": 100, "owner": "owner-7"}),
            "older than": lambda: client.get("/sessions", params={"limit": 100, "older_than": 30}),
            "a rare provider": lambda: client.get("/sessions", params={"limit": 100, "provider": "rare"}),
            "read one": lambda: client.get(f"/sessions/session-{count // 3}"),
            "delete one": lambda: client.delete(f"/sessions/session-{next(numbers)}"),
            "stats": lambda: client.get("/stats"),
        }
        for name, step in steps.items():
            median, worst = await timed(step)
            sys.stdout.write(f"{count:>9}  {name:<16} {median:8.2f} ms median {worst:8.2f} ms worst\n")


def main() -> None:
    for count in map(int, sys.argv[1:] or ["1000"]):
        with servers.any_url() as url:
            client = redis.Redis.from_url(url)
            prefix = f"bench-{count}:"
            started = time.perf_counter()
            seed(client, count, prefix)
            sys.stdout.write(f"{count:>9}  seeded in {time.perf_counter() - started:.0f} s\n")
            client.config_set("slowlog-log-slower-than", SLOW)
            client.slowlog_reset()
            client.config_resetstat()
            asyncio.run(measure(url, prefix, count))
            means = {
                name.removeprefix("cmdstat_"): stat["usec_per_call"]
                for name, stat in client.info("commandstats").items()
                if name in ("cmdstat_zrange", "cmdstat_zcount", "cmdstat_evalsha", "cmdstat_hmget", "cmdstat_zrem")
            }
            sys.stdout.write(f"{count:>9}  mean microseconds in Redis: {means}\n")
            slow = [(entry["command"][:60], entry["duration"]) for entry in client.slowlog_get()]
            sys.stdout.write(f"{count:>9}  commands that took Redis longer than {SLOW} us: {slow or 'none'}\n")
            client.flushall(asynchronous=True)


if __name__ == "__main__":
    main()
