"""What sessions cost Redis, for docs/scaling.md: `make sizing`.

A real gateway with a real Redis (AOF, everysec); sessions of questions and answers of 1,000 letters each, by turns. The
server's own counters tell its memory, its CPU time and its traffic.
"""

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from typing import Any

import httpx
import redis

from tests.processes import provider, running
from tests.scripted import Say
from tests.servers import Servers, binary, wait

CONFIG = """
server: {host: 127.0.0.1, port: PORT}
auth: {mode: none}
sessions: {store: redis, redis: {url: "%s", timeout: 5s}}
providers: {p: {kind: openai, base_url: "%s/v1", keys: [k]}}
models: {m: {targets: [{provider: p, model: m}]}}
"""
SESSIONS, AT_ONCE = 200, 8
ROUNDS = (5, 10, 20, 40)
LETTERS = 1000


def words(seed: int) -> str:
    """A text that does not repeat itself as a constant would."""
    return " ".join(str(seed * 7919 + step * 104729) for step in range(LETTERS))[:LETTERS]


async def talk(url: str, start: int, until: int) -> None:
    """Turns `start` to `until` of every session."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def session(client: httpx.AsyncClient, number: int) -> None:
        async with limit:
            for turn in range(start, until):
                body = {"model": "m", "messages": [{"role": "user", "content": words(number * 1000 + turn)}]}
                answer = await client.post("/v1/chat/completions", json=body, headers={"x-session-id": f"s{number}"})
                assert answer.headers["x-session-turn"] == str(turn + 1), answer.text

    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        await asyncio.gather(*(session(client, number) for number in range(SESSIONS)))


def told(client: "redis.Redis[bytes]") -> dict[str, Any]:
    """The server's counters."""
    return client.info("all")


def main() -> int:
    """Print the table."""
    with ExitStack() as stack, tempfile.TemporaryDirectory():
        store = Servers(stack, binary() or "redis-server").start("--appendonly", "yes", "--appendfsync", "everysec")
        wait(store.ready)
        client = redis.Redis(port=store.port)
        stack.callback(client.close)
        _, url = stack.enter_context(provider(lambda seen: Say(words(len(seen.raw)))))
        gateway = stack.enter_context(running(CONFIG % (store.url, url)))
        empty, done = told(client)["used_memory"], 0
        sys.stdout.write(
            "| turns | bytes a session | Redis CPU a turn | in and out a turn |\n| --- | --- | --- | --- |\n"
        )
        for turns in ROUNDS:
            before = told(client)
            asyncio.run(talk(gateway.url, done, turns))
            after = told(client)
            count = SESSIONS * (turns - done)
            done = turns
            spent = sum(after[f"used_cpu_{kind}"] - before[f"used_cpu_{kind}"] for kind in ("user", "sys"))
            into, out = (
                (after[f"total_net_{way}_bytes"] - before[f"total_net_{way}_bytes"]) / count
                for way in ("input", "output")
            )
            held = (after["used_memory"] - empty) / SESSIONS
            sys.stdout.write(f"| {turns} | {held:,.0f} | {spent / count * 1e6:.0f} us | {into:,.0f}, {out:,.0f} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
