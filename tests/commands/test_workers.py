"""Several workers under their supervisor, and `gateway serve` around both."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
server: {port: 0, workers: 2, shutdown_grace: 2s}
providers: {one: {kind: openai, base_url: "http://127.0.0.1:9/v1", keys: ["a-very-secret-key"]}}
models: {"*": {targets: [{provider: one, model: "*"}]}}
"""

# What a worker does is one of these; each writes its process id to a file first.
WORKERS = """
import os, signal, sys, time
from pathlib import Path
from gateway.commands.workers import Supervisor

def note(directory):
    Path(directory, str(os.getpid())).touch()

def steady(directory):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    note(directory)
    while True:
        time.sleep(0.05)

def stubborn(directory):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(directory)
    while True:
        time.sleep(0.05)

def dies(directory):
    note(directory)
    os._exit(7)

def cannot_start(directory):
    note(directory)
    sys.exit(3)

def buried(pid):
    Path(sys.argv[2], f"buried-{pid}").touch()

def stopping():
    Path(sys.argv[2], "stopping").touch()

if __name__ == "__main__":
    target = globals()[sys.argv[1]]
    sys.exit(Supervisor(target, (sys.argv[2],), 2, grace=0.5, buried=buried, stopping=stopping).run())
"""

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    (tmp_path / "seen").mkdir()
    running: list[subprocess.Popen[bytes]] = []

    def begin(target: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, str(script), target, str(tmp_path / "seen")]
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def pids(tmp_path: Path) -> set[int]:
    return {int(path.name) for path in (tmp_path / "seen").iterdir() if path.name.isdecimal()}


def eventually(check: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    """Whether it runs; an orphan that has ended may stay as a zombie where nobody reaps."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_dead_worker_is_buried_and_another_takes_its_place(start: Start, tmp_path: Path):
    start("steady")
    first = eventually(lambda: len(found := pids(tmp_path)) == 2 and found)
    killed = first.pop()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(pids(tmp_path)) == 3)
    assert (tmp_path / "seen" / f"buried-{killed}").exists()
    assert alive(first.pop())


def test_a_signal_stops_every_worker(start: Start, tmp_path: Path):
    supervisor = start("steady")
    workers = eventually(lambda: len(found := pids(tmp_path)) == 2 and found)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 0
    assert not any(alive(pid) for pid in workers)
    assert len(list((tmp_path / "seen").glob("buried-*"))) == 2
    assert (tmp_path / "seen" / "stopping").exists()


def test_a_later_second_interrupt_kills_workers_that_do_not_stop(start: Start, tmp_path: Path):
    supervisor = start("stubborn")
    workers = eventually(lambda: len(found := pids(tmp_path)) == 2 and found)
    for _ in range(2):  # the echo of a Ctrl-C is no second one
        supervisor.send_signal(signal.SIGINT)
        time.sleep(0.6)
        assert supervisor.poll() is None
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(3) == 0
    assert not any(alive(pid) for pid in workers)


def test_workers_that_do_not_stop_in_time_are_killed(start: Start, tmp_path: Path):
    supervisor = start("stubborn")
    workers = eventually(lambda: len(found := pids(tmp_path)) == 2 and found)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 0
    assert not any(alive(pid) for pid in workers)


def test_workers_that_die_at_once_are_not_started_without_a_pause(start: Start, tmp_path: Path):
    start("dies")
    eventually(lambda: len(pids(tmp_path)) >= 4)
    time.sleep(0.5)
    assert len(pids(tmp_path)) <= 6


def test_workers_that_cannot_start_end_the_supervisor(start: Start):
    assert start("cannot_start").wait(15) == 1


def test_workers_stop_when_their_supervisor_is_killed(start: Start, tmp_path: Path):
    supervisor = start("steady")
    workers = eventually(lambda: len(found := pids(tmp_path)) == 2 and found)
    supervisor.kill()
    eventually(lambda: not any(alive(pid) for pid in workers))


# ---------------------------------------------------------------- the whole command


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return opened.getsockname()[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_listens_logs_json_without_secrets_and_stops(tmp_path: Path, workers: int):
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "gateway", "serve", "--workers", str(workers), "--port", str(free_port())]
    environment = {
        **os.environ,
        "GATEWAY_CONFIG": str(tmp_path / "gateway.yaml"),
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)
    assert process.stderr is not None
    lines = [json.loads(process.stderr.readline())]
    assert lines[0]["message"] == "listening"
    while workers > 1 and sum(line["message"] == "worker ready" for line in lines) < workers:
        lines.append(json.loads(process.stderr.readline()))
    assert bool(list(tmp_path.glob("gateway-metrics-*"))) == (workers > 1)
    with socket.create_connection(("127.0.0.1", int(lines[0]["url"].rpartition(":")[2]))) as connection:
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 404"
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=20)
    lines += [json.loads(line) for line in rest.splitlines()]
    assert process.returncode == 0
    assert lines[-1]["message"] == "stopped"
    assert not list(tmp_path.glob("gateway-metrics-*"))
    assert "secret" not in json.dumps(lines)
