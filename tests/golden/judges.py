"""The vendors' own SDKs as judges: of requests by their types, of replies and streams by what their clients read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import httpx2
import openai
from anthropic.types import message_create_params
from google import genai
from google.genai import types
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses import ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParams
from pydantic import TypeAdapter

_CHAT: TypeAdapter[Any] = TypeAdapter(CompletionCreateParams)
_RESPONSES: TypeAdapter[Any] = TypeAdapter(ResponseCreateParams)
_MESSAGES: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParams)
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_SAMPLING = {"temperature", "top_p", "top_k"}  # of Anthropic's API of 2023-06-01, which the newest types leave out


def check_request(provider: str, body: bytes) -> None:
    """Raises where the vendor's SDK would not let such a request be written."""
    tree: dict[str, Any] = json.loads(body)
    match provider:
        case "openai_chat":
            _all(_CHAT.validate_python(tree))
            _no_others(tree, CompletionCreateParams)
        case "openai_responses":
            _all(_RESPONSES.validate_python(tree))
            _no_others(tree, ResponseCreateParams)
        case "anthropic":
            _all(_MESSAGES.validate_python(tree))
            _no_others(tree, message_create_params.MessageCreateParams, _SAMPLING)
        case _:
            for content in tree.pop("contents"):
                types.Content.model_validate(content)
            config = tree.pop("generationConfig", {}) | tree
            types.GenerateContentConfig.model_validate(config)


def _no_others(tree: dict[str, Any], union: Any, more: set[str] = frozenset()) -> None:
    known = {name for kind in union.__args__ for base in kind.__mro__ for name in getattr(base, "__annotations__", {})}
    for kind in union.__args__:
        for base in getattr(kind, "__orig_bases__", ()):
            known |= set(getattr(base, "__annotations__", {}))
    assert not tree.keys() - known - set(more)


def _all(value: object) -> None:
    """Pydantic checks a lazy list only when it is read."""
    if isinstance(value, dict):
        for inner in value.values():
            _all(inner)
    elif isinstance(value, list | tuple | Iterator):
        for inner in value:
            _all(inner)


@dataclass
class Read:
    """What a client reads: `calls` as (name, arguments); `error` is the class of the exception it raises."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    stop: str = ""
    usage: tuple[int, int, int] | None = None
    error: str = ""


def read(client: str, body: bytes, *, status: int, stream: bool) -> Read:
    """What the vendor's SDK makes of an answer."""
    reader = {"openai_chat": _chat, "openai_responses": _response, "anthropic": _message, "gemini": _gemini}[client]
    try:
        return reader(body, status, stream=stream)
    except (openai.OpenAIError, anthropic.AnthropicError, genai.errors.APIError) as error:
        return Read(error=type(error).__name__)


def _transport(body: bytes, status: int, kind: str) -> Any:
    return httpx2.MockTransport(lambda _: httpx2.Response(status, content=body, headers={"content-type": kind}))


def _kind(status: int, *, stream: bool) -> str:
    return "text/event-stream" if stream and status == 200 else "application/json"


def _openai(body: bytes, status: int, *, stream: bool) -> openai.OpenAI:
    http = httpx2.Client(transport=_transport(body, status, _kind(status, stream=stream)))
    return openai.OpenAI(api_key="x", base_url="http://test/v1", max_retries=0, http_client=http)


def _chat(body: bytes, status: int, *, stream: bool) -> Read:
    with _openai(body, status, stream=stream) as sdk:
        if stream and b'"custom"' in body:  # which the SDK's helper does not know
            return _custom_chunks(sdk)
        if stream:
            try:
                with sdk.chat.completions.stream(model="m", messages=[]) as events:
                    done: Any = events.get_final_completion()
            except (openai.ContentFilterFinishReasonError, openai.LengthFinishReasonError):
                return _plain_chunks(body, status)
        else:
            done = sdk.chat.completions.create(model="m", messages=[])
    choice = done.choices[0]
    calls = [
        (call.custom.name, call.custom.input) if call.type == "custom"
        else (call.function.name, json.loads(call.function.arguments))
        for call in choice.message.tool_calls or ()
    ]  # fmt: skip
    text = choice.message.content or choice.message.refusal or ""
    return Read(
        text, getattr(choice.message, "reasoning_content", None) or "", calls, choice.finish_reason, _counts(done.usage)
    )


