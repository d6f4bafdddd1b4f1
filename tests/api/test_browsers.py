"""Browsers: Host and Origin without client keys, the list of pages that may call (feature F7)."""

from typing import Any

import pytest

from gateway.api.auth import Callers
from gateway.config import parse
from gateway.errors import GatewayError
from tests.harness import CONFIG, Harness

PAGE, OTHER = "https://chat.example.org", "https://evil.example.org"
LISTED = f'server: {{cors_origins: ["{PAGE}"]}}\n' + CONFIG
KEYS = "auth: {keys: [{id: t, key: secret-key}]}\n"
PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1beta/models/m:generateContent", "/v1/models")


async def preflight(gw: Harness, path: str, origin: str) -> Any:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-session-id"}
    return await gw.client.options(path, headers={"origin": origin, **asked})


@pytest.mark.parametrize("path", PATHS)
async def test_a_listed_page_may_ask_and_read(start: Any, path: str):
    async with start(config=KEYS + LISTED) as gw:
        allowed = await preflight(gw, path, PAGE)
        assert allowed.status_code == 204
        assert allowed.headers["access-control-allow-origin"] == PAGE
        assert "POST" in allowed.headers["access-control-allow-methods"]
        assert "x-session-id" in allowed.headers["access-control-allow-headers"]
        refused = await preflight(gw, path, OTHER)
        assert refused.status_code == 403
        assert not any(name.startswith("access-control") for name in refused.headers)


@pytest.mark.parametrize(("origin", "told"), [(PAGE, PAGE), (OTHER, None)])
async def test_answers_and_errors_say_who_may_read_them(start: Any, origin: str, told: str | None):
    async with start(config=KEYS + LISTED) as gw:
        for key, status in (("secret-key", 200), ("wrong", 401)):
            headers = {"origin": origin, "authorization": f"Bearer {key}"}
            answer = await gw.chat("hello", "s", **headers)
            assert answer.status_code == status
            assert answer.headers.get("access-control-allow-origin") == told
            assert answer.headers["vary"] == "origin"
            listed = await gw.client.get("/v1/models", headers=headers)
            assert (listed.status_code, listed.headers.get("access-control-allow-origin")) == (status, told)
        if told:
            assert "x-session-id" in answer.headers["access-control-expose-headers"]


async def test_a_star_is_every_page(start: Any):
    async with start(config=KEYS + LISTED.replace(PAGE, "*")) as gw:
        answer = await gw.chat("hello", origin=OTHER, authorization="Bearer secret-key")
        assert answer.headers["access-control-allow-origin"] == OTHER


async def test_without_a_list_nothing_is_said(start: Any):
    async with start() as gw:
        answer = await gw.chat("hello")
        assert "vary" not in answer.headers
        assert (await preflight(gw, PATHS[0], "http://localhost:3000")).status_code == 403


async def test_management_and_probes_are_for_no_page(start: Any):
    config = 'management: {key: "management-key-1"}\n' + LISTED
    async with start(config=config) as gw:
        for path in ("/health/ready", "/metrics", "/v0/management/sessions"):
            answer = await gw.client.get(path, headers={"origin": PAGE, "x-management-key": "management-key-1"})
            assert answer.status_code == 200
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"host": "127.0.0.1:8080"}, True),
        ({"host": "localhost"}, True),
        ({"host": "[::1]:8080"}, True),
        ({"host": "127.0.0.1", "origin": "http://localhost:3000"}, True),
        ({"host": "127.0.0.1", "origin": PAGE}, True),
        ({"host": "127.0.0.1", "origin": OTHER}, False),
        ({"host": "127.0.0.1", "origin": "null"}, False),
        ({"host": "127.0.0.1", "origin": ""}, False),
        ({"host": "127.0.0.1", "origin": "http://127.0.0.1.evil.org"}, False),
        ({"host": "127.0.0.1", "origin": "http://[::1"}, False),
        ({"host": "rebound.example.org"}, False),
        ({"host": "rebound.example.org", "origin": PAGE}, False),
        ({"host": "[::1"}, False),
        ({"host": ""}, False),
        ({}, False),
    ],
)
def test_without_client_keys_only_this_machine_and_listed_pages_may_ask(headers: dict[str, str], *, passes: bool):
    callers = Callers(parse(LISTED, {}))
    if passes:
        assert callers.find(headers, "").id == "open"
        return
    with pytest.raises(GatewayError) as refused:
        callers.find(headers, "")
    assert refused.value.kind.status == 403


def test_with_client_keys_or_open_on_purpose_any_host_will_do():
    headers = {"host": "gateway.example.org", "origin": OTHER}
    assert Callers(parse("auth: {mode: none}\n" + CONFIG, {})).find(headers, "").id == "open"
    assert Callers(parse(KEYS + CONFIG, {})).find({**headers, "x-api-key": "secret-key"}, "").id == "t"
