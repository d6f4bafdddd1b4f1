"""A reader of 1 KB/s on an endless stream: what it costs a worker, and whether the provider is made to wait.

    python tests/bench/slow_reader.py --seconds 60

Without a session, and with one. The provider's idle limit is 1 s: it must not run out while the client is the slow one.
"""

import argparse
import asyncio
import json
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import Running, running

RATE = 1024
"""Bytes a second that the client takes."""
MAX_BYTES = 65536
"""What a session may hold here."""

CONFIG = """
server: {{port: PORT, shutdown_grace: 1s}}
sessions: {{max_bytes: {most}, file: {{directory: "{directory}"}}}}
providers: {{p: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", keys: [k], timeouts: {{idle: 1s}}}}}}
models: {{m: {{targets: [{{provider: p, model: up}}]}}}}
"""


class Endless:
    """A provider whose streams have no end. `sent` counts bytes that were taken, `gone` the clients that left."""

    def __init__(self) -> None:
        self.sent = self.gone = self.port = 0
        self.left = asyncio.Event()
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "up"}
        choices = [{"index": 0, "delta": {"content": "word " * 200}, "finish_reason": None}]
        event = b"data: " + json.dumps({**chunk, "choices": choices}).encode() + b"\n\n"
        self._piece = b"%x\r\n%b\r\n" % (len(event), event)

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(head)
            while True:
                writer.write(self._piece)
                await writer.drain()
                self.sent += len(self._piece)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.gone += 1
            self.left.set()
        finally:
            writer.close()


class Result(dict[str, float]):
    """`grown`: bytes more in the worker; `sent`: bytes that the provider got rid of in the second half; `read`.

    `cut` is 1 if the gateway left the provider.
    """


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@contextmanager
def asking(gateway: Running, session: str) -> Iterator[socket.socket]:
    """A connection with a small buffer that has asked for a stream."""
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "go on"}]})
    header = f"x-session-id: {session}\r\n" if session else ""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n{header}content-length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body.encode())
        client.settimeout(0)
        yield client


async def watch(gateway: Running, endless: Endless, seconds: float, session: str) -> Result:
    """Read slowly, for so long."""
    loop = asyncio.get_running_loop()
    with asking(gateway, "") as first:  # what a first request costs is not the slow reader's
        await loop.sock_recv(first, RATE)
    await endless.left.wait()
    before, read, half = resident(gateway.process.pid), 0, 0
    most = before
    with asking(gateway, session) as client:
        started = time.monotonic()
        while (passed := time.monotonic() - started) < seconds:
            piece = await loop.sock_recv(client, RATE)
            assert piece, "the gateway closed the stream"
            read += len(piece)
            most = max(most, resident(gateway.process.pid))
            if passed > seconds / 2 and not half:
                half = endless.sent
            await asyncio.sleep(1)
        return Result(grown=most - before, sent=endless.sent - half, read=read, cut=endless.gone - 1)


async def measure(seconds: float, session: str = "") -> Result:
    """A gateway and a provider of their own, and one slow reader."""
    endless = Endless()
    server = await endless.start()
    with tempfile.TemporaryDirectory() as folder:
        config = CONFIG.format(most=MAX_BYTES, directory=folder, port=endless.port)
        with running(config) as gateway:
            try:
                return await watch(gateway, endless, seconds, session)
            finally:
                server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="What a slow reader costs.")
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    for session in ("", "s"):
        found = asyncio.run(measure(args.seconds, session))
        cut = "cut" if found.pop("cut") else "not cut"
        about = ", ".join(f"{name} {value / 1024:,.0f} KiB" for name, value in found.items())
        print(f"{'with' if session else 'without'} a session, {args.seconds:.0f} s: {about}, {cut}")  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
