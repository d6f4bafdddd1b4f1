"""Real processes for tests: gateways by their command, and a scripted provider served over a socket."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tests.scripted import Scripted
from tests.servers import free_port

ROOT = Path(__file__).parent.parent


class Served:
    """An ASGI application served in a thread of this process."""

    def __init__(self, app: Any) -> None:
        self.port = free_port()
        config = uvicorn.Config(app, port=self.port, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Served":
        self._thread.start()
        until(lambda: self._server.started)
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@dataclass
class Running:
    """A gateway process."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read())

    def lines(self) -> list[dict[str, Any]]:
        """The log, parsed, without a line that is being written."""
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def until(ready: Any, seconds: float = 30) -> None:
    """Wait until `ready()` is true."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


@contextmanager
def running(config: str, *arguments: str, **environ: str) -> Iterator[Running]:
    """A gateway with this configuration; `PORT` in it is replaced by a free one."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder, "gateway.yaml"), Path(folder, "log")
        path.write_text(config.replace("PORT", str(port)))
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "--config", str(path), *arguments],
                cwd=ROOT, stdout=stream, stderr=stream, env={**os.environ, **environ},
            )  # fmt: skip
            gateway = Running(process, f"http://127.0.0.1:{port}", log)
            try:
                until(lambda: _live(gateway))
                yield gateway
            finally:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _live(gateway: Running) -> bool:
    if gateway.process.poll() is not None:
        raise RuntimeError(gateway.log.read_text())
    try:
        return gateway.get("/health/live")[0] == 200
    except OSError:
        return False


@contextmanager
def provider(script: Any = None) -> Iterator[tuple[Scripted, str]]:
    """A scripted provider over a real socket, and its URL."""
    scripted = Scripted(script)
    served = Served(scripted).start()
    try:
        yield scripted, served.url
    finally:
        served.stop()