def _custom_chunks(sdk: openai.OpenAI) -> Read:
    found, name, said = Read(), "", ""
    for chunk in sdk.chat.completions.create(model="m", messages=[], stream=True):
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or ():
                custom = call.to_dict()["custom"]
                name, said = name + custom.get("name", ""), said + custom.get("input", "")
            found.stop = choice.finish_reason or found.stop
        found.usage = _counts(chunk.usage) or found.usage
    found.calls = [(name, said)]
    return found


def _plain_chunks(body: bytes, status: int) -> Read:
    found = Read()
    with _openai(body, status, stream=True) as sdk:
        for chunk in sdk.chat.completions.create(model="m", messages=[], stream=True):
            for choice in chunk.choices:
                found.text += choice.delta.content or ""
                found.stop = choice.finish_reason or found.stop
            found.usage = _counts(chunk.usage) or found.usage
    return found


def _counts(usage: Any) -> tuple[int, int, int] | None:
    return usage and (usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)


def _response(body: bytes, status: int, *, stream: bool) -> Read:
    with _openai(body, status, stream=stream) as sdk:
        if stream:
            _check_events(body)
            with sdk.responses.stream(model="m", input="x") as events:
                for event in events:
                    if event.type == "error":
                        return Read(error="APIError")
                    if event.type == "response.incomplete":  # the helper only knows the event of a complete one
                        done: Any = event.response
                    if event.type == "response.completed":
                        done = events.get_final_response()
        else:
            done = sdk.responses.create(model="m", input="x")
    return _items(done)


def _items(done: Any) -> Read:
    found = Read(stop=done.status)
    for item in done.output:
        match item.type:
            case "function_call":
                found.calls.append((item.name, json.loads(item.arguments)))
            case "custom_tool_call":
                found.calls.append((item.name, item.input))
            case "message":
                found.text += "".join(
                    getattr(part, "text", "") or getattr(part, "refusal", "") for part in item.content
                )
            case "reasoning":
                found.thinking += "".join(part.text for part in [*item.summary, *(item.content or ())])
    if (used := done.usage) is not None:
        found.usage = used.input_tokens, used.output_tokens, used.input_tokens_details.cached_tokens
    return found


def _check_events(stream: bytes) -> None:
    numbers = []
    for block in stream.decode().split("\n\n"):
        if block:
            event = json.loads(block.split("data: ", 1)[1])
            assert block.startswith(f"event: {event['type']}\n")
            numbers.append(event["sequence_number"])
            _EVENT.validate_python(event)
    assert numbers == list(range(len(numbers))) or "error" in stream.decode()


def _message(body: bytes, status: int, *, stream: bool) -> Read:
    http = httpx2.Client(transport=_transport(body, status, _kind(status, stream=stream)))
    asked: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with anthropic.Anthropic(api_key="x", base_url="http://test", max_retries=0, http_client=http) as sdk:
        if stream:
            with sdk.messages.stream(**asked) as events:
                done: Any = events.get_final_message()
        else:
            done = sdk.messages.create(**asked)
    type(done).model_validate(done.model_dump(mode="json"))
    text = "".join(block.text for block in done.content if block.type == "text")
    thinking = "".join(block.thinking for block in done.content if block.type == "thinking")
    calls = [(block.name, block.input) for block in done.content if block.type == "tool_use"]
    used = done.usage
    cached = used.cache_read_input_tokens or 0
    whole = used.input_tokens + cached + (used.cache_creation_input_tokens or 0)
    return Read(text, thinking, calls, done.stop_reason, (whole, used.output_tokens, cached))


def _gemini(body: bytes, status: int, *, stream: bool) -> Read:
    kind = _kind(status, stream=stream)
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=body, headers={"content-type": kind}))
    options = types.HttpOptions(base_url="http://test", client_args={"transport": transport})
    sdk = genai.Client(api_key="x", http_options=options)
    if stream:
        chunks = list(sdk.models.generate_content_stream(model="m", contents="x"))
    else:
        chunks = [sdk.models.generate_content(model="m", contents="x")]
    found = Read()
    for chunk in chunks:
        for candidate in chunk.candidates or ():
            for part in (candidate.content and candidate.content.parts) or ():
                if part.function_call:
                    found.calls.append((part.function_call.name, part.function_call.args))
                elif part.thought:
                    found.thinking += part.text or ""
                else:
                    found.text += part.text or ""
            found.stop = candidate.finish_reason.name if candidate.finish_reason else found.stop
        if (used := chunk.usage_metadata) is not None:
            made = (used.candidates_token_count or 0) + (used.thoughts_token_count or 0)
            found.usage = (used.prompt_token_count or 0, made, used.cached_content_token_count or 0)
    return found
