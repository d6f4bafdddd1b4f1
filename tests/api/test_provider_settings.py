"""What the configuration says of providers, credentials and models, as the provider and the client see it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from gateway.app import create_app
from gateway.config import ConfigError, parse
from gateway.reload import Source
from gateway.routing.table import Table
from gateway.sessions.file.store import FileStore
from gateway.transport import Transport
from tests.processes import provider
from tests.transport.test_proxies import http_proxy, socks_proxy

ANSWER = {
    "id": "1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}  # fmt: skip


class Provider(httpx.AsyncBaseTransport):
    """Remembers requests, and answers them; `broken` hosts answer 500, keys other than a `good` one are refused."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self.broken: set[str] = set()
        self.good = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if self.good and request.headers["authorization"] != self.good:
            return httpx.Response(401, json={"error": {"message": "no"}})
        if request.url.host in self.broken:
            return httpx.Response(500, json={"error": {"message": "no"}})
        if "generateContent" in request.url.path:
            candidate = {"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP", "index": 0}
            return httpx.Response(200, json={"candidates": [candidate]})
        return httpx.Response(200, json=ANSWER)

    @property
    def body(self) -> Any:
        return json.loads(self.seen[-1].content)


@asynccontextmanager
async def serving(tmp_path: Path, config: str, wires: httpx.AsyncBaseTransport) -> AsyncIterator[httpx.AsyncClient]:
    store = FileStore(str(tmp_path / "sessions"))
    app = create_app(
        parse(config, {}), sessions=store, transport=wires, registry=CollectorRegistry(), finished=lambda _: None
    )
    transport = httpx.ASGITransport(app)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        client.headers["x-test"] = "1"
        client.app = app  # type: ignore[attr-defined]
        yield client


async def ask(client: httpx.AsyncClient, model: str = "m", **members: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **members}
    return await client.post("/v1/chat/completions", json=body)


ONE = """
providers: {{p: {{kind: {kind}, base_url: "http://p.test/v1", keys: {keys}{more}}}}}
models: {{m: {{targets: [{{provider: p, model: up}}]{settings}}}}}
"""


def one(*, kind: str = "openai", keys: str = "[k]", more: str = "", settings: str = "") -> str:
    return ONE.format(kind=kind, keys=keys, more=more, settings=settings)


async def test_headers_and_query_reach_the_provider_as_azure_wants_them(tmp_path: Path):
    more = ", headers: {api-key: azure-secret}, query: {api-version: 2026-10-01}"
    wires = Provider()
    async with serving(tmp_path, one(keys="[]", more=more), wires) as client:
        assert (await ask(client)).status_code == 200
    sent = wires.seen[-1]
    assert str(sent.url) == "http://p.test/v1/chat/completions?api-version=2026-10-01"
    assert sent.headers["api-key"] == "azure-secret"
    assert "authorization" not in sent.headers


async def test_a_query_is_added_to_what_the_dialect_asks_for(tmp_path: Path):
    wires = Provider()
    async with serving(tmp_path, one(kind="gemini", more=", query: {tier: a}"), wires) as client:
        await ask(client, stream=True)
    assert dict(wires.seen[-1].url.params) == {"alt": "sse", "tier": "a"}


@pytest.mark.parametrize(("scheme", "proxy"), [("http", http_proxy), ("socks5", socks_proxy), ("socks5h", socks_proxy)])
async def test_requests_go_through_the_provider_s_proxy(tmp_path: Path, serve: Any, scheme: str, proxy: Any):
    middle = await serve(proxy)
    with provider() as (upstream, url):
        more = f', proxy: "{scheme}://127.0.0.1:{middle.port}"'
        async with serving(tmp_path, one(more=more).replace("http://p.test", url), Transport()) as client:
            answer = await ask(client)
        assert answer.json()["choices"][0]["message"]["content"] == "reply-1"
        assert len(upstream.seen) == 1
    assert middle.connections == 1


async def test_a_key_is_read_from_a_file_and_read_again(tmp_path: Path):
    secret, wires = tmp_path / "key", Provider()
    secret.write_text("first\n")
    config = one(keys=f'[{{file: "{secret}", refresh: 1s}}]')
    async with serving(tmp_path, config, wires) as client:
        await ask(client)
        assert wires.seen[-1].headers["authorization"] == "Bearer first"
        secret.write_text("second\n")
        async with asyncio.timeout(15):
            while wires.seen[-1].headers["authorization"] != "Bearer second":
                await asyncio.sleep(0.2)
                await ask(client)
        secret.unlink()
        await asyncio.sleep(1.5)
        assert (await ask(client)).status_code == 200  # the last key that was had is used on


