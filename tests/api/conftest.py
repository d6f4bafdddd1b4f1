"""A whole gateway with its own store, over HTTP without sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from litestar import Litestar
from prometheus_client import CollectorRegistry

from gateway.app import create_app
from gateway.config import parse
from tests import servers
from tests.harness import Switchboard
from tests.scripted import Scripted
from tests.transport.conftest import serve

__all__ = ["serve"]

KEY = "the-key-of-the-operator"

CONFIG = """
management: {key: the-key-of-the-operator, trusted_proxies: ["10.0.0.0/8"]}
providers:
  chat: {kind: openai, base_url: "http://chat/v1", keys: [k-secret-chat]}
  claude: {kind: anthropic, base_url: "http://claude", keys: [{key: k-secret-claude, id: one}, {key: k2, id: two}]}
models:
  gpt: {targets: [{provider: chat, model: up-chat}], prices: {input: 2, cached: 0.5, output: 8}}
  opus: {targets: [{provider: claude, model: up-claude}]}
  "any/*": {targets: [{provider: chat, model: "*"}]}
"""


@asynccontextmanager
async def running(app: Litestar) -> AsyncIterator[None]:
    """The application's life, in a task of its own: a fixture begins and ends in different ones."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            begun.set()
            await over.wait()

    life = asyncio.create_task(live())
    waiting = asyncio.create_task(begun.wait())
    await asyncio.wait([life, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield
    finally:
        over.set()
        await life
        await waiting


class Operator:
    """A client of the management API, and of the gateway."""

    def __init__(self, client: httpx.AsyncClient, switchboard: Switchboard) -> None:
        self.client = client
        self.switchboard = switchboard

    async def send(self, method: str, path: str, **given: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {KEY}", **given.pop("headers", {})}
        return await self.client.request(method, f"/v0/management{path}", headers=headers, **given)

    async def ask(self, method: str, path: str, status: int = 200, **given: Any) -> Any:
        reply = await self.send(method, path, **given)
        assert reply.status_code == status, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json() if "json" in reply.headers["content-type"] and "ndjson" not in str(reply.headers) else reply

    async def chat(self, session: str, text: str, status: int = 200, *, model: str = "gpt", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        reply = await self.client.post("/v1/chat/completions", json=body, headers={"X-Session-ID": session, **named})
        assert reply.status_code == status, reply.text
        return reply


@asynccontextmanager
async def operating(config: str, address: str = "127.0.0.1", **scripts: Any) -> AsyncIterator[Operator]:
    """A worker with this configuration. `scripts` is what its providers say, by host."""
    settings = parse(config, {})
    hosts = {httpx.URL(provider.base_url).host for provider in settings.providers.values()}
    switchboard = Switchboard({host: Scripted(scripts.get(host)) for host in hosts})
    app = create_app(settings, transport=switchboard, registry=CollectorRegistry(), finished=lambda _: None)
    transport = httpx.ASGITransport(app, client=(address, 1234))
    client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60)
    async with running(app), client:
        yield Operator(client, switchboard)


Opened = Callable[..., AbstractAsyncContextManager[Operator]]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with servers.any_url() as url:
        yield url


@pytest.fixture(params=["file", "redis"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where sessions are kept, as YAML."""
    if request.param == "file":
        return f"  file: {{directory: {tmp_path}/sessions}}"
    url, prefix = request.getfixturevalue("redis_url"), f"test-{uuid4().hex}:"
    return f"  store: redis\n  redis: {{url: '{url}', prefix: '{prefix}', timeout: 10s, connect_timeout: 10s}}"


@pytest.fixture
def opened(kept: str) -> Opened:
    """Starts a worker: `async with opened() as operator`. All of one test share their store."""

    def start(
        config: str = CONFIG, address: str = "127.0.0.1", **scripts: Any
    ) -> AbstractAsyncContextManager[Operator]:
        return operating(f"{config}\nsessions:\n{kept}\n", address, **scripts)

    return start


@pytest.fixture
async def gateway(opened: Opened) -> AsyncIterator[Operator]:
    async with opened() as operator:
        yield operator
