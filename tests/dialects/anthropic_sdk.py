"""The vendor's own SDK as a judge of what the dialect writes."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
from anthropic.types import message_create_params
from pydantic import TypeAdapter

from gateway.conversation import Origin
from gateway.dialects import anthropic as dialect
from gateway.dialects.dialect import Dialect, ReplyHead, Request

ANTHROPIC: Dialect = dialect
OLD = Origin("claude", "claude-sonnet-4-5")
NEW = Origin("claude", "claude-opus-5")

_REQUESTS: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParams)
_SAMPLING = {"temperature", "top_p", "top_k"}  # not in the types of 2026-10-21, but in the API of 2023-06-01


def checked(body: bytes) -> dict[str, Any]:
    """A request body, checked against the SDK's types, with all that is in its lists."""
    tree: dict[str, Any] = json.loads(body)
    _walk(_REQUESTS.validate_python(tree))
    known = {name for kind in message_create_params.MessageCreateParams.__args__ for name in kind.__annotations__}
    base = message_create_params.MessageCreateParamsBase.__annotations__
    assert not tree.keys() - known - base.keys() - _SAMPLING
    return tree


def _walk(value: object) -> None:
    if isinstance(value, dict):
        for inner in value.values():
            _walk(inner)
    elif isinstance(value, list | tuple) or hasattr(value, "__next__"):
        for inner in value:  # type: ignore[union-attr]
            _walk(inner)


def opened(**members: Any) -> Request:
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], **members}
    return ANTHROPIC.open_request(json.dumps(body).encode())


def head(**members: Any) -> ReplyHead:
    return ReplyHead("0123abcd", 1_700_000_000, opened(**members))


def client(answer: bytes, *, status: int = 200, kind: str = "application/json") -> anthropic.Anthropic:
    """The SDK over a transport that always answers this."""

    def respond(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=answer, headers={"content-type": kind})

    http = httpx2.Client(transport=httpx2.MockTransport(respond))
    return anthropic.Anthropic(api_key="test", base_url="http://test", max_retries=0, http_client=http)


def parsed(answer: bytes) -> anthropic.types.Message:
    with client(answer) as sdk:
        message = sdk.messages.create(model="m", max_tokens=10, messages=[{"role": "user", "content": "Hi"}])
    return anthropic.types.Message.model_validate(message.model_dump(mode="json"), strict=False)


def accumulated(stream: bytes) -> anthropic.types.Message:
    """What the SDK's stream helper makes of these events."""
    with (
        client(stream, kind="text/event-stream") as sdk,
        sdk.messages.stream(model="m", max_tokens=10, messages=[{"role": "user", "content": "Hi"}]) as events,
    ):
        return events.get_final_message()


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def frames(stream: bytes) -> Iterator[dict[str, Any]]:
    for block in stream.split(b"\n\n"):
        if block:
            name, data = block.split(b"\n", 1)
            event: dict[str, Any] = json.loads(data.removeprefix(b"data: "))
            assert name == f"event: {event['type']}".encode()
            yield event
