"""A provider that answers from a script, in every wire format, and remembers what it was sent.

An ASGI application: behind `httpx.ASGITransport` inside a test, or served for real by uvicorn.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass
class Say:
    """One answer: a text, tool calls as (id, name, arguments), or a failure.

    `cut`: stop after so many events, having been silent for `hang` seconds and sent `last`; `fault`: send an error
    event in place of the event of that number.
    """

    text: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    thinking: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    fault: int | None = None
    last: bytes = b""
    hang: float = 0.0
    wait: float = 0.0
    pause: float = 0.0
    body: bytes | None = None
    usage: tuple[int, int] = (10, 5)


@dataclass
class Seen:
    """One request as the provider got it."""

    host: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Scripted:
    """Answers with what `script` gives for a request: a Say, a text, or None for `reply-<n>`."""

    def __init__(self, script: Callable[[Seen], Say | str | None] | None = None) -> None:
        self.script = script or (lambda _: None)
        self.seen: list[Seen] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.cancelled = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        raw, more = b"", True
        while more:
            message = await receive()
            raw += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen = Seen(headers.get("host", ""), scope["path"], headers, raw)
        self.seen.append(seen)
        said = self.script(seen)
        say = Say(said) if isinstance(said, str) else said or Say(f"reply-{len(self.seen)}")
        try:
            await self._answer(seen, say, receive, send)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _answer(self, seen: Seen, say: Say, receive: Receive, send: Send) -> None:
        if self.meanwhile is not None:
            await self.meanwhile()
        if say.wait:
            await asyncio.sleep(say.wait)
        number = len(self.seen)
        stream = say.status == 200 and say.body is None and _streams(seen)
        kind = b"text/event-stream" if stream else b"application/json"
        headers = [(b"content-type", kind), *((k.encode(), v.encode()) for k, v in say.headers.items())]
        await send({"type": "http.response.start", "status": say.status, "headers": headers})
        if not stream:
            body = say.body if say.body is not None else json.dumps(whole(seen.path, say, number)).encode()
            await send({"type": "http.response.body", "body": body})
            return
        for place, event in enumerate(events(seen.path, say, number)):
            if place == say.cut:
                await _silent(receive, say.hang)
                if say.last:
                    await send({"type": "http.response.body", "body": say.last, "more_body": True})
                break
            if place == say.fault:
                await send({"type": "http.response.body", "body": _fault(seen.path), "more_body": True})
                break
            if say.pause:
                await asyncio.sleep(say.pause)
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _silent(receive: Receive, seconds: float) -> None:
    """Nothing for so long, or until the client has left."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass


def _streams(seen: Seen) -> bool:
    return "streamGenerateContent" in seen.path or ("enerateContent" not in seen.path and bool(seen.body.get("stream")))


def whole(path: str, say: Say, number: int) -> dict[str, Any]:
    """A whole answer in the format of `path`."""
    if say.status != 200:
        return _failure(path, say)
    if path.endswith("/chat/completions"):
        return _chat(say, number)
    if path.endswith("/messages"):
        return _message(say, number)
    return _response(say, number) if path.endswith("/responses") else _gemini(say, number)


def _failure(path: str, say: Say) -> dict[str, Any]:
    text = say.text or "scripted failure"
    if path.endswith("/messages"):
        kind = "invalid_request_error" if say.status == 400 else "api_error"
        return {"type": "error", "error": {"type": kind, "message": text}}
    if "enerateContent" in path:
        return {
            "error": {
                "code": say.status,
                "message": text,
                "status": "INVALID_ARGUMENT" if say.status == 400 else "INTERNAL",
            }
        }
    return {"error": {"message": text, "type": "scripted_error", "code": "scripted"}}


def _fault(path: str) -> bytes:
    """An error inside a stream."""
    if path.endswith("/messages"):
        return _frame({"type": "error", "error": {"type": "api_error", "message": "Overloaded"}}, "error")
    if path.endswith("/responses"):
        event = {"type": "error", "code": "server_error", "message": "Overloaded", "param": None, "sequence_number": 9}
        return _frame(event, "error")
    if path.endswith("/chat/completions"):
        return _frame({"error": {"message": "Overloaded", "type": "server_error", "param": None, "code": None}})
    return _frame({"error": {"code": 500, "message": "Overloaded", "status": "INTERNAL"}})


