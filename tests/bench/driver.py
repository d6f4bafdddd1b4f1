"""The load: raw asyncio protocols on uvloop, which do as little as they can for each request.

Three shapes. `closed`: on each connection the next request follows the answer. `once`: one request on each
connection. `open_loop`: so many requests a second, whatever becomes of them. In each the requests that were begun are
waited for, so that the work of all of them is counted. An answer that is not a whole 200 is an error; a measurement
with errors counts for nothing.
"""

import asyncio
import gc
import random
import re
import statistics
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MARK = b"(number)"
"""As long as what comes in its place."""
LAST = b"0\r\n\r\n"
PATIENCE = 60
"""Seconds that the answers to the last requests may take."""
SPREAD = 0.25
"""Seconds over which `once` begins its requests."""


@dataclass(frozen=True)
class Request:
    """One request, sent again and again.

    With a `pool`, `numbered` is the start of a header line that a number below it ends, and MARK in the body becomes
    the number of the request, so that no two say the same.
    """

    port: int
    path: str
    headers: dict[str, str]
    body: bytes
    numbered: str = ""
    pool: int = 0

    @cached_property
    def parts(self) -> tuple[bytes, ...]:
        """The request, cut where the numbers go."""
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        before = f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}content-length: {len(self.body)}\r\n"
        if self.pool:
            return f"{before}{self.numbered}".encode(), *(b"\r\n\r\n" + self.body).split(MARK)
        return before.encode(), b"\r\n" + self.body

    def encode(self, number: int = 0) -> bytes:
        if self.pool:
            head, body, rest = self.parts
            return b"%b%d%b%08d%b" % (head, number % self.pool, body, number, rest)
        return b"".join(self.parts)


@dataclass(frozen=True)
class Outcome:
    """What came of it; latencies in milliseconds. `asked` is how many requests were sent."""

    requests: int
    errors: int
    seconds: float
    p50: float
    p99: float


class Drive:
    """One run. `number` is that of the next request."""

    def __init__(self, request: Request, number: int) -> None:
        self.request = request
        self.number = number
        self.plain = request.encode()
        self.latencies: list[float] = []
        self.errors = 0
        self.stopping = False

    def next(self) -> bytes:
        if not self.request.pool:
            return self.plain
        self.number += 1
        return self.request.encode(self.number - 1)

    def outcome(self, seconds: float) -> Outcome:
        cuts = [0.0] * 99
        if len(self.latencies) > 1:
            cuts = statistics.quantiles([latency * 1000 for latency in self.latencies], n=100)
        return Outcome(len(self.latencies), self.errors, seconds, cuts[49], cuts[98])


class Connection(asyncio.Protocol):
    """One connection. `finished` is told of each answer."""

    def __init__(self, drive: Drive, finished: Callable[["Connection"], None]) -> None:
        self.drive = drive
        self.finished = finished
        self.busy = False
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def ask(self, began: float = 0.0) -> None:
        self.busy, self.head, self.left, self.tail = True, b"", -1, b""
        self.began = began or time.perf_counter()
        self.transport.write(self.drive.next())

    def data_received(self, data: bytes) -> None:
        if not self.tail and self.left < 0:  # the head
            data = self.head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.head = data
                return
            self.drive.errors += not data.startswith(b"HTTP/1.1 200")
            length = LENGTH.search(data, 0, end + 2)
            data = data[end + 4 :]
            if length:
                self.left = int(length[1])
        if self.left >= 0:
            self.left -= len(data)
            whole = self.left <= 0
        else:
            self.tail = (self.tail + data[-5:])[-5:] or b"-"
            whole = self.tail == LAST
        if whole:
            self.busy = False
            self.drive.latencies.append(time.perf_counter() - self.began)
            self.finished(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.drive.errors += self.busy
        self.closed.set_result(None)

    def again(self) -> None:
        """Ask the next, unless it is over."""
        if self.drive.stopping:
            self.transport.close()
        else:
            self.ask()


async def opened(
    drive: Drive, count: int, finished: Callable[[Connection], None] = Connection.again
) -> list[Connection]:
    loop = asyncio.get_running_loop()
    port = drive.request.port
    return [
        (await loop.create_connection(lambda: Connection(drive, finished), "127.0.0.1", port))[1] for _ in range(count)
    ]


async def all_closed(connections: list[Connection], patience: float = PATIENCE) -> None:
    """Wait for the last answers; those that do not come are errors."""
    await asyncio.wait([connection.closed for connection in connections], timeout=patience)
    for connection in connections:
        connection.transport.abort()
    await asyncio.wait([connection.closed for connection in connections])


async def closed(request: Request, connections: int, seconds: float, number: int = 0) -> Outcome:
    """Keep so many connections busy for so long. `number` is that of the first request."""
    drive = Drive(request, number)
    made = await opened(drive, connections)
    began = time.perf_counter()
    for connection in made:
        connection.ask()
    await asyncio.wait([connection.closed for connection in made], timeout=seconds)
    drive.stopping = True
    await all_closed(made)
    return drive.outcome(time.perf_counter() - began)


async def once(request: Request, connections: int, number: int = 0) -> Outcome:
    """One request on each connection, begun at moments of their own."""
    drive = Drive(request, number)
    drive.stopping = True
    made = await opened(drive, connections)
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    for connection in made:
        loop.call_later(random.random() * SPREAD, connection.ask)
    await all_closed(made)
    return drive.outcome(time.perf_counter() - began)


async def open_loop(request: Request, rate: float, seconds: float, connections: int = 64) -> Outcome:
    """So many requests a second. One that finds no free connection waits for it, and its latency includes the wait."""
    drive, waiting = Drive(request, 0), list[float]()

    def finished(connection: Connection) -> None:
        if waiting:
            connection.ask(waiting.pop(0))
        elif drive.stopping:
            connection.transport.close()
        else:
            free.append(connection)

    made = await opened(drive, connections, finished)
    free = list(made)
    began, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        while sent < passed * rate:
            sent += 1
            if free:
                free.pop().ask()
            else:
                waiting.append(time.perf_counter())
        await asyncio.sleep(0.001)
    elapsed = time.perf_counter() - began
    drive.stopping = True
    for connection in free:
        connection.transport.close()
    await all_closed(made)
    return drive.outcome(elapsed)


def run(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run one of the above in this process, undisturbed by its garbage collection."""
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(work)
    finally:
        gc.enable()
