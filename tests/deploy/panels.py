"""Proves the dashboards: every query of every panel has samples that are finite and not all zero.

    python tests/deploy/panels.py [--keep DIRECTORY]

Starts a Redis, providers that fail on command, a gateway and a real Prometheus that scrapes it each second; makes every
event happen that a panel shows; then asks each query, as Grafana would. With --keep the samples are written down.
"""

import argparse
import asyncio
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.processes import Running, provider, running, until
from tests.scripted import Say, Seen
from tests.servers import binary, free_port

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
SECONDS = 22
BUILT_IN = {"__rate_interval": "15s", "job": "gateway", "datasource": "prometheus"}

CONFIG = """
server: {host: 127.0.0.1, port: PORT}
auth:
  keys:
    - {id: team-a, key: key-of-team-a}
    - {id: small, key: key-of-small, owner: team-b, limits: {requests_per_minute: 30, dollars_per_day: 5}}
sessions:
  store: redis
  conflict: reject
  max_bytes: 64KiB
  redis: {url: "redis://127.0.0.1:%(redis)d/0", timeout: 500ms, wait_replicas: 1, wait_timeout: 2ms}
history: {max_turns: 4}
providers:
  first: {kind: openai, base_url: "%(first)s/v1", keys: [one]}
  second: {kind: anthropic, base_url: "%(second)s", keys: [two]}
models:
  both:
    targets: [{provider: first, model: other}, {provider: second, model: m, priority: 1}]  # cools down apart from m
    prices: {input: 3, cached: 0.3, output: 15}
  first: {targets: [{provider: first, model: m}], prices: {input: 3, cached: 0.3, output: 15}}
  second: {targets: [{provider: second, model: m}]}
"""

CACHED = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "one two"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 2000,
        "completion_tokens": 50,
        "total_tokens": 2050,
        "prompt_tokens_details": {"cached_tokens": 1536},
    },
}


class Moods:
    """What the providers do now."""

    def __init__(self) -> None:
        self.failing = 0

    def first(self, seen: Seen) -> Say:
        """Fails while it is told to, with reasons that take turns."""
        if self.failing:
            self.failing += 1
            return Say(status=(500, 429, 503)[self.failing % 3], headers={"retry-after": "1"})
        if not seen.body.get("stream"):
            return Say(wait=0.02, body=json.dumps(CACHED).encode())
        return Say("one two three four five", wait=0.02, pause=0.01, usage=(2000, 50))

    def second(self, _: Seen) -> Say:
        """Is well."""
        return Say("six seven eight", wait=0.05, pause=0.02, usage=(900, 40))


async def load(gateway: Running, moods: Moods, redis: "Redis", seconds: float) -> None:
    """Clients of every kind, and in the meantime a provider and then the store that fail."""
    end = time.monotonic() + seconds
    headers = {"authorization": "Bearer key-of-team-a"}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=20, headers=headers) as client:
        clients = [asyncio.create_task(_client(client, number, end)) for number in range(6)]
        await asyncio.sleep(seconds * 0.25)
        moods.failing = 1
        await asyncio.sleep(seconds * 0.25)
        moods.failing = 0
        gateway.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(seconds * 0.15)
        redis.stop()
        await asyncio.sleep(seconds * 0.12)
        redis.go_on()
        await asyncio.gather(*clients)


async def _client(client: httpx.AsyncClient, number: int, end: float) -> None:
    turn = 0
    while time.monotonic() < end:
        turn += 1
        with suppress(httpx.HTTPError):
            await _chat(client, "both", f"s{number}-{turn // 12}", f"turn {turn}", stream=turn % 2 == 0)
            await _chat(client, ("first", "second")[turn % 2], "", "no session", stream=turn % 3 == 0)
            match number:
                case 0:  # two turns at once
                    await asyncio.gather(*(_chat(client, "second", "shared", "at once") for _ in range(2)))
                case 1:  # the same request again
                    for _ in range(2):
                        await _chat(client, "second", "again", "once", **{"idempotency-key": f"k{turn}"})
                case 2:  # a wrong name, and what the other wire format cannot carry
                    await _chat(client, "nowhere", "", "hello")
                    untranslatable = {"messages": [{"role": "user", "content": "a"}], "seed": 7, "logit_bias": {"1": 1}}
                    await _post(client, "second", "", untranslatable)
                case 3:  # a client that leaves
                    with suppress(httpx.HTTPError):
                        await _chat(client, "second", "left", "quick", limit=0.06)
                case 4:  # a key with little to spend
                    await _chat(client, "both", "", "hello", authorization="Bearer key-of-small")
                case _:
                    await asyncio.sleep(0.05)