@pytest.mark.parametrize("kind", ["file", "command"])
async def test_a_key_that_is_refused_is_asked_for_again_and_its_credential_serves_at_once(tmp_path: Path, kind: str):
    """Short-lived tokens: nobody waits half an hour because one ran out before its refresh."""
    secret, wires = tmp_path / "key", Provider()
    secret.write_text("first\n")
    source = f'file: "{secret}"' if kind == "file" else f'command: [cat, "{secret}"]'
    async with serving(tmp_path, one(keys=f"[{{{source}, refresh: 1h}}]"), wires) as client:
        assert (await ask(client)).status_code == 200
        wires.good = "Bearer second"
        secret.write_text("second\n")
        assert (await ask(client)).status_code == 502
        async with asyncio.timeout(15):
            while (status := (await ask(client)).status_code) != 200:
                assert status == 503
                await asyncio.sleep(0.05)
        assert [sent.headers["authorization"] for sent in wires.seen].count("Bearer first") == 2


async def test_another_key_in_the_configuration_is_tried_at_once(tmp_path: Path):
    wires, keys = Provider(), ["old"]
    wires.good = "Bearer new"
    async with serving(tmp_path, one(keys="[old]"), wires) as client:
        app = client.app  # type: ignore[attr-defined]
        app.state.reloader.source = Source(lambda: parse(one(keys=f"[{keys[-1]}]"), {}))
        assert [(await ask(client)).status_code for _ in range(2)] == [502, 503]
        keys.append("new")
        assert (await app.state.reloader.reload()).outcome == "applied"
        assert (await ask(client)).status_code == 200


async def test_a_key_is_what_a_command_prints(tmp_path: Path):
    wires = Provider()
    config = one(keys=f'[{{command: ["{sys.executable}", -c, "print(\'token-1\')"]}}]')
    async with serving(tmp_path, config, wires) as client:
        await ask(client)
    assert wires.seen[-1].headers["authorization"] == "Bearer token-1"


@pytest.mark.parametrize(
    "command", ["[/nonexistent/program]", "[sh, -c, exit 3]", "[sh, -c, 'echo two lines; echo b']"]
)
async def test_without_a_key_nothing_is_sent_and_another_credential_serves(tmp_path: Path, command: str):
    wires = Provider()
    async with serving(tmp_path, one(keys=f"[{{command: {command}}}]"), wires) as client:
        refused = await ask(client)
        assert refused.status_code == 503
        assert wires.seen == []
    async with serving(tmp_path, one(keys=f"[{{command: {command}}}, good]"), wires) as client:
        assert [(await ask(client)).status_code for _ in range(4)] == [200] * 4
    assert {sent.headers["authorization"] for sent in wires.seen} == {"Bearer good"}


async def test_defaults_are_set_where_the_request_has_none(tmp_path: Path):
    wires = Provider()
    settings = ", defaults: {temperature: 0.5, metadata: {team: a, tier: b}}"
    async with serving(tmp_path, one(settings=settings), wires) as client:
        await ask(client)
        assert wires.body["temperature"] == 0.5
        await ask(client, temperature=1, metadata={"team": "mine"})
        assert wires.body["temperature"] == 1
        assert wires.body["metadata"] == {"team": "mine", "tier": "b"}


async def test_overrides_are_always_set_and_null_takes_a_member_out(tmp_path: Path):
    wires = Provider()
    settings = ", overrides: {temperature: 0, user: null, metadata: {team: null, tier: b}}"
    async with serving(tmp_path, one(settings=settings), wires) as client:
        await ask(client, temperature=1, user="me", metadata={"team": "mine", "mine": 1})
    assert wires.body["temperature"] == 0
    assert "user" not in wires.body
    assert wires.body["metadata"] == {"mine": 1, "tier": "b"}


async def test_settings_are_in_the_provider_s_dialect_after_translation(tmp_path: Path):
    wires = Provider()
    settings = ", overrides: {generationConfig: {temperature: 0.25}}"
    async with serving(tmp_path, one(kind="gemini", settings=settings), wires) as client:
        await ask(client, temperature=1, max_tokens=7)
    assert wires.body["generationConfig"] == {"temperature": 0.25, "maxOutputTokens": 7}


