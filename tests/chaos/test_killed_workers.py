"""F4: workers are killed at random moments under load; every turn whose end a client saw is stored whole, once.

Five kills here; `GATEWAY_KILLS=500` for the long form (`make chaos`).
"""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import cycle
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.chaos.test_many_at_once import KEY, text_of
from tests.processes import ROOT, Running, provider, until
from tests.scripted import Say, Seen
from tests.servers import free_port, one

KILLS = int(os.environ.get("GATEWAY_KILLS", "5"))
CLIENTS = 12
RISEN = 120
"""Seconds a worker has to come up again: a long run is not alone on its machine."""
TURNS = 150
"""After so many turns a client begins another session: none outgrows its limits, and many are read in the end."""


def unique(seen: Seen) -> Say:
    """An answer that no other turn has, slow enough to be cut in its middle."""
    return Say(f"{seen.body['messages'][-1]['content']} -> {uuid4().hex} " + "word " * 5, pause=0.002)


class Phoenix:
    """A gateway process that is killed and started again on the same port."""

    def __init__(self, config: str, folder: Path) -> None:
        self.port = free_port()
        self._path = folder / f"{self.port}.yaml"
        self._path.write_text(config.replace("PORT", str(self.port)))
        self._log = (folder / f"{self.port}.log").open("wb")
        self.gateway = self._start()

    def _start(self) -> Running:
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(self._path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=self._log, stderr=self._log)
        return Running(process, f"http://127.0.0.1:{self.port}", Path(self._log.name))

    def live(self) -> bool:
        try:
            return self.gateway.get("/health/live")[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        self.gateway.process.kill()
        self.gateway.process.wait()
        self.gateway = self._start()

    def stop(self) -> None:
        self.gateway.process.kill()
        self.gateway.process.wait()
        self._log.close()


class Client:
    """One conversation after another: asks questions in order, each until it has seen the end of an answer."""

    def __init__(self, workers: list[Phoenix], number: int) -> None:
        self._workers = cycle(workers)
        self._number = number
        self.session = ""
        self.seen: dict[str, list[tuple[str, str]]] = {}
        self.keyed = number % 2 == 0
        self.stop = asyncio.Event()

    async def run(self) -> None:
        n = 0
        async with httpx.AsyncClient(timeout=30) as http:
            while not self.stop.is_set():
                self.session = f"session-{self._number}-{n // TURNS}"
                n += 1
                key = uuid4().hex
                for _ in range(1000):
                    if self.stop.is_set() or await self._ask(http, f"q{n}", key):
                        break
                    await asyncio.sleep(0.02)

    async def _ask(self, http: httpx.AsyncClient, question: str, key: str) -> bool:
        body = {"model": "m", "messages": [{"role": "user", "content": question}], "stream": True}
        headers = {"x-session-id": self.session} | ({"idempotency-key": key} if self.keyed else {})
        url = f"{next(self._workers).gateway.url}/v1/chat/completions"
        try:
            answer = await http.post(url, json=body, headers=headers)
        except httpx.HTTPError:
            return False
        if answer.status_code != 200 or "data: [DONE]" not in answer.text:
            return False
        if answer.headers["x-session-state"] == "stateless":
            return False
        words = [line for line in answer.text.splitlines() if line.startswith("data: {")]
        text = "".join(part for line in words if (part := _content(line)))
        self.seen.setdefault(self.session, []).append((question, text.strip()))
        return True


def _content(line: str) -> str:
    choices = json.loads(line[6:])["choices"]
    return (choices[0]["delta"].get("content") or "") if choices else ""


async def stored(gateway: Running, session: str) -> list[tuple[str, str]]:
    """All complete turns of a session."""
    pairs: dict[int, list[str]] = {}
    first = 1
    while True:
        path = f"/v0/management/sessions/{session}?turn={first}&limit=100"
        status, page = await asyncio.to_thread(gateway.get, path, Authorization=f"Bearer {KEY}")
        assert status == 200, (session, page)
        if not page["messages"]:
            break
        for message in page["messages"]:
            if not message.get("incomplete"):
                pairs.setdefault(message["turn"], []).append(text_of(message).strip())
        first = page["messages"][-1]["turn"] + 1
    return [(pair[0], pair[1]) for _, pair in sorted(pairs.items())]


async def told_is_stored(gateway: Running, clients: list[Client], store: str) -> None:
    """Every turn that a client saw the end of is there once; one that had a key ran once."""
    turns = 0
    for client in clients:
        for session, seen in client.seen.items():
            kept = Counter(await stored(gateway, session))
            for pair in seen:
                assert kept[pair] == 1, (session, pair)
            turns += len(seen)
            if client.keyed:
                questions = Counter(question for question, _ in kept.elements())
                assert max(questions.values()) == 1, questions.most_common(3)
    sessions = sum(len(client.seen) for client in clients)
    sys.stdout.write(f"{store}: {KILLS} kills, {turns} turns seen whole and stored once, {sessions} sessions\n")


@pytest.mark.parametrize("store", ["redis", "file"])
async def test_what_a_client_saw_to_its_end_is_stored_once(store: str, tmp_path: Path) -> None:
    with one() as redis, provider(unique) as (_, url):
        config = f"""
        server: {{port: PORT}}
        management: {{key: {KEY}}}
        sessions:
          store: {store}
          file: {{directory: "{tmp_path / "sessions"}"}}
          redis: {{url: "{redis.url}", timeout: 5s, connect_timeout: 5s}}
        providers: {{p: {{kind: openai, base_url: "{url}/v1", keys: [k]}}}}
        models: {{m: {{targets: [{{provider: p, model: m}}]}}}}
        """
        workers = [Phoenix(config, tmp_path), Phoenix(config, tmp_path)]
        try:
            clients = [Client(workers, number) for number in range(CLIENTS)]
            tasks = [asyncio.create_task(client.run()) for client in clients]
            # A retry key whose worker died is taken for some seconds: nobody shall have nothing else in a short run.
            await asyncio.to_thread(until, lambda: all(client.seen for client in clients), RISEN)
            chance = random.Random()
            for n in range(KILLS):
                await asyncio.to_thread(until, workers[n % 2].live, RISEN)
                await asyncio.sleep(chance.uniform(0.02, 0.4))
                await asyncio.to_thread(workers[n % 2].kill)
            for worker in workers:
                await asyncio.to_thread(until, worker.live, RISEN)
            for client in clients:
                client.stop.set()
            await asyncio.gather(*tasks)
            await told_is_stored(workers[0].gateway, clients, store)
        finally:
            for worker in workers:
                worker.stop()
