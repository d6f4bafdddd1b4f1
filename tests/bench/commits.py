"""Costs of a commit at turn 10 and at turn 1,000, and what a session takes in memory: `python tests/bench/commits.py`.

Runs at the two lengths are interleaved; between them the session is brought back to its length, unmeasured.
"""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
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
        await files.close()
        server = stack.enter_context(one())
        redis = RedisStore(connect(RedisSessions(url=server.url)), timeout=20.0)
        await compare("Redis", redis)
        await memory(redis, server)
        await redis.close()


if __name__ == "__main__":
    asyncio.run(main())