FALLBACKS = """
providers:
  a: {kind: openai, base_url: "http://a.test/v1", keys: [ka]}
  b: {kind: openai, base_url: "http://b.test/v1", keys: [kb]}
  c: {kind: openai, base_url: "http://c.test/v1", keys: [kc]}
models:
  first: {targets: [{provider: a, model: up-a}], fallbacks: [second]}
  second: {targets: [{provider: b, model: up-b}], fallbacks: ["third/x", first]}
  "third/*": {targets: [{provider: c, model: "*"}]}
"""


async def test_a_model_falls_back_to_others_and_to_theirs(tmp_path: Path):
    wires = Provider()
    async with serving(tmp_path, FALLBACKS, wires) as client:
        assert (await ask(client, "first")).headers["x-gateway-provider"] == "a"
        wires.broken = {"a.test"}
        assert (await ask(client, "first")).headers["x-gateway-provider"] == "b"
        wires.broken = {"a.test", "b.test"}
        answer = await ask(client, "first")
        assert answer.headers["x-gateway-provider"] == "c"
        assert wires.body["model"] == "x"
        wires.broken = {"b.test", "c.test"}
        assert (await ask(client, "second")).status_code in (500, 502, 503)


async def test_a_spare_credential_serves_while_the_first_ones_cool_down(tmp_path: Path):
    wires = Provider()
    keys = "[{key: spare, priority: 1}, {key: a, id: first}, {key: b}]"
    async with serving(tmp_path, one(keys=keys), wires) as client:
        assert [(await ask(client)).status_code for _ in range(6)] == [200] * 6
        assert {sent.headers["authorization"] for sent in wires.seen} == {"Bearer a", "Bearer b"}
        wires.good = "Bearer spare"
        assert (await ask(client)).headers["x-gateway-attempts"] == "3"
        wires.seen.clear()
        assert (await ask(client)).headers["x-gateway-attempts"] == "1"


def test_the_priority_of_a_credential_comes_after_that_of_its_target():
    config = parse(
        """
        providers:
          a: {kind: openai, base_url: "http://a.test", keys: [{key: a2, id: a2, priority: 1}, {key: a1, id: a1}]}
          b: {kind: openai, base_url: "http://b.test", keys: [{key: b, id: b, priority: -1}]}
        models:
          m: {targets: [{provider: b, model: x, priority: 5}, {provider: a, model: x, priority: 3}]}
        """,
        {},
    )
    route = Table(config).find("m")
    assert route is not None
    assert [(target.credential, target.priority) for target in route.targets] == [("a1", 0), ("a2", 1), ("b", 2)]


SWITCHED_OFF = """
providers:
  a: {kind: openai, base_url: "http://a.test/v1", keys: [k], enabled: false}
  b: {kind: openai, base_url: "http://b.test/v1", keys: [{key: unused, enabled: false}, {key: used, id: good}]}
models:
  both: {targets: [{provider: a, model: x}, {provider: b, model: x, priority: 1}]}
  none: {targets: [{provider: a, model: x}]}
"""


async def test_what_is_switched_off_serves_nothing(tmp_path: Path):
    wires = Provider()
    async with serving(tmp_path, SWITCHED_OFF, wires) as client:
        assert [(await ask(client, "both")).status_code for _ in range(4)] == [200] * 4
        assert {sent.headers["authorization"] for sent in wires.seen} == {"Bearer used"}
        refused = await ask(client, "none")
        assert refused.status_code == 503
        assert "switched off" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (one(keys="[{key: a, file: b}]"), "providers.p.keys[0]: give exactly one of `key`, `file` and `command`."),
        (one(keys="[{weight: 2}]"), "providers.p.keys[0]: give exactly one of"),
        (one(keys="[{file: a, refresh: 1ms}]"), "providers.p.keys[0].refresh: at least 1s."),
        (one(more=", proxy: 'ftp://x'"), "providers.p.proxy: it starts with"),
        (one(settings=", defaults: {model: x}"), "models.m.defaults.model: the gateway itself decides"),
        (one(settings=", overrides: {stream: true}"), "models.m.overrides.stream: the gateway itself decides"),
        (one(settings=", fallbacks: [n]"), "models.m.fallbacks[0]: there is no model 'n'; define it"),
        (one(settings=", fallbacks: [m]"), "models.m.fallbacks[0]: a model is no fallback of itself."),
        ("server: {cors_origins: ['example.org']}", "server.cors_origins[0]: an origin is https://host"),
        ("server: {cors_origins: ['*']}", "server.cors_origins: `*` needs client keys"),
    ],
)  # fmt: skip
def test_mistakes_are_named(config: str, message: str):
    with pytest.raises(ConfigError) as wrong:
        parse(config, {})
    assert str(wrong.value).startswith(message)
