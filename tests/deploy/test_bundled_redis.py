"""The Redis that compose and the chart start: run as they say, by a shell and a real server."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import yaml

from tests.deploy.tools import CHART, ROOT, run
from tests.servers import FAILURES, binary, free_port, wait

PASSWORD = "for-a-test-only"


def of_compose() -> str:
    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["redis"]["command"]
    return command[-1].replace("$$", "$")


def of_chart() -> str:
    demo = ("--set", "demo.enabled=true", "--set", "redis.bundled.enabled=true", "--set", "config.auth.mode=none")
    done = run("helm3", "template", "gw", str(CHART), *demo, "-s", "templates/redis.yaml")
    found = next(each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "StatefulSet")
    return found["spec"]["template"]["spec"]["containers"][0]["command"][-1]


@pytest.fixture(params=[of_compose, of_chart], ids=["compose", "chart"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    (tmp_path / "redis-server").symlink_to(binary() or "redis-server")
    (tmp_path / "data").mkdir()
    port = free_port()
    text = request.param().replace("/data", str(tmp_path / "data"))
    text = text.replace("redis-server -", f"redis-server - --port {port} --bind 127.0.0.1")
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "REDIS_PASSWORD": PASSWORD}
    process = subprocess.Popen(["sh", "-c", text], env=environ, stdout=subprocess.DEVNULL)
    with redis.Redis(port=port, password=PASSWORD) as client:
        wait(client.ping)
    yield process, port
    process.kill()
    process.wait()


def test_it_asks_for_the_password_and_shows_it_in_no_list_of_processes(server: tuple[subprocess.Popen[bytes], int]):
    process, port = server
    with redis.Redis(port=port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    assert PASSWORD.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def test_a_stop_reaches_the_server_which_writes_down_what_it_has(server: tuple[subprocess.Popen[bytes], int]):
    process, port = server
    with redis.Redis(port=port, password=PASSWORD) as client:
        client.set("turn", "one")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    with redis.Redis(port=port, password=PASSWORD) as client, pytest.raises(FAILURES):
        client.ping()


def test_it_never_forgets_to_make_room(server: tuple[subprocess.Popen[bytes], int]):
    with redis.Redis(port=server[1], password=PASSWORD, decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
