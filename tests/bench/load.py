"""The load: wrk where it is installed, else a driver of our own on raw asyncio protocols.

Requests follow each other on each connection without a pause (a closed loop), so latency is that of a gateway under
load. An answer that is not a 200 is an error; a measurement with errors counts for nothing.
"""

import asyncio
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Request:
    """One request, sent again and again."""

    port: int
    path: str
    headers: dict[str, str]
    body: bytes

    def encode(self) -> bytes:
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}content-length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body


@dataclass(frozen=True)
class Load:
    """What came of it; latencies in milliseconds."""

    requests: int
    errors: int
    seconds: float
    p50: float
    p99: float


def run(request: Request, connections: int, seconds: float) -> Load:
    """Keep `connections` connections busy for so long."""
    if shutil.which("wrk"):
        return run_wrk(request, connections, seconds)
    return uvloop.run(run_own(request, connections, seconds))


def run_wrk(request: Request, connections: int, seconds: float) -> Load:
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{request.body.decode()}]==]"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in request.headers.items()]
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "post.lua"
        script.write_text("\n".join(lines))
        url = f"http://127.0.0.1:{request.port}{request.path}"
        options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "--latency"]
        command = ["wrk", *options, "-s", str(script), url]
        return read_wrk(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def read_wrk(report: str) -> Load:
    total, elapsed, unit = re.search(r"(\d+) requests in ([\d.]+)(s|m)", report).groups()
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    errors = (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0)
    seconds = float(elapsed) * (60 if unit == "m" else 1)
    p50, p99 = (float(value) * UNITS[unit] for value, unit in re.findall(r"(?:50|99)%\s+([\d.]+)(us|ms|s)\b", report))
    return Load(int(total), errors, seconds, p50, p99)


class Client(asyncio.Protocol):
    """One connection of the driver."""

    def __init__(self, request: bytes, latencies: list[float]) -> None:
        self.request = request
        self.latencies = latencies
        self.errors = 0
        self.rest = b""
        self.stopped = False
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if self.stopped:
            self.transport.close()
            return
        self.rest = b""
        self.began = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.rest += data
        if complete(self.rest):
            self.latencies.append(time.perf_counter() - self.began)
            self.errors += not self.rest.startswith(b"HTTP/1.1 200")
            self.ask()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.errors += not self.stopped
        self.done.set_result(None)


def complete(answer: bytes) -> bool:
    """Whether this is a whole response: chunked, or of a length it tells."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = re.search(rb"\r\ncontent-length: *(\d+)", answer[: end + 2], re.IGNORECASE)
    if length:
        return len(answer) >= end + 4 + int(length[1])
    return answer.endswith(b"\r\n0\r\n\r\n")


async def run_own(request: Request, connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    data = request.encode()
    made = [
        await loop.create_connection(lambda: Client(data, latencies), "127.0.0.1", request.port)
        for _ in range(connections)
    ]
    clients = [client for _, client in made]
    began = time.perf_counter()
    await asyncio.wait([client.done for client in clients], timeout=seconds)
    elapsed = time.perf_counter() - began
    for client in clients:
        client.stopped = True
        client.transport.abort()
    cuts = statistics.quantiles([latency * 1000 for latency in latencies], n=100)
    return Load(len(latencies), sum(client.errors for client in clients), elapsed, cuts[49], cuts[98])