async def _chat(
    client: httpx.AsyncClient,
    model: str,
    session: str,
    text: str,
    *,
    stream: bool = False,
    limit: float = 20,
    **more: str,
) -> None:
    body = {"messages": [{"role": "user", "content": text * 20}], "stream": stream}
    await _post(client, model, session, body, limit, **more)


async def _post(
    client: httpx.AsyncClient, model: str, session: str, body: dict[str, Any], limit: float = 20, **more: str
) -> None:
    headers = {"x-session-id": session, **more} if session else more
    await client.post("/v1/chat/completions", json={"model": model, **body}, headers=headers, timeout=limit)


class Redis:
    """A server that can be made to hang."""

    def __init__(self, folder: str) -> None:
        self.port = free_port()
        command = [binary() or "redis-server", "--port", str(self.port), "--save", "", "--dir", folder]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """It answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """It is gone."""
        self._process.kill()
        self._process.wait()


class Prometheus:
    """A real one."""

    def __init__(self, folder: str, target: str) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise SystemExit("prometheus is not on PATH: .ci/run installs it.")
        self._port = free_port()
        config = Path(folder, "prometheus.yml")
        text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
        text = re.sub(r"targets: \[.*\]", f'targets: ["{target}"]', text)
        text = re.sub(r"_interval: \d+s", "_interval: 1s", text)
        text = text.replace("alerts.yml", str(ROOT / "deploy" / "prometheus" / "alerts.yml"))
        config.write_text(text)
        self._process = subprocess.Popen(
            [program, f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb", "--log.level=error",
             f"--web.listen-address=127.0.0.1:{self._port}"],
        )  # fmt: skip
        until(self._up, 30)

    def _up(self) -> bool:
        with suppress(OSError):
            return bool(self.ask("query", query="vector(1)"))
        return False

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of one call of its interface."""
        at = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(at, timeout=10) as answer:
            return json.load(answer)["data"]

    def end(self) -> None:
        """It is gone."""
        self._process.terminate()
        self._process.wait(20)


def queries() -> Iterator[tuple[str, str, str, str]]:
    """Dashboard, panel, legend and expression of everything that is shown."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):  # a row has none
                expression = re.sub(r"\$\{?(\w+)\}?", lambda match: BUILT_IN[match[1]], target["expr"])
                yield path.stem, panel["title"], target["legendFormat"], expression


@contextmanager
def world() -> Iterator[tuple[Running, Moods, Redis, Prometheus]]:
    """Everything, started; and stopped at the end."""
    moods = Moods()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        redis = Redis(folder)
        stack.callback(redis.end)
        stack.callback(redis.go_on)
        _, first = stack.enter_context(provider(moods.first))
        _, second = stack.enter_context(provider(moods.second))
        text = CONFIG % {"redis": redis.port, "first": first, "second": second}
        gateway = stack.enter_context(running(text))
        prometheus = Prometheus(folder, gateway.url.removeprefix("http://"))
        stack.callback(prometheus.end)
        yield gateway, moods, redis, prometheus


def main() -> int:
    """Returns the exit code: 1 if a query has no finite sample, or shows nothing but zero."""
    parser = argparse.ArgumentParser(description="Prove that every query of every panel has samples.")
    parser.add_argument("--keep", type=Path, help="write the samples of every query into this file")
    keep = parser.parse_args().keep
    kept, missing = [], 0
    with world() as (gateway, moods, redis, prometheus):
        began = time.time()
        asyncio.run(load(gateway, moods, redis, SECONDS))
        time.sleep(2)
        for dashboard, panel, legend, expression in queries():
            span = {"start": str(began), "end": str(time.time()), "step": "1"}
            found = prometheus.ask("query_range", query=expression, **span)["result"]
            values = [float(value) for series in found for _, value in series["values"]]
            samples = any(math.isfinite(value) and value > 0 for value in values)
            sys.stdout.write(f"{'ok  ' if samples else 'FAIL'} {dashboard}: {panel}: {len(found)} series\n")
            if not samples:
                missing += 1
                sys.stdout.write(f"     {expression}\n")
            kept.append({"dashboard": dashboard, "panel": panel, "legend": legend, "result": found})
    if keep:
        keep.write_text(json.dumps(kept))
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