def _chat(say: Say, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": say.text or None, "refusal": None}
    if say.thinking:
        message["reasoning_content"] = say.thinking
    if say.calls:
        message["tool_calls"] = [
            {"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in say.calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if say.calls else "stop", "logprobs": None}
    given, made = say.usage
    usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
    return {
        "id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "up-chat",
        "choices": [choice], "usage": usage,
    }  # fmt: skip


def _message(say: Say, number: int) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if say.thinking:
        content.append({"type": "thinking", "thinking": say.thinking, "signature": f"sig-{number}"})
    if say.text:
        content.append({"type": "text", "text": say.text})
    content += [{"type": "tool_use", "id": i, "name": n, "input": json.loads(a)} for i, n, a in say.calls]
    return {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": "up-claude", "content": content,
        "stop_reason": "tool_use" if say.calls else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": say.usage[0], "output_tokens": say.usage[1]},
    }  # fmt: skip


def _response(say: Say, number: int) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    if say.thinking:
        summary = [{"type": "summary_text", "text": say.thinking}]
        output.append({"type": "reasoning", "id": f"rs_{number}", "summary": summary, "encrypted_content": "enc"})
    if say.text:
        part = {"type": "output_text", "text": say.text, "annotations": []}
        output.append(
            {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [part]}
        )
    output += [
        {"type": "function_call", "id": f"fc_{i}", "call_id": i, "name": n, "arguments": a, "status": "completed"}
        for i, n, a in say.calls
    ]
    given, made = say.usage
    return {
        "id": f"resp_{number}", "object": "response", "created_at": 1, "model": "up-responses", "status": "completed",
        "output": output, "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0,
        "usage": {
            "input_tokens": given, "output_tokens": made, "total_tokens": given + made,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }  # fmt: skip


def _gemini(say: Say, number: int) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": say.thinking, "thought": True}] if say.thinking else []
    parts += [{"text": say.text}] if say.text else []
    parts += [{"functionCall": {"name": n, "args": json.loads(a)}} for _, n, a in say.calls]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    given, made = say.usage
    usage = {"promptTokenCount": given, "candidatesTokenCount": made, "totalTokenCount": given + made}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "up-gemini", "responseId": f"g{number}"}


def events(path: str, say: Say, number: int) -> list[bytes]:
    """A streamed answer in the format of `path`, one item an event."""
    if path.endswith("/chat/completions"):
        return _chat_events(say, number)
    if path.endswith("/messages"):
        return _message_events(say, number)
    if path.endswith("/responses"):
        return _response_events(say, number)
    return _gemini_events(say, number)


def _frame(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def _words(text: str) -> list[str]:
    *words, last = text.split(" ")
    return [f"{word} " for word in words] + ([last] if last else [])


def _chat_events(say: Say, number: int) -> list[bytes]:
    base = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": "up-chat"}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        return _frame({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    out = [chunk({"role": "assistant", "content": ""})]
    out += [chunk({"reasoning_content": say.thinking})] if say.thinking else []
    out += [chunk({"content": word}) for word in _words(say.text)]
    for index, (i, name, arguments) in enumerate(say.calls):
        call = {"index": index, "id": i, "type": "function", "function": {"name": name, "arguments": ""}}
        out.append(chunk({"tool_calls": [call]}))
        for piece in (arguments[:4], arguments[4:]):
            out.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    out.append(chunk({}, "tool_calls" if say.calls else "stop"))
    given, made = say.usage
    usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
    out.append(_frame({**base, "choices": [], "usage": usage}))
    return [*out, b"data: [DONE]\n\n"]


def _message_events(say: Say, number: int) -> list[bytes]:
    start = {**_message(Say(usage=say.usage), number), "content": [], "stop_reason": None}
    out = [_frame({"type": "message_start", "message": start}, "message_start")]
    blocks = _message(say, number)["content"]
    for index, block in enumerate(blocks):
        match block["type"]:
            case "text":
                empty, deltas = {"type": "text", "text": ""}, [("text_delta", "text", w) for w in _words(block["text"])]
            case "thinking":
                empty = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [("thinking_delta", "thinking", block["thinking"])]
                deltas.append(("signature_delta", "signature", block["signature"]))
            case _:
                empty = {**block, "input": {}}
                text = json.dumps(block["input"])
                deltas = [("input_json_delta", "partial_json", piece) for piece in (text[:4], text[4:])]
        opening = {"type": "content_block_start", "index": index, "content_block": empty}
        out.append(_frame(opening, "content_block_start"))
        for kind, member, value in deltas:
            delta = {"type": "content_block_delta", "index": index, "delta": {"type": kind, member: value}}
            out.append(_frame(delta, "content_block_delta"))
        out.append(_frame({"type": "content_block_stop", "index": index}, "content_block_stop"))
    delta = {"stop_reason": "tool_use" if say.calls else "end_turn", "stop_sequence": None}
    usage = {"output_tokens": say.usage[1]}
    out.append(_frame({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta"))
    return [*out, _frame({"type": "message_stop"}, "message_stop")]


def _response_events(say: Say, number: int) -> list[bytes]:
    done = _response(say, number)
    shell = {**done, "status": "in_progress", "output": [], "usage": None}
    script: list[dict[str, Any]] = [
        {"type": "response.created", "response": shell},
        {"type": "response.in_progress", "response": shell},
    ]
    for place, item in enumerate(done["output"]):
        at = {"output_index": place, "item_id": item["id"]}
        if item["type"] == "message":
            text = item["content"][0]["text"]
            inner = {**at, "content_index": 0}
            empty = {**item, "content": [], "status": "in_progress"}
            blank = {**item["content"][0], "text": ""}
            script += [
                {"type": "response.output_item.added", "output_index": place, "item": empty},
                {"type": "response.content_part.added", **inner, "part": blank},
                *({"type": "response.output_text.delta", **inner, "delta": w, "logprobs": []} for w in _words(text)),
                {"type": "response.output_text.done", **inner, "text": text, "logprobs": []},
                {"type": "response.content_part.done", **inner, "part": item["content"][0]},
            ]
        elif item["type"] == "reasoning":
            part = item["summary"][0]
            inner = {**at, "summary_index": 0}
            script += [
                {"type": "response.output_item.added", "output_index": place, "item": {**item, "summary": []}},
                {"type": "response.reasoning_summary_part.added", **inner, "part": {**part, "text": ""}},
                {"type": "response.reasoning_summary_text.delta", **inner, "delta": part["text"]},
                {"type": "response.reasoning_summary_text.done", **inner, "text": part["text"]},
                {"type": "response.reasoning_summary_part.done", **inner, "part": part},
            ]
        else:
            empty = {**item, "arguments": "", "status": "in_progress"}
            pieces = (item["arguments"][:4], item["arguments"][4:])
            arguments, name = item["arguments"], item["name"]
            script += [
                {"type": "response.output_item.added", "output_index": place, "item": empty},
                *({"type": "response.function_call_arguments.delta", **at, "delta": piece} for piece in pieces),
                {"type": "response.function_call_arguments.done", **at, "arguments": arguments, "name": name},
            ]
        script.append({"type": "response.output_item.done", "output_index": place, "item": item})
    script.append({"type": "response.completed", "response": done})
    return [_frame({**event, "sequence_number": i}, event["type"]) for i, event in enumerate(script)]


def _gemini_events(say: Say, number: int) -> list[bytes]:
    last = _gemini(say, number)
    thoughts: list[dict[str, Any]] = [{"text": say.thinking, "thought": True}] if say.thinking else []
    said = len(thoughts) + bool(say.text)
    calls = last["candidates"][0]["content"]["parts"][said:]
    parts = thoughts + [{"text": word} for word in _words(say.text)] + calls
    out = []
    for place, part in enumerate(parts):
        final = place == len(parts) - 1
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [part]}, "index": 0}
        if final:
            candidate["finishReason"] = "STOP"
        out.append(_frame({**last, "candidates": [candidate]}))
    return out
