"""Measures gateways against an instant mock provider and prints a Markdown table.

    python tests/bench/run.py                                  # whatever is installed
    python tests/bench/run.py --only gateway nginx --seconds 10 --gap 5

Columns: CPU is microseconds of the gateway's process tree per request (the figure to compare: it does not depend on
what the load and the mock take from a small machine), then requests a second and latency in milliseconds, all for each
number of connections; cold start is from the start of the process to its first answer. `whole` is a whole reply,
`streamed` one of `--events` events, `--gap` milliseconds apart. A row with errors is marked with their number.

What to compare with, none of it needed:

    apt-get install nginx-light wrk                            # nginx; wrk makes the load instead of our own driver
    python -m venv v && v/bin/pip install 'litellm[proxy]' && ln -s $PWD/v/bin/litellm /usr/local/bin/
    npm install @portkey-ai/gateway                            # then a script `portkey-gateway` on the PATH:
                                                               # exec node .../build/start-server.js "$@"
    tensorzero-gateway: the release binary on the PATH

The machine should do nothing else. Compare only what was measured in the same run.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gateways import GATEWAYS, Gateway
from load import Load, Request, run
from processes import cpu, resident

HERE = Path(__file__).parent
MESSAGE = "Say something nice about foxes, and be brief about it please."


@dataclass(frozen=True)
class Row:
    """One measurement."""

    name: str
    kind: str
    connections: int
    cpu: float
    load: Load


def say(text: str, where: TextIO = sys.stdout) -> None:
    where.write(f"{text}\n")
    where.flush()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def answers(request: Request) -> bool:
    """Whether there is a 200 to be had."""
    try:
        with socket.create_connection(("127.0.0.1", request.port), timeout=5) as client:
            client.sendall(request.encode())
            return client.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def wait_for(request: Request, process: subprocess.Popen, log: Path) -> float:
    """Seconds until the first answer. Raises RuntimeError with the end of the log if there is none."""
    began = time.perf_counter()
    while time.perf_counter() - began < 60 and process.poll() is None:
        if answers(request):
            return time.perf_counter() - began
        time.sleep(0.01)
    raise RuntimeError(f"no answer; its log ends with:\n{log.read_text(errors='replace')[-2000:]}")


def request_for(gateway: Gateway, port: int, provider: int, *, stream: bool) -> Request:
    body = {"model": gateway.model, "messages": [{"role": "user", "content": MESSAGE}]}
    if stream:
        body["stream"] = True
    headers = {"content-type": "application/json", "authorization": "Bearer sk-test"}
    headers |= {name: value.format(provider=provider) for name, value in gateway.headers.items()}
    return Request(port, gateway.path, headers, json.dumps(body, separators=(",", ":")).encode())


def measure(gateway: Gateway, provider: int, args: argparse.Namespace) -> tuple[list[Row], str]:
    """The rows of one gateway, and a row about its start and memory."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        port, log = free_port(), Path(directory) / "log"
        command, environment = gateway.start(port, provider, Path(directory))
        with running(command, log, environment) as process:
            whole = request_for(gateway, port, provider, stream=False)
            cold = wait_for(whole, process, log)
            idle = resident(process.pid)
            for kind in args.kinds:
                request = request_for(gateway, port, provider, stream=kind == "streamed")
                for connections in args.connections:
                    run(request, connections, 1)
                    before = cpu(process.pid)
                    load = run(request, connections, args.seconds)
                    used = (cpu(process.pid) - before) / max(1, load.requests)
                    rows.append(Row(gateway.name, kind, connections, used, load))
                    say(f"{gateway.name}, {kind}, {connections}: {used:.0f} us", sys.stderr)
            busy = resident(process.pid)
    return rows, f"| {gateway.name} | {cold:.2f} s | {idle / 2**20:.0f} MiB | {busy / 2**20:.0f} MiB |"


def table(rows: list[Row]) -> Iterator[str]:
    yield "| gateway | reply | connections | CPU us/request | requests/s | p50 ms | p99 ms |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        load = row.load
        errors = f" ({load.errors} errors)" if load.errors else ""
        rate = load.requests / load.seconds
        yield (
            f"| {row.name}{errors} | {row.kind} | {row.connections} | {row.cpu:.0f} | {rate:.0f} "
            f"| {load.p50:.2f} | {load.p99:.2f} |"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[gateway.name for gateway in GATEWAYS], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--kinds", nargs="+", default=["whole", "streamed"], choices=["whole", "streamed"])
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--gap", type=float, default=0)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    provider = free_port()
    command = [sys.executable, str(HERE / "provider.py"), "--port", str(provider)]
    command += ["--events", str(args.events), "--gap", str(args.gap)]
    rows, starts = [], []
    mock = Gateway("no gateway", tuple(command))
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "provider"
        with running(command, log, {}) as process:
            wait_for(request_for(mock, provider, provider, stream=False), process, log)
            for gateway in GATEWAYS:
                if gateway.name not in (args.only or [gateway.name]):
                    continue
                if not gateway.installed():
                    say(f"{gateway.name}: not installed", sys.stderr)
                    continue
                try:
                    measured, start = measure(gateway, provider, args)
                except RuntimeError as error:
                    say(f"{gateway.name}: {error}", sys.stderr)
                    continue
                rows += measured
                starts.append(start)
    say("\n".join(table(rows)))
    say("\n| gateway | cold start | memory at start | memory after load |\n| --- | ---: | ---: | ---: |")
    say("\n".join(starts))


if __name__ == "__main__":
    main()
