"""A provider on a real socket that fails in every way there is: the first part of a path names the way.

It speaks Chat Completions, with as much HTTP as it needs, so that nothing below it can put a fault right.
"""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

WORDS = ("one ", "two ", "three ", "four")
STATUSES = {
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 429: "Too Many Requests",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 529: "Overloaded",
}  # fmt: skip
FOR_EVER = 3600.0

Write = Callable[[bytes], Awaitable[None]]


def frame(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def stream() -> list[bytes]:
    frames = [frame({"role": "assistant", "content": ""}), *(frame({"content": word}) for word in WORDS)]
    return [*frames, frame({}, "stop"), b"data: [DONE]\n\n"]


def whole() -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "up", "choices": [choice], "usage": usage}
    return json.dumps(answer).encode()


def head(kind: str, status: str = "200 OK", *, length: int | None = None, more: str = "") -> bytes:
    size = f"content-length: {length}\r\n" if length is not None else "transfer-encoding: chunked\r\n"
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{size}{more}\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def reset(writer: asyncio.StreamWriter) -> None:
    """End with RST, not with FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Provider:
    """Notes when each way was asked for; `retry_after` is what its 429 says."""

    def __init__(self, retry_after: float = 2) -> None:
        self.seen: dict[str, list[float]] = {}
        self.retry_after = retry_after
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                fault, streamed = await self._asked(reader)
                self.seen.setdefault(fault, []).append(monotonic())
                if not await self._answer(fault, writer, streamed=streamed):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def _asked(reader: asyncio.StreamReader) -> tuple[str, bool]:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        length = next(int(line[15:]) for line in lines if line.lower().startswith("content-length:"))
        body = json.loads(await reader.readexactly(length))
        return lines[0].split("/")[1], bool(body.get("stream"))

    async def _answer(self, fault: str, writer: asyncio.StreamWriter, *, streamed: bool) -> bool:
        """Whether the connection can be used again."""

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        if fault.isdecimal():
            more = f"retry-after: {self.retry_after:g}\r\n" if fault == "429" else ""
            body = json.dumps({"error": {"message": f"scripted {fault}", "type": "scripted"}}).encode()
            await write(head("application/json", f"{fault} {STATUSES[int(fault)]}", length=len(body), more=more) + body)
            return True
        if fault == "reset-before-headers":
            reset(writer)
        elif fault == "hang-before-headers":
            await asyncio.sleep(FOR_EVER)
        elif fault in BODIES:
            kind, body = BODIES[fault](streamed)
            await write(
                head(kind, length=len(body), more="content-encoding: gzip\r\n" if fault == "gzip" else "") + body
            )
            return True
        else:
            await self._midway(fault, writer, write, streamed=streamed)
        return fault == "well"

    async def _midway(self, fault: str, writer: asyncio.StreamWriter, write: Write, *, streamed: bool) -> None:
        await write(head("text/event-stream" if streamed else "application/json"))
        parts = stream() if streamed else [whole()[:40], whole()[40:]]
        if fault.endswith("mid-stream"):
            for part in parts[: 3 if streamed else 1]:
                await write(chunk(part))
        await asyncio.sleep(0.05)
        if fault.startswith("reset"):
            reset(writer)
        elif fault.startswith("hang"):
            await asyncio.sleep(FOR_EVER)
        elif fault.startswith("closed"):
            return
        elif fault == "endless":
            while True:
                await write(chunk(frame({"content": "more "}) if streamed else b" " * 65536))
                await asyncio.sleep(0.002)
        else:
            await write(b"".join(map(chunk, parts)) + b"0\r\n\r\n")


ERROR = b'{"error": {"message": "scripted overload", "type": "server_error", "code": "server_error"}}'

BODIES: dict[str, Callable[[bool], tuple[str, bytes]]] = {
    "empty-body": lambda streamed: ("text/event-stream" if streamed else "application/json", b""),
    "truncated-json": lambda streamed: (
        ("text/event-stream", frame({"content": "x"})[:30] + b"\n\n")
        if streamed
        else ("application/json", whole()[:60])
    ),
    "html": lambda _: ("text/html", b"<html><body><h1>It works!</h1></body></html>"),
    "error-in-200": lambda streamed: (
        ("text/event-stream", b"data: " + ERROR + b"\n\n") if streamed else ("application/json", ERROR)
    ),
    "gzip": lambda streamed: (
        ("text/event-stream", gzip.compress(b"".join(stream())))
        if streamed
        else ("application/json", gzip.compress(whole()))
    ),
}


@asynccontextmanager
async def misbehaving(retry_after: float = 2) -> AsyncIterator[Provider]:
    """A provider that listens on 127.0.0.1."""
    provider = Provider(retry_after)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(provider.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    provider.port = server.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def resetting() -> AsyncIterator[int]:
    """A port on which every connection is reset as soon as it is made."""

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def refusing() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
