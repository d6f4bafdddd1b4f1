"""Anthropic Messages: https://docs.anthropic.com/en/api/messages."""

import json
from collections.abc import Iterator

from gateway.demo.mind import Answer, Ask, Heard, Offered, words
from gateway.demo.wire import BadRequest, Body, count, frame, halves, items, text_of

_ERRORS = {400: "invalid_request_error", 404: "not_found_error", 413: "request_too_large"}


def read(body: Body) -> Ask:
    """The request. Raises BadRequest; like the vendor, it insists on `max_tokens`."""
    if not isinstance(body.get("max_tokens"), int):
        raise BadRequest("max_tokens: Field required")
    return asked(body)


def asked(body: Body) -> Ask:
    """The request without `max_tokens`, as for counting. Raises BadRequest."""
    messages = items(body.get("messages"))
    if not messages:
        raise BadRequest("messages: at least one message is required")
    form = (body.get("output_config") or {}).get("format") or {}
    return Ask(
        model=str(body.get("model", "demo")),
        stream=bool(body.get("stream")),
        heard=tuple(_heard(message) for message in messages if message.get("role") != "system"),
        system=text_of(body.get("system")),
        tools=tuple(_tools(body)),
        choice=_choice(body.get("tool_choice")),
        schema=form.get("schema") if form.get("type") == "json_schema" else None,
    )


def whole(ask: Ask, answer: Answer, answer_id: str, now: int) -> Body:  # noqa: ARG001 - this format has no date
    """The whole reply."""
    content: Body = {"type": "text", "text": answer.text}
    if answer.tool:
        content = {**_call(answer, answer_id), "input": json.loads(answer.arguments)}
    return {
        **_head(ask, answer_id),
        "content": [content],
        "stop_reason": _stop(answer),
        "usage": {**_usage(answer), "output_tokens": answer.output},
    }


def stream(ask: Ask, answer: Answer, answer_id: str, now: int) -> Iterator[bytes]:  # noqa: ARG001 - no date here
    """The reply as the vendor's sequence of events."""

    def event(kind: str, **members: object) -> bytes:
        return frame({"type": kind, **members}, kind)

    start = {**_head(ask, answer_id), "content": [], "usage": {**_usage(answer), "output_tokens": 1}}
    block = {**_call(answer, answer_id), "input": {}} if answer.tool else {"type": "text", "text": ""}
    yield event("message_start", message=start)
    yield event("content_block_start", index=0, content_block=block)
    yield event("ping")
    for word in words(answer.text):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    for piece in halves(answer.arguments) if answer.tool else ():
        yield event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
    yield event("content_block_stop", index=0)
    yield event(
        "message_delta",
        delta={"stop_reason": _stop(answer), "stop_sequence": None},
        usage={"output_tokens": answer.output},
    )
    yield event("message_stop")


def error(status: int, message: str) -> Body:
    """An error."""
    return {"type": "error", "error": {"type": _ERRORS.get(status, "api_error"), "message": message}}


def _heard(message: Body) -> Heard:
    content = message.get("content")
    results = tuple(text_of(part.get("content")) for part in items(content) if part.get("type") == "tool_result")
    return Heard(str(message.get("role", "user")), text_of(content), count(content, "image"), results)


def _tools(body: Body) -> Iterator[Offered]:
    for tool in items(body.get("tools")):
        if isinstance(tool.get("input_schema"), dict):
            yield Offered(str(tool.get("name", "")), tool["input_schema"])


def _choice(choice: object) -> str:
    if not isinstance(choice, dict):
        return "auto"
    kind = choice.get("type")
    return str(choice.get("name")) if kind == "tool" else "required" if kind == "any" else str(kind)


def _head(ask: Ask, answer_id: str) -> Body:
    return {
        "id": f"msg_{answer_id}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _call(answer: Answer, answer_id: str) -> Body:
    return {"type": "tool_use", "id": f"toolu_{answer_id}", "name": answer.tool}


def _stop(answer: Answer) -> str:
    return "tool_use" if answer.tool else "end_turn"


def _usage(answer: Answer) -> Body:
    return {
        "input_tokens": answer.input - answer.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.cached,
    }
