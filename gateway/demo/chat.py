"""OpenAI Chat Completions: https://platform.openai.com/docs/api-reference/chat."""

from collections.abc import Iterator
from typing import Any

from gateway.demo.mind import ANY_OBJECT, Answer, Ask, Heard, Offered, Schema, words
from gateway.demo.wire import BadRequest, Body, count, frame, halves, items, text_of


def read(body: Body) -> Ask:
    """The request. Raises BadRequest."""
    messages = items(body.get("messages"))
    if not messages:
        raise BadRequest("messages: at least one message is needed.")
    system = " ".join(text_of(m.get("content")) for m in messages if m.get("role") in ("system", "developer"))
    functions = [tool["function"] for tool in items(body.get("tools")) if isinstance(tool.get("function"), dict)]
    return Ask(
        model=str(body.get("model", "demo")),
        stream=bool(body.get("stream")),
        heard=_heard(messages),
        system=system,
        tools=tuple(Offered(str(f.get("name", "")), f.get("parameters") or {}) for f in functions),
        choice=_choice(body.get("tool_choice", "auto")),
        schema=_schema(body.get("response_format")),
        usage=bool((body.get("stream_options") or {}).get("include_usage")),
    )


def whole(ask: Ask, answer: Answer, answer_id: str, now: int) -> Body:
    """The whole reply."""
    message: Body = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.tool:
        function = {"name": answer.tool, "arguments": answer.arguments}
        message["tool_calls"] = [{"id": f"call_{answer_id}", "type": "function", "function": function}]
    return {
        "id": f"chatcmpl-{answer_id}",
        "object": "chat.completion",
        "created": now,
        "model": ask.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}],
        "usage": _usage(answer),
    }


def stream(ask: Ask, answer: Answer, answer_id: str, now: int) -> Iterator[bytes]:
    """The reply as frames of a stream; the last chunk before the end carries the usage."""
    head = {"id": f"chatcmpl-{answer_id}", "object": "chat.completion.chunk", "created": now, "model": ask.model}

    def chunk(delta: Body, finish: str | None = None) -> bytes:
        return frame({**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": None if answer.tool else "", "refusal": None})
    for word in words(answer.text):
        yield chunk({"content": word})
    if answer.tool:
        function: dict[str, Any] = {"name": answer.tool, "arguments": ""}
        yield chunk({"tool_calls": [{"index": 0, "id": f"call_{answer_id}", "type": "function", "function": function}]})
        for piece in halves(answer.arguments):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    yield chunk({}, _finish(answer))
    if ask.usage:
        yield frame({**head, "choices": [], "usage": _usage(answer)})
    yield b"data: [DONE]\n\n"


def error(status: int, message: str) -> Body:
    """An error."""
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004 - the class of server errors
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _heard(messages: list[Body]) -> tuple[Heard, ...]:
    heard: list[Heard] = []
    for message in messages:
        content = message.get("content")
        match message.get("role"):
            case "tool" | "function":
                before = heard.pop().results if heard and heard[-1].results else ()
                heard.append(Heard("user", results=(*before, text_of(content))))
            case "assistant":
                heard.append(Heard("assistant", text_of(content)))
            case "user":
                heard.append(Heard("user", text_of(content), count(content, "image_url")))
    return tuple(heard)


def _choice(choice: object) -> str:
    if isinstance(choice, dict):
        return str(choice.get("function", {}).get("name", "auto"))
    return str(choice or "auto")


def _schema(response_format: object) -> Schema | None:
    if not isinstance(response_format, dict):
        return None
    match response_format.get("type"):
        case "json_schema":
            schema = response_format.get("json_schema", {}).get("schema")
            return schema if isinstance(schema, dict) else ANY_OBJECT
        case "json_object":
            return ANY_OBJECT
        case _:
            return None


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.tool else "stop"


def _usage(answer: Answer) -> Body:
    return {
        "prompt_tokens": answer.input,
        "completion_tokens": answer.output,
        "total_tokens": answer.input + answer.output,
        "prompt_tokens_details": {"cached_tokens": answer.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
