"""The provider fault matrix: for each way to fail the attempts, what the client gets, what is stored, the time.

Each fault is met by a first target; a second one is well. Over real sockets on both sides. With GATEWAY_FAULTS_REDIS
set (`make faults`) the sessions are in Redis, once more.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from uuid import uuid4

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from gateway.app import create_app
from gateway.config import RedisSessions, parse
from gateway.metrics import Record
from gateway.sessions.file.store import FileStore
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import SessionKey, SessionStore
from tests import servers
from tests.chaos.misbehaving import misbehaving, refusing, resetting

DEADLINE = 4.0
SLACK = 3.0
"""How many times longer than meant anything may take on a busy machine."""

FAILED_OVER = (2, "served", "complete")
BROKEN = (1, "error event", "incomplete")
SERVED = (1, "served", "complete")

FAULTS = (
    "refused", "reset-at-connect", "reset-before-headers", "reset-after-headers", "reset-mid-stream",
    "closed-after-headers", "closed-mid-stream", "hang-before-headers", "hang-after-headers", "hang-mid-stream",
    "401", "403", "404", "408", "429", "500", "502", "503", "529",
    "empty-body", "truncated-json", "html", "error-in-200", "endless", "gzip",
)  # fmt: skip
WHOLE = dict.fromkeys(FAULTS, FAILED_OVER) | {"gzip": SERVED}
STREAMED = WHOLE | {
    "reset-mid-stream": BROKEN,
    "closed-mid-stream": BROKEN,
    "hang-mid-stream": BROKEN,
    "endless": BROKEN,
}


@dataclass
class Row:
    """What became of one request."""

    attempts: int
    got: str
    stored: str
    took: float
    status: int
    retry_after: str | None
    body: str


@asynccontextmanager
async def serving(app) -> AsyncIterator[httpx.AsyncClient]:
    """The application behind a real server, and a client of it."""
    settings = uvicorn.Config(app, port=0, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(settings)
    task = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not task.done()
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client
    server.should_exit = True
    await task


def config_of(fault: str, ports: dict[str, int], *, alone: bool) -> str:
    port = ports.get(fault, ports["misbehaving"])
    well = "" if alone else ", {provider: well, model: up, priority: 1}"
    return f"""
routing: {{deadline: {DEADLINE}s}}
providers:
  bad:
    kind: openai
    base_url: "http://127.0.0.1:{port}/{fault}/v1"
    keys: [k]
    timeouts: {{connect: 1s, first_event: 1s, reply: 1s, idle: 1s}}
  well: {{kind: openai, base_url: "http://127.0.0.1:{ports["misbehaving"]}/well/v1", keys: [k]}}
models: {{m: {{targets: [{{provider: bad, model: up}}{well}]}}}}
"""


async def meet(fault: str, store: SessionStore, *, stream: bool, alone: bool = False) -> Row:
    """One request with a session to a gateway whose first target has the fault."""
    records = list[Record]()
    async with misbehaving() as provider, resetting() as reset_port:
        ports = {"misbehaving": provider.port, "reset-at-connect": reset_port, "refused": refusing()}
        app = create_app(
            parse(config_of(fault, ports, alone=alone), {}),
            sessions=store,
            registry=CollectorRegistry(),
            finished=records.append,
        )
        async with serving(app) as client:
            began = monotonic()
            body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "count"}]}
            answer = await client.post("/v1/chat/completions", json=body, headers={"x-session-id": "s"})
            took = monotonic() - began
            session = await store.load(SessionKey("open", "", "s"), turns=5, marks=False, keep=1)
    turns = list(session.turns.values()) if session else []
    stored = "nothing" if not turns else "incomplete" if turns[0].incomplete else "complete"
    assert len(turns) < 2
    got = f"error {answer.status_code}"
    if answer.status_code == 200:
        told = answer.text
        got = "error event" if '"error"' in told else "served" if "four" in told else "cut"
    retry_after = answer.headers.get("retry-after")
    return Row(len(records[0].attempts), got, stored, took, answer.status_code, retry_after, answer.text)


def told(fault: str, how: str, row: Row) -> None:
    """A line of the table; `pytest -s` shows it."""
    cells = (fault, how, str(row.attempts), row.got, row.stored, f"{row.took:.2f} s", row.retry_after or "")
    sys.stdout.write("| " + " | ".join(cells) + " |\n")


KEPT = ("file", "redis") if os.environ.get("GATEWAY_FAULTS_REDIS") else ("file",)
Keep = Callable[[Path], SessionStore]


@pytest.fixture(scope="session", params=KEPT)
def keep(request: pytest.FixtureRequest) -> Iterator[Keep]:
    """Makes a store for each test."""
    if request.param == "file":
        yield lambda directory: FileStore(str(directory))
        return
    with servers.one() as redis:
        link = partial(connect, RedisSessions(url=redis.url))
        yield lambda _: RedisStore(link(), prefix=f"{uuid4().hex}:", timeout=5, tombstone=60)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_fault_costs_an_attempt_and_never_a_turn(
    fault: str, keep: Keep, tmp_path: Path, *, stream: bool
) -> None:
    row = await meet(fault, keep(tmp_path), stream=stream)
    told(fault, "streamed" if stream else "whole", row)
    assert (row.attempts, row.got, row.stored) == (STREAMED if stream else WHOLE)[fault]
    assert row.took < DEADLINE * SLACK


ALONE = {
    "refused": 502, "reset-at-connect": 502, "reset-before-headers": 502, "closed-mid-stream": 502,
    "hang-before-headers": 504, "401": 502, "403": 403, "404": 404, "408": 504, "429": 429, "500": 502, "502": 502,
    "503": 503, "529": 503, "empty-body": 502, "truncated-json": 502, "html": 502,
}  # fmt: skip


@pytest.mark.parametrize("fault", ALONE)
async def test_when_all_fail_the_client_is_told_why_and_when_to_come_back(
    fault: str, keep: Keep, tmp_path: Path
) -> None:
    row = await meet(fault, keep(tmp_path), stream=False, alone=True)
    told(fault, "no other target", row)
    assert (row.attempts, row.status, row.stored) == (1, ALONE[fault], "nothing")
    assert '"error"' in row.body
    assert row.took < DEADLINE * SLACK
    if fault == "429":
        assert row.retry_after == "2"
    if fault in ("503", "529"):
        assert 1 <= int(row.retry_after or 0) <= 5
    if fault == "401":
        assert "scripted" not in row.body
