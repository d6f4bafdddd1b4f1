"""Two processes, one session: every turn is whole, numbered without a gap, and stored once."""

import asyncio
import sys
from collections import Counter

from gateway.sessions.redis.store import RedisStore
from tests.contract.making import KEY, first, loaded
from tests.servers import Process

WRITER = """
import asyncio, sys
from gateway.config import RedisSessions
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.redis.connect import connect
from tests.contract.making import KEY, first

async def main(url, prefix, who):
    store = RedisStore(connect(RedisSessions(url=url)), prefix=prefix, timeout=10)
    print("ready", flush=True)
    sys.stdin.readline()
    appends = [first(f"{who}-{n}" + "x" * 2000, token=f"{who}-{n}") for n in range(100)]
    got = await asyncio.gather(*(store.append(KEY, append) for append in appends))
    again = await asyncio.gather(*(store.append(KEY, append) for append in appends))
    assert [a.number for a in got] == [a.number for a in again] and all(a.again for a in again)
    await store.close()
    print(*(a.number for a in got), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_hundred_appends_from_two_processes(redis_server: Process, store: RedisStore) -> None:
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, redis_server.url, store._prefix, who,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for who in ("left", "right")
    ]  # fmt: skip
    numbers: list[int] = []
    for writer in writers:
        assert await writer.stdout.readline() == b"ready\n"
    for writer in writers:
        writer.stdin.write(b"go\n")
    for writer in writers:
        out, _ = await writer.communicate()
        assert writer.returncode == 0
        numbers += map(int, out.split())
    assert sorted(numbers) == list(range(1, 201))
    session = await loaded(store)
    assert (session.head.first, session.head.next, session.head.totals.turns) == (1, 201, 200)
    said = Counter(session.turns[n].question.messages[0].rstrip(b'x"').lstrip(b'"') for n in session.turns)
    assert said == Counter(f"{who}-{n}".encode() for who in ("left", "right") for n in range(100))
    assert len({session.turns[n].reply.messages for n in session.turns}) == 1 or all(
        session.turns[n].reply.messages[1] == session.turns[n].question.messages[0] for n in session.turns
    )
    assert (await store.append(KEY, first())).number == 201
