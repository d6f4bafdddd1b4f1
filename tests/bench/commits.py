"""Costs of a commit at turn 10 and at turn 1,000, of reads, and of a session in Redis: `python tests/bench/commits.py`.

Runs at the two lengths are interleaved; between them the session is brought back to its length, unmeasured.
"""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any
from uuid import uuid4

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from msgspec.structs import replace

from gateway.config import RedisSessions
from gateway.conversation import Said
from gateway.sessions.file.store import FileStore
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import Append, Patch, Session, SessionKey, SessionStore
from tests.contract.making import LIMITS, ORIGIN, first, turn
from tests.servers import Process, one

LENGTHS = (10, 1000)
RUNS = 400
LIMITS_ = replace(LIMITS, max_turns=100_000, max_bytes=1 << 30)
ENGLISH = ("The quick brown fox jumps over the lazy dog, and nobody knows why it should. " * 30)[:2000]


def chat(text: str = ENGLISH) -> Append:
    """A turn of 2 x 2,000 bytes, with a system prompt as nearly every client sends it."""
    asked = Said("openai-chat", (b'{"role":"user","content":"%s"}' % text.encode(),))
    said = Said("openai-chat", (b'{"role":"assistant","content":"%s"}' % text.encode(),), ORIGIN)
    system = Said("openai-chat", (b'{"role":"system","content":"You are of help."}',))
    return replace(
        first(token=str(uuid4()), limits=LIMITS_, system=system), turn=replace(turn(), question=asked, reply=said)
    )


async def grown(store: SessionStore, key: SessionKey, length: int) -> Session:
    """The session's newest turn, when it has so many."""
    session = await store.load(key, turns=1, marks=False, keep=0)
    count = session.head.next - 1 if session else 0
    while count < length:
        await store.append(key, replace(chat(), generation=session.head.generation if session else None))
        session, count = session or await store.load(key, turns=1, marks=False, keep=0), count + 1
    if count > length:
        await store.patch(key, Patch(drop_last=count - length))
    session = await store.load(key, turns=1, marks=False, keep=0)
    assert session is not None
    return session


async def times(store: SessionStore, keys: dict[int, SessionKey]) -> dict[int, float]:
    """Median microseconds of the append that makes turn `length`."""
    took: dict[int, list[float]] = {length: [] for length in keys}
    for _ in range(RUNS):
        for length, key in keys.items():
            session = await grown(store, key, length - 1)
            append = replace(chat(), generation=session.head.generation, revision=session.head.revision)
            began = perf_counter()
            await store.append(key, append)
            took[length].append(perf_counter() - began)
    return {length: median(values) * 1e6 for length, values in took.items()}


async def compare(name: str, store: SessionStore) -> None:
    short, long = (await times(store, {n: SessionKey("acme", "", f"{name}-{n}") for n in LENGTHS})).values()
    line = f"| {name} | {short:.0f} | {long:.0f} | {100 * (long / short - 1):+.1f} % |\n"
    sys.stdout.write(line)


async def cpu(name: str, store: SessionStore) -> None:
    """Microseconds of this process's CPU for a call, the best of nine rounds: reads of sessions of three lengths."""
    sys.stdout.write(
        f"\n| {name}, CPU of a call, microseconds | 20 turns | 200 | 1,000 |\n| --- | ---: | ---: | ---: |\n"
    )
    sessions = [await grown(store, SessionKey("acme", "", f"{name}-cpu-{n}"), n) for n in (20, 200, 1000)]
    for what, read in (
        ("the newest 20", {"turns": 20, "marks": False}),
        ("the newest 200", {"turns": 200, "marks": False}),
        ("all marks", {"turns": 0, "marks": True}),
        ("ten in the middle", None),
        ("the newest 200, all but one known", {"turns": 200, "marks": False, "known": True}),
    ):
        took = [await best(store, session, read) for session in sessions]
        sys.stdout.write(f"| {what} | {' | '.join(f'{one:.0f}' for one in took)} |\n")


async def best(store: SessionStore, session: Session, read: dict[str, Any] | None) -> float:
    """The same of one call for one session."""
    key, middle, took = session.head.key, session.head.next // 2, []
    for _ in range(9):
        known = None
        if read is not None and read.get("known"):
            known = await store.load(key, keep=0, **{**read, "known": None})
            await store.append(key, replace(chat(), generation=session.head.generation))
        rounds = 1 if known else 40
        began = process_time()
        for _ in range(rounds):
            if read is None:
                await store.turns(key, first=middle, count=10)
            else:
                await store.load(key, keep=0, **{**read, "known": known})
        took.append((process_time() - began) / rounds * 1e6)
    return min(took)


async def memory(store: SessionStore, server: Process) -> None:
    """What sessions of 1, 10, 100 and 1,000 turns take in Redis, its index included."""
    sys.stdout.write(
        "\n| turns | bytes of turns | Redis memory | per stored kB | beyond the turns |\n| ---: "
        + "| ---: " * 4
        + "|\n"
    )
    for turns, sessions in ((1, 400), (10, 100), (100, 20), (1000, 4)):
        server.ask("FLUSHALL", "SYNC")
        before = int(server.info("memory")["used_memory"])
        for n in range(sessions):
            await grown(store, SessionKey("acme", "", f"s{n}"), turns)
        await store.count()
        used = (int(server.info("memory")["used_memory"]) - before) / sessions
        session = await grown(store, SessionKey("acme", "", "s0"), turns)
        size = session.head.size
        sys.stdout.write(f"| {turns:,} | {size:,} | {used:,.0f} | {used / (size / 1024):,.0f} | {used - size:,.0f} |\n")


async def main() -> None:
    sys.stdout.write("| append, microseconds | turn 10 | turn 1,000 | difference |\n| --- | ---: | ---: | ---: |\n")
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        files = FileStore(f"{folder}/sessions")
        await compare("files", files)
        server = stack.enter_context(one())
        redis = RedisStore(connect(RedisSessions(url=server.url)), timeout=20.0)
        await compare("Redis", redis)
        for name, store in (("files", files), ("Redis", redis)):
            await cpu(name, store)
        await files.close()
        await memory(redis, server)
        await redis.close()


if __name__ == "__main__":
    asyncio.run(main())
