"""Endpoints beside the conversations, over HTTP: token counts, embeddings, completions, probes, WebSockets."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.api.test_dialects_over_http import HOSTS
from tests.harness import EVERY_KIND, Harness
from tests.scripted import Say, Seen

Start = Callable[..., AbstractAsyncContextManager[Harness]]

COUNTED = {
    "claude": ("/v1/messages/count_tokens", {"input_tokens": 77}),
    "responses": ("/v1/responses/input_tokens", {"object": "response.input_tokens", "input_tokens": 77}),
    "google": ("/v1beta/models/up-gemini:countTokens", {"totalTokens": 77, "promptTokensDetails": []}),
}
TOOL = {"type": "object", "properties": {"n": {"type": "integer"}}}


def counts(seen: Seen) -> Say:
    answers = dict(COUNTED.values())
    if seen.path in answers:
        return Say(body=json.dumps(answers[seen.path]).encode())
    return Say(status=404, text="no such path")


def asked(client: str, model: str) -> tuple[str, dict[str, Any]]:
    match client:
        case "anthropic":
            tools = [{"name": "f", "input_schema": TOOL}]
            said = [{"role": "user", "content": "How long?"}]
            return "/v1/messages/count_tokens", {"model": model, "system": "Be.", "messages": said, "tools": tools}
        case "openai_responses":
            return "/v1/responses/input_tokens", {"model": model, "instructions": "Be.", "input": "How long?"}
        case _:
            content = {"role": "user", "parts": [{"text": "How long?"}]}
            return f"/v1beta/models/{model}:countTokens", {"contents": [content]}


def number(body: dict[str, Any]) -> int:
    return int(body.get("input_tokens") or body.get("totalTokens") or 0)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("client", ["anthropic", "openai_responses", "gemini"])
async def test_tokens_are_counted_by_the_provider_or_by_an_estimate_that_says_so(
    start: Start, client: str, host: str
) -> None:
    async with start(config=EVERY_KIND, claude=counts, responses=counts, google=counts, chat=counts) as gw:
        path, body = asked(client, f"m-{host}")
        answer = await gw.post(path, body, x_session_id="s")
        assert answer.status_code == 200, answer.text
        if host == "chat":
            assert answer.headers["x-gateway-estimate"] == "true"
            assert 3 <= number(answer.json()) <= 40
            assert not gw.providers["chat"].seen
        else:
            assert "x-gateway-estimate" not in answer.headers
            assert number(answer.json()) == 77
            sent = gw.sent(host)
            assert not {"max_tokens", "stream", "store", "include"} & sent.keys()
            assert "How long?" in json.dumps(sent)
        assert await gw.store.head(gw.key("s")) is None


async def test_a_provider_that_cannot_count_is_estimated_for_and_stays_in_use(start: Start) -> None:
    def refuses(seen: Seen) -> Say | None:
        return Say(status=404) if "count" in seen.path else None

    async with start(config=EVERY_KIND, claude=refuses) as gw:
        path, body = asked("anthropic", "m-claude")
        counted = await asyncio.gather(*(gw.post(path, body) for _ in range(24)))
        assert {answer.headers["x-gateway-estimate"] for answer in counted} == {"true"}
        said = await gw.post("/v1/messages", {**body, "max_tokens": 9})
        assert said.status_code == 200


async def test_a_count_is_estimated_while_its_providers_cool_down(start: Start) -> None:
    async with start(config=EVERY_KIND, claude=lambda _: Say(status=429, headers={"retry-after": "60"})) as gw:
        assert (await gw.message("q", model="m-claude")).status_code == 429
        path, body = asked("anthropic", "m-claude")
        counted = await gw.post(path, body)
        assert (counted.status_code, counted.headers["x-gateway-estimate"]) == (200, "true")
        assert len(gw.providers["claude"].seen) == 1


async def test_a_bad_request_to_count_is_the_providers_400(start: Start) -> None:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "messages.0: no"}}
    async with start(config=EVERY_KIND, claude=lambda _: Say(status=400, body=json.dumps(body).encode())) as gw:
        answer = await gw.post(*asked("anthropic", "m-claude"))
        assert (answer.status_code, answer.json()) == (400, body)


async def test_an_estimate_does_not_take_a_picture_for_text(start: Start) -> None:
    async with start(config=EVERY_KIND) as gw:
        part = {"inlineData": {"mimeType": "image/png", "data": "A" * 400_000}}
        answer = await gw.post("/v1beta/models/m-chat:countTokens", {"contents": [{"parts": [part]}]})
        assert 500 < answer.json()["totalTokens"] < 5000


async def test_a_whole_request_may_be_counted_as_gemini_has_it(start: Start) -> None:
    async with start(config=EVERY_KIND, google=counts) as gw:
        inner = {
            "model": "models/m-google",
            "contents": [{"parts": [{"text": "x"}]}],
            "systemInstruction": {"parts": []},
        }
        answer = await gw.post("/v1beta/models/m-google:countTokens", {"generateContentRequest": inner})
        assert answer.json()["totalTokens"] == 77
        request = gw.sent("google")["generateContentRequest"]
        assert request["model"] == "models/up-gemini"
        assert "systemInstruction" in request


async def test_embeddings_are_forwarded_to_openai_only(start: Start) -> None:
    answer = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}], "model": "up"}
    async with start(config=EVERY_KIND, chat=lambda _: Say(body=json.dumps(answer).encode())) as gw:
        got = await gw.post("/v1/embeddings", {"model": "m-chat", "input": "x", "dimensions": 1})
        assert got.json() == answer
        assert gw.providers["chat"].seen[-1].path == "/v1/embeddings"
        assert gw.sent("chat") == {"model": "up-chat", "input": "x", "dimensions": 1}
        refused = await gw.post("/v1/embeddings", {"model": "m-claude", "input": "x"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "no_embeddings")
        assert (await gw.post("/v1/embeddings", {"model": "m-chat"})).json()["error"]["param"] == "input"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_legacy_completion_is_a_chat_with_any_provider(start: Start, host: str, *, stream: bool) -> None:
    async with start(config=EVERY_KIND) as gw:
        body = {"model": f"m-{host}", "prompt": "Once", "max_tokens": 20, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        answer = await gw.post("/v1/completions", body, x_session_id="s")
        assert answer.status_code == 200, answer.text
        assert await gw.store.head(gw.key("s")) is None
        if not stream:
            whole = answer.json()
            assert (whole["object"], whole["choices"][0]["text"]) == ("text_completion", "reply-1")
            assert (whole["choices"][0]["finish_reason"], whole["usage"]["total_tokens"]) == ("stop", 15)
            return
        *frames, done, _ = answer.text.split("\n\n")
        assert done == "data: [DONE]"
        chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames]
        assert "".join(c["choices"][0]["text"] for c in chunks if c["choices"]) == "reply-1"
        assert chunks[-1]["usage"]["total_tokens"] == 15
        assert {chunk["object"] for chunk in chunks} == {"text_completion"}


async def test_probes_of_agents_are_answered_and_websockets_refused(start: Start) -> None:
    async with start(config=EVERY_KIND) as gw:
        for path in ("/", "/api/hello"):
            assert (await gw.client.head(path)).status_code == 200
        upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        assert (await gw.client.get("/v1/responses", headers=upgrade)).status_code == 426
