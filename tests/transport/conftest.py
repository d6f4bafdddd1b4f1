"""Loopback servers that say exactly what a test tells them to, on both event loops."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest
import uvloop

from gateway.transport import Endpoint, Transport

Script = Callable[["Peer"], Awaitable[None]]


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass
class Peer:
    """One accepted connection, for a script."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    requests: list[bytes] = field(default_factory=list)

    async def request(self) -> bytes:
        """The next request, whole. Raises IncompleteReadError if there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next((int(v) for k, _, v in self._lines(head) if k == b"content-length"), 0)
        self.requests.append(head + await self.reader.readexactly(length))
        return self.requests[-1]

    def _lines(self, head: bytes):
        return (line.lower().partition(b":") for line in head.split(b"\r\n")[1:])

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a segment of its own, as far as that can be had."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.002 if len(pieces) > 1 else 0)

    async def answer(self, body: bytes = b"ok", head: bytes = b"") -> None:
        await self.send(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))

    def reset(self) -> None:
        """Close with RST, not FIN."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def gone(self) -> bool:
        """Wait until the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        return True


@dataclass
class Server:
    """A listening server: who was accepted, and the numbers of those whose script has ended."""

    port: int
    scheme: str = "http"
    peers: list[Peer] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)

    @property
    def connections(self) -> int:
        return len(self.peers)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1/chat"

    def endpoint(self, **options) -> Endpoint:
        return Endpoint(self.url, **options)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """`await serve(script)`: every connection runs the script, then is closed."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(script: Script, **options) -> Server:
            server = Server(0, "https" if "ssl" in options else "http")
            tasks = set()

            async def accept(reader, writer):
                tasks.add(asyncio.current_task())
                peer = Peer(reader, writer, server.connections + 1)
                server.peers.append(peer)
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await script(peer)
                server.finished.append(peer.number)
                writer.close()

            listener = await asyncio.start_server(accept, "127.0.0.1", 0, **options)
            server.port = listener.sockets[0].getsockname()[1]

            async def stop():
                listener.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

            stack.push_async_callback(stop)
            return server

        yield start


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport() as made:
        yield made


async def fetch(transport: Transport, request: httpx.Request) -> bytes:
    """The whole body, read as the gateway reads it: straight from the stream."""
    response = await transport.handle_async_request(request)
    return b"".join([piece async for piece in response.stream])


def answering(*pieces: bytes) -> Script:
    """A script: read a request, send these pieces, close."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    return script


async def keeping(peer: Peer) -> None:
    """A script: a well-behaved server."""
    while True:
        await peer.request()
        await peer.answer()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so. Raises AssertionError after five seconds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about")


PIECES = [
    (b"short", b"and", b"sweet"),
    (b"",),
    tuple(bytes([65 + n % 26]) * size for n, size in enumerate((1, 5000, 0, 70_000, 300_000, 3))),
    b"z" * 5000,
    b"y" * 3_000_000,
]
"""Bodies of which some are written in pieces, and some more than once."""


def whole(body: bytes | tuple[bytes, ...]) -> bytes:
    return b"".join(body) if isinstance(body, tuple) else body
