"""Connections that commands share: each command has its time, and what waits too long ends alone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hiredis import Reader

from gateway.config import Duration, RedisSessions
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.link import Link
from gateway.sessions.redis.wire import Script, pack
from tests.servers import Process

TIMEOUT, STEP = 0.6, 0.25


class Server:
    """Answers one command after another, SLOW after a while."""

    def __init__(self) -> None:
        self.answered = 0
        self.connections: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())
        commands = Reader()
        try:
            while data := await reader.read(65536):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    if command[0] == b"SLOW":
                        await asyncio.sleep(STEP)
                    self.answered += 1
                    told = b"$%d\r\n%b\r\n" % (len(command[-1]), command[-1])
                    writer.write(b":0\r\n" if command[0] == b"WAIT" else told)
        finally:
            writer.close()

    async def end(self) -> None:
        for connection in self.connections:
            assert connection is not None
            connection.cancel()
        await asyncio.wait(self.connections)


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[tuple[Link, Server]]:
    server = Server()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        times = {"timeout": Duration(TIMEOUT), "connect_timeout": Duration(5.0)}
        link = connect(RedisSessions(url=f"redis://127.0.0.1:{port}/0", connections=1, **times, **settings))
        try:
            yield link, server
        finally:
            await link.close()
            await server.end()


async def asked(link: Link, *, durable: bool = False) -> list[tuple[object, float]]:
    """What six slow commands at once are answered, and when."""
    lanes = link.lanes.durable if durable else link.lanes  # type: ignore[attr-defined]
    began = time.monotonic()

    async def one(number: int) -> tuple[object, float]:
        try:
            return await lanes.call(pack(("SLOW", number))), time.monotonic() - began
        except TimeoutError:
            return TimeoutError, time.monotonic() - began

    return await asyncio.gather(*(one(number) for number in range(6)))


async def test_what_waits_too_long_ends_alone_and_in_time() -> None:
    async with opened() as (link, server):
        assert await link.call("key", "PING", "first") == b"first"
        answers = await asked(link)
        told = [answer for answer, _ in answers]
        assert told[0] == b"0"
        assert told[3:] == [TimeoutError] * 3
        assert all(TIMEOUT - 0.01 < took < TIMEOUT + 0.3 for answer, took in answers if answer is TimeoutError)
        answered = server.answered
        await asyncio.sleep(6 * STEP)  # all are answered, and no answer is taken for that to something else
        assert server.answered > answered
        assert await link.call("key", "PING", "last") == b"last"
        assert len(server.connections) == 1


async def test_behind_a_wait_for_replicas_each_has_its_time_too() -> None:
    async with opened(wait_replicas=1, wait_timeout=Duration(0.01)) as (link, _):
        await link.lanes.durable.call(pack(("PING", "first")))  # type: ignore[attr-defined]
        answers = await asked(link, durable=True)
        assert answers[0][0] == b"0"
        assert [answer for answer, _ in answers[3:]] == [TimeoutError] * 3
        assert all(took < TIMEOUT + 0.2 for _, took in answers)  # also of those that were sent later than asked


async def test_a_server_that_knows_no_script_is_given_it(redis_server: Process) -> None:
    link = connect(RedisSessions(url=redis_server.url, connections=1))
    try:
        for _ in range(2):
            redis_server.ask("SCRIPT", "FLUSH", "SYNC")
            assert await link.run(Script("load"), ("nothing",), "1 0 0 0 1000") is None
    finally:
        await link.close()


def test_the_same_command_with_the_script_in_it() -> None:
    script = Script("load")
    whole = pack(("EVAL", script.source, 1, "key", "EVALSHA", b"\0"))
    assert script.spelled_out(script.packed(("key",), ("EVALSHA", b"\0"))) == whole
