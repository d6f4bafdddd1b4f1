"""A configuration that changes while the gateway runs."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.config import Config, ConfigError, parse
from gateway.reload import Reloader, Source
from tests.processes import Running, provider, running, until

CONFIG = """
server: {{port: PORT, workers: {workers}}}
sessions: {{file: {{directory: "{directory}"}}}}
providers:
  one: {{kind: openai, base_url: "{url}/v1", keys: [k1]}}
  two: {{kind: openai, base_url: "{url}/v1", keys: [k2]}}
models: {{m: {{targets: [{{provider: one, model: up}}]}}}}
"""


class Gateway:
    """A running gateway and the file that it reads."""

    def __init__(self, process: Running) -> None:
        self.process = process
        self.path = process.log.with_name("gateway.yaml")
        self.http = httpx.Client(base_url=process.url, timeout=30)

    def change(self, old: str, new: str) -> None:
        text = self.path.read_text()
        assert old in text
        self.path.write_text(text.replace(old, new))

    def ask(self, text: str, session: str = "", model: str = "m") -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        headers = {"x-session-id": session, "connection": "close"} if session else {"connection": "close"}
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def count(self, outcome: str) -> float:
        lines = self.http.get("/metrics").text.splitlines()
        name = f'gateway_config_reloads_total{{outcome="{outcome}"}}'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def workers_ready(self) -> int:
        return sum(line.get("message") == "worker ready" for line in self.process.lines())

    def logged(self, words: str) -> bool:
        return any(words in line["message"] for line in self.process.lines() if "message" in line)


@contextmanager
def started(tmp_path: Path, workers: int = 1) -> Iterator[Gateway]:
    with provider() as (_, url):
        config = CONFIG.format(workers=workers, directory=tmp_path / "s", url=url)
        with running(config) as process:
            gateway = Gateway(process)
            with gateway.http:
                yield gateway


def test_a_changed_file_is_in_force_within_seconds_and_sessions_live_on(tmp_path: Path):
    with started(tmp_path) as gateway:
        gateway.ask("one", "s")
        gateway.change("models: {", "models: {new: {targets: [{provider: two, model: up}]}, ")
        until(lambda: gateway.count("applied") == 1)
        assert gateway.ask("two", model="new").headers["x-gateway-provider"] == "two"
        resumed = gateway.ask("two", "s")
        assert resumed.headers["x-session-state"] == "resumed"
        assert resumed.headers["x-session-turn"] == "2"


def test_a_file_that_is_wrong_changes_nothing_and_is_reported(tmp_path: Path):
    with started(tmp_path) as gateway:
        gateway.change("provider: one", "provider: nobody")
        until(lambda: gateway.count("invalid") == 1)
        assert gateway.logged("there is no provider 'nobody'")
        assert gateway.ask("still").headers["x-gateway-provider"] == "one"
        gateway.change("provider: nobody", "provider: two")
        until(lambda: gateway.count("applied") == 1)
        assert gateway.ask("now").headers["x-gateway-provider"] == "two"


def test_what_needs_a_restart_is_refused_and_says_so(tmp_path: Path):
    with started(tmp_path) as gateway:
        gateway.change("workers: 1", "workers: 3")
        until(lambda: gateway.count("restart_needed") == 1)
        assert gateway.logged("restart the gateway to change server.workers")
        assert gateway.ask("still").status_code == 200


def test_several_workers_reload_together_on_a_signal(tmp_path: Path):
    with started(tmp_path, workers=2) as gateway:
        until(lambda: gateway.workers_ready() == 2)
        gateway.process.process.send_signal(signal.SIGHUP)
        until(lambda: gateway.count("unchanged") == 2)
        gateway.change("provider: one", "provider: two")
        until(lambda: gateway.count("applied") == 2)
        assert {gateway.ask("q").headers["x-gateway-provider"] for _ in range(10)} == {"two"}


def test_a_worker_that_is_started_again_begins_with_the_newest_configuration(tmp_path: Path):
    with started(tmp_path, workers=2) as gateway:
        until(lambda: gateway.workers_ready() == 2)
        gateway.change("provider: one", "provider: two")
        until(lambda: gateway.count("applied") == 2)
        children = Path(f"/proc/{gateway.process.process.pid}/task/{gateway.process.process.pid}/children")
        for pid in map(int, children.read_text().split()):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        until(lambda: gateway.workers_ready() == 4)
        assert {gateway.ask("q").headers["x-gateway-provider"] for _ in range(10)} == {"two"}


# ---------------------------------------------------------------- without a process


SMALL = 'providers: {{a: {{kind: openai, base_url: "http://a", keys: [{key}]}}}}'


class Told:
    """A reloader of text, and what it told."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.applied: list[Config] = []
        self.counted: list[str] = []
        self.reloader = Reloader(parse(text, {}), self._apply, count=self.counted.append, wall=lambda: 7.0)
        self.reloader.source = Source(lambda: parse(self.text, {}))

    async def _apply(self, config: Config) -> None:
        if "explode" in str(config):
            raise RuntimeError("no")
        self.applied.append(config)


async def test_each_outcome_is_told_and_counted():
    told = Told(SMALL.format(key="one"))
    assert (await told.reloader.reload()).outcome == "unchanged"
    told.text = SMALL.format(key="two")
    assert (await told.reloader.reload()).outcome == "applied"
    assert told.applied == [told.reloader.config]
    told.text = "server: {port: 1}\n" + told.text
    refused = await told.reloader.reload()
    assert (refused.outcome, refused.message, refused.at) == (
        "restart_needed", "restart the gateway to change server.port", 7.0,
    )  # fmt: skip
    assert told.reloader.last == refused
    told.text = "nonsense: 1"
    assert (await told.reloader.reload()).outcome == "invalid"
    told.text = SMALL.format(key="explode")
    assert (await told.reloader.reload()).outcome == "invalid"
    assert len(told.applied) == 1
    assert told.counted == ["unchanged", "applied", "restart_needed", "invalid", "invalid"]


def test_a_mistake_below_a_mapping_is_named_by_its_key():
    for text, message in (
        ("providers: {main: {kind: opena, base_url: x}}", "providers.main.kind: Invalid enum value 'opena'"),
        (
            "providers: {a: {kind: openai, base_url: x}, b.c: {kind: openai, base_url: x, keys: [{kye: 1}]}}",
            "providers.b.c.keys[0].kye: there is no such key; did you mean `key`?",
        ),
        ("models: {m-1.5: {targets: [{provider: a}]}}", "models.m-1.5.targets[0]: Object missing required field"),
        ("providers: {a: {kind: openai, base_url: x, headers: {n: 1}}}", "providers.a.headers.n: Expected `str`"),
    ):
        with pytest.raises(ConfigError) as wrong:
            parse(text, {})
        assert str(wrong.value).startswith(message)
