"""A gateway inside the test, with scripted providers behind it and a client in front, all without sockets."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from gateway.app import create_app
from gateway.config import Config, parse
from gateway.errors import StoreUnavailable
from gateway.metrics import Record
from gateway.sessions.store import SessionKey, SessionStore
from tests.scripted import Scripted

CONFIG = """
providers:
  chat: {kind: openai, base_url: "http://chat/v1", keys: [k-chat]}
  claude: {kind: anthropic, base_url: "http://claude", keys: [k-claude]}
models:
  gpt: {targets: [{provider: chat, model: up-chat}]}
  opus: {targets: [{provider: claude, model: up-claude}]}
  both:
    targets: [{provider: chat, model: up-chat}, {provider: claude, model: up-claude, priority: 1}]
"""

EVERY_KIND = """
providers:
  chat: {kind: openai, base_url: "http://chat/v1", keys: [k-chat]}
  claude: {kind: anthropic, base_url: "http://claude", keys: [k-claude]}
  responses: {kind: openai-responses, base_url: "http://responses/v1", keys: [k-resp]}
  google: {kind: gemini, base_url: "http://google", keys: [k-google]}
models:
  m-chat: {targets: [{provider: chat, model: up-chat}]}
  m-claude: {targets: [{provider: claude, model: up-claude}]}
  m-responses: {targets: [{provider: responses, model: up-responses}]}
  m-google: {targets: [{provider: google, model: up-gemini}]}
"""
"""A provider of each kind, and a model at each."""


class Switchboard(httpx.AsyncBaseTransport):
    """Sends each request to the provider of its host."""

    def __init__(self, providers: dict[str, Scripted]) -> None:
        self._transports = {host: httpx.ASGITransport(app) for host, app in providers.items()}
        self.down: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host in self.down:
            raise httpx.ConnectError("down")
        return await self._transports[request.url.host].handle_async_request(request)


@dataclass
class Harness:
    """The gateway and everything round it."""

    client: httpx.AsyncClient
    providers: dict[str, Scripted]
    switchboard: Switchboard
    store: SessionStore
    switch: "Breakable"
    records: list[Record] = field(default_factory=list)
    metrics: Callable[[], CollectorRegistry] = CollectorRegistry

    def key(self, id: str) -> SessionKey:
        return SessionKey("open", "", id)

    def break_store(self) -> None:
        self.switch.broken = True

    def mend_store(self) -> None:
        self.switch.broken = False

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, json=body, headers=named)

    async def chat(self, text: str, session: str = "", *, model: str = "gpt", **headers: str) -> httpx.Response:
        """One Chat turn that sends only its newest message."""
        named = {"x_session_id": session, **headers} if session else headers
        return await self.post(
            "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}]}, **named
        )

    async def message(self, text: str, session: str = "", *, model: str = "opus", **headers: str) -> httpx.Response:
        """One Messages turn that sends only its newest message."""
        named = {"x_session_id": session, **headers} if session else headers
        body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
        return await self.post("/v1/messages", body, **named)

    def sent(self, provider: str) -> Any:
        """The newest body that a provider got."""
        return self.providers[provider].seen[-1].body

    def value(self, name: str, **labels: str) -> float:
        return self.metrics().get_sample_value(name, labels) or 0.0


class Breakable:
    """A store that can be made to fail as one that is down does."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name) if name == "close" or not self.broken else self._fail

    async def _fail(self, *_: Any, **__: Any) -> None:
        raise StoreUnavailable("The store is down.")


@asynccontextmanager
async def gateway(store: SessionStore, *, config: str = CONFIG, **scripts: Any) -> AsyncIterator[Harness]:
    """A gateway over `store`; `scripts` are the providers' scripts by host."""
    settings: Config = parse(config, {})
    hosts = {httpx.URL(provider.base_url).host for provider in settings.providers.values()}
    providers = {host: Scripted(scripts.get(host)) for host in hosts}
    switchboard = Switchboard(providers)
    registry = CollectorRegistry()
    records: list[Record] = []
    switch = Breakable(store)
    app = create_app(settings, sessions=switch, transport=switchboard, registry=registry, finished=records.append)
    transport = httpx.ASGITransport(app)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield Harness(client, providers, switchboard, store, switch, records, app.state.metrics)
