"""All four client dialects against all four kinds of provider, in one session, over HTTP."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.harness import EVERY_KIND, Harness

Start = Callable[..., AbstractAsyncContextManager[Harness]]

HOSTS = ("chat", "claude", "responses", "google")
CLIENTS = ("openai_chat", "anthropic", "openai_responses", "gemini")


def request_of(client: str, model: str, text: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """A path and a body that ask one thing."""
    match client:
        case "openai_chat":
            said = [{"role": "user", "content": text}]
            return "/v1/chat/completions", {"model": model, "messages": said, "stream": stream}
        case "anthropic":
            said = [{"role": "user", "content": text}]
            return "/v1/messages", {"model": model, "max_tokens": 64, "messages": said, "stream": stream}
        case "openai_responses":
            return "/v1/responses", {"model": model, "input": text, "stream": stream}
        case _:
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return f"/v1beta/models/{model}:{method}", {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def texts(body: Any) -> list[str]:
    """Every text in a provider's request, in order."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("text", "content", "input") and isinstance(value, str):
                    found.append(value)
                else:
                    walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk({key: body[key] for key in ("messages", "input", "contents") if key in body})
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_every_client_dialect_holds_a_conversation_with_every_provider(
    start: Start, client: str, host: str, *, stream: bool
) -> None:
    async with start(config=EVERY_KIND) as gw:
        for n in (1, 2, 3):
            path, body = request_of(client, f"m-{host}", f"q{n}", stream=stream)
            answer = await gw.post(path, body, x_session_id="s")
            assert answer.status_code == 200, answer.text
            assert f"reply-{n}" in answer.text
        assert texts(gw.sent(host)) == ["q1", "reply-1", "q2", "reply-2", "q3"]


@pytest.mark.parametrize("stream", [False, True])
async def test_one_session_crosses_all_dialects_and_providers(start: Start, *, stream: bool) -> None:
    async with start(config=EVERY_KIND) as gw:
        expected = []
        for n, (client, host) in enumerate(zip(CLIENTS * 2, (*HOSTS, *reversed(HOSTS)), strict=True)):
            path, body = request_of(client, f"m-{host}", f"q{n}", stream=stream)
            answer = await gw.post(path, body, x_session_id="s")
            assert answer.status_code == 200, answer.text
            expected.append(f"q{n}")
            assert texts(gw.sent(host)) == expected
            expected.append(f"reply-{len(gw.providers[host].seen)}")


@pytest.mark.parametrize("host", HOSTS)
async def test_models_are_listed_in_the_shape_of_the_asking_sdk(start: Start, host: str) -> None:
    async with start(config=EVERY_KIND) as gw:
        openai = (await gw.client.get("/v1/models")).json()
        assert f"m-{host}" in [model["id"] for model in openai["data"]]
        anthropic = (await gw.client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})).json()
        assert anthropic["has_more"] is False
        google = (await gw.client.get("/v1beta/models")).json()
        assert f"models/m-{host}" in [model["name"] for model in google["models"]]
        assert (await gw.client.get(f"/v1/models/m-{host}")).json()["id"] == f"m-{host}"
        assert (await gw.client.get("/v1/models/none")).status_code == 404


async def test_an_unknown_model_is_a_404_in_the_clients_dialect(start: Start) -> None:
    async with start(config=EVERY_KIND) as gw:
        for client in CLIENTS:
            path, body = request_of(client, "nothing", "q", stream=False)
            answer = await gw.post(path, body)
            assert answer.status_code == 404
            assert "nothing" in json.dumps(answer.json())
