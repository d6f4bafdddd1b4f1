"""Streams that wait, break off and fail, as each official SDK meets them (features C6 and C8)."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.processes import Running, provider, running
from tests.scripted import Say, Seen

CLIENTS = ("chat", "responses", "anthropic", "gemini")
CASES = ("slow", "failover", "refused", "idle", "truncated", "frame")
KINDS = {"chat": "openai", "responses": "openai-responses", "anthropic": "anthropic", "gemini": "gemini"}
IMPATIENT = "-impatient"
"""Only where a stream falls silent for good is its provider's limit short: elsewhere a busy machine could reach it."""
CONTENT = {"chat": 3, "responses": 6, "anthropic": 4, "gemini": 2}
"""After so many events a stream has had some content."""
FRAMES = {
    "chat": b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n',
    "responses": b'event: error\ndata: {"type": "error", "code": "server_error", "message": "overloaded", '
    b'"param": null, "sequence_number": 9}\n\n',
    "anthropic": b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", '
    b'"message": "overloaded"}}\n\n',
    "gemini": b'data: {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}\n\n',
}


def script(seen: Seen) -> Say:
    """The upstream model's name says what to do, and in which format it is asked for."""
    name = seen.path.partition("/models/")[2].partition(":")[0] or seen.body["model"]
    case, kind, _ = name.split("-")
    content = CONTENT.get(kind)
    return {
        "slow": Say("late but whole", wait=0.5),
        "refusing": Say("overloaded", status=500, wait=0.5),
        "fine": Say("from another"),
        "idle": Say("one two three four", cut=content, hang=60),
        "truncated": Say("one two three four", cut=content),
        "frame": Say("one two three four", cut=content, hang=1.0, last=FRAMES.get(kind, b"")),
    }[case]


def other(name: str) -> str:
    return "anthropic" if name == "chat" else "chat"


def configuration(url: str) -> str:
    """Four providers at one place, each once more with little patience; a model for each case and provider."""
    providers = {
        name + impatient: {
            "kind": kind,
            "base_url": f"{url}/v1" if name in ("chat", "responses") else url,
            "keys": ["k"],
            "timeouts": {"idle": "3s" if impatient else "60s"},
        }
        for (name, kind), impatient in product(KINDS.items(), ("", IMPATIENT))
    }
    models = {}
    for client, name, case in product(CLIENTS, KINDS, CASES):  # a target of its own, since targets cool down
        first = {"failover": "refusing", "refused": "refusing"}.get(case, case)
        at = name + IMPATIENT if case == "idle" else name
        targets: list[dict[str, Any]] = [{"provider": at, "model": f"{first}-{name}-{client}{case}"}]
        if case == "failover":
            second = other(name)
            targets.append({"provider": second, "model": f"fine-{second}-{client}", "priority": 1})
        models[f"{case}-{name}-{client}"] = {"targets": targets}
    tree = {"streaming": {"keepalive": "100ms"}, "providers": providers, "models": models}
    return json.dumps({"server": {"port": "PORT"}, **tree}).replace('"PORT"', "PORT")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with provider(script) as (_, url), running(configuration(url)) as gateway:
        yield gateway


Outcome = tuple[str, str]
Outcomes = Callable[[str, str, str], Outcome]


@pytest.fixture(scope="module")
def streamed(gateway: Running) -> Outcomes:
    """What the SDKs make of every case, asked for all at once: the text, and the error or ""."""
    asked = {(client, case, name) for client, case in product(CLIENTS, CASES) for name in (client, other(client))}
    with ThreadPoolExecutor(12) as pool:
        futures = {one: pool.submit(read, gateway, *one) for one in asked}
    return lambda client, case, name: futures[client, case, name].result()


def read(gateway: Running, client: str, case: str, name: str) -> Outcome:
    pieces: list[str] = []
    error = ""
    try:
        for piece in READERS[client](gateway.url, f"{case}-{name}-{client}"):
            if piece.startswith("error:"):
                error = piece
            else:
                pieces.append(piece)
    except (openai.APIError, anthropic.APIError, errors.APIError) as failure:
        error = str(failure) or type(failure).__name__
    return "".join(pieces), error


def read_chat(url: str, model: str) -> Iterator[str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as sdk:
        messages: Any = [{"role": "user", "content": "hello"}]
        for chunk in sdk.chat.completions.create(model=model, messages=messages, stream=True):
            yield chunk.choices[0].delta.content or "" if chunk.choices else ""


def read_responses(url: str, model: str) -> Iterator[str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as sdk:
        for event in sdk.responses.create(model=model, input="hello", stream=True):
            if event.type == "response.output_text.delta":
                yield event.delta
            elif event.type in ("error", "response.failed"):
                yield f"error: {event}"


def read_anthropic(url: str, model: str) -> Iterator[str]:
    with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as sdk:
        messages: Any = [{"role": "user", "content": "hello"}]
        with sdk.messages.stream(model=model, max_tokens=99, messages=messages) as stream:
            yield from stream.text_stream


def read_gemini(url: str, model: str) -> Iterator[str]:
    with genai.Client(api_key="x", http_options=types.HttpOptions(base_url=url)) as sdk:
        for chunk in sdk.models.generate_content_stream(model=model, contents="hello"):
            yield chunk.text or ""


READERS = {"chat": read_chat, "responses": read_responses, "anthropic": read_anthropic, "gemini": read_gemini}


@pytest.mark.parametrize("translated", [False, True], ids=["verbatim", "translated"])
@pytest.mark.parametrize("client", CLIENTS)
def test_keep_alives_from_the_start_of_the_wait_harm_no_sdk(streamed: Outcomes, client: str, *, translated: bool):
    assert streamed(client, "slow", other(client) if translated else client) == ("late but whole", "")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_stream_that_has_only_had_keep_alives_still_fails_over(streamed: Outcomes, client: str):
    assert streamed(client, "failover", client) == ("from another", "")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_failure_after_keep_alives_is_an_error_event(streamed: Outcomes, client: str):
    text, error = streamed(client, "refused", client)
    assert text == ""
    assert error


@pytest.mark.parametrize("translated", [False, True], ids=["verbatim", "translated"])
@pytest.mark.parametrize("case", ["idle", "truncated", "frame"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_stream_that_breaks_off_ends_in_the_dialect_s_error(
    streamed: Outcomes, client: str, case: str, *, translated: bool
):
    text, error = streamed(client, case, other(client) if translated else client)
    assert text.startswith("one")
    assert "four" not in text
    assert error
    if case == "frame":
        assert "overloaded" in error


def test_what_breaks_the_silence_is_a_comment_and_white_space_for_gemini(gateway: Running):
    body = {"model": "slow-chat-chat", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    raw = httpx.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=30).text
    assert raw.startswith(":")
    asked = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    url = f"{gateway.url}/v1beta/models/slow-gemini-gemini:streamGenerateContent?alt=sse"
    raw = httpx.post(url, json=asked, timeout=30).text
    assert raw.startswith("\n")
