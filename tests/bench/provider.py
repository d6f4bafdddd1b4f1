"""An instant mock provider: one asyncio protocol that answers before a gateway can ask why.

    python tests/bench/provider.py --port 9001

Speaks OpenAI Chat Completions, OpenAI Responses, Anthropic Messages and Gemini generateContent, whole and streamed,
from answers that were encoded once. It reads no more of a request than its path, its length and whether it asks for
a stream. A stream has 20 events without a pause, each a write of its own; a request in whose text stands
`events:500 gap:5` gets 500 of them, 5 milliseconds apart but for the first three;
after `cut:7` the connection breaks before the eighth event.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import re
import socket
from functools import cache, partial

import uvloop

WORDS = ("The", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "rests", "in", "the", "sun")
USAGE = (12, 34)
EVENTS = 20
AT_ONCE = 2
"""The index of the last event that no gap precedes: a role alone is no content yet."""
WISH = re.compile(rb"events:(\d+) gap:(\d+)(?: cut:(\d+))?")
STREAMED = b'"stream":true', b'"stream": true'
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def event(data: dict | str, name: str = "") -> bytes:
    body = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return (f"event: {name}\n" if name else "").encode() + f"data: {body}\n\n".encode()


def words(count: int) -> list[str]:
    return [WORDS[i % len(WORDS)] + " " for i in range(count)]


def chat(count: int) -> tuple[bytes, list[bytes]]:
    base = {"id": "chatcmpl-1", "created": 1700000000, "model": "mock"}
    tokens = {"prompt_tokens": USAGE[0], "completion_tokens": USAGE[1], "total_tokens": sum(USAGE)}
    message = {"role": "assistant", "content": "".join(words(count))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {**base, "object": "chat.completion", "choices": [choice], "usage": tokens}

    def chunk(delta: dict, reason: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        return event({**base, "object": "chat.completion.chunk", "choices": choices})

    first = chunk({"role": "assistant", "content": ""})
    middle = [chunk({"content": word}) for word in words(count - 3)]
    last = chunk({}, "stop")
    return encode(whole), [first, *middle, last, event("[DONE]")]


def responses(count: int) -> tuple[bytes, list[bytes]]:
    text = "".join(words(count - 8))
    base = {"id": "resp_1", "object": "response", "created_at": 1700000000, "model": "mock"}
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    tokens = {"input_tokens": USAGE[0], "output_tokens": USAGE[1], "total_tokens": sum(USAGE)}
    whole = {**base, "status": "completed", "output": [item], "usage": tokens}
    started = {**base, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    opened = {**item, "status": "in_progress", "content": []}
    frames = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
        {"type": "response.output_item.added", "output_index": 0, "item": opened},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word} for word in words(count - 8)),
        {"type": "response.output_text.done", **place, "text": text},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return encode(whole), [event({**f, "sequence_number": i}, str(f["type"])) for i, f in enumerate(frames)]


def anthropic(count: int) -> tuple[bytes, list[bytes]]:
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "mock", "stop_sequence": None}
    tokens = {"input_tokens": USAGE[0], "output_tokens": USAGE[1]}
    text = [{"type": "text", "text": "".join(words(count - 5))}]
    whole = {**base, "content": text, "stop_reason": "end_turn", "usage": tokens}
    started = {**base, "content": [], "stop_reason": None, "usage": {**tokens, "output_tokens": 1}}
    frames = [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            for word in words(count - 5)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": USAGE[1]},
        },
        {"type": "message_stop"},
    ]
    return encode(whole), [event(f, str(f["type"])) for f in frames]


def gemini(count: int) -> tuple[bytes, list[bytes]]:
    tokens = {"promptTokenCount": USAGE[0], "candidatesTokenCount": USAGE[1], "totalTokenCount": sum(USAGE)}

    def piece(text: str, *, last: bool) -> dict:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
        if last:
            candidate["finishReason"] = "STOP"
        return {"candidates": [candidate], "usageMetadata": tokens, "modelVersion": "mock", "responseId": "r1"}

    pieces = words(count)
    frames = [event(piece(word, last=i == count - 1)) for i, word in enumerate(pieces)]
    return encode(piece("".join(pieces), last=True)), frames


def encode(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def whole_answer(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def streamed_answer(frames: list[bytes]) -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\nx-request-id: req_1\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames]
    return [head + b"transfer-encoding: chunked\r\n\r\n" + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n"]


@cache
def answers(count: int) -> dict[bytes, tuple[bytes, list[bytes]]]:
    """Every answer, by what the path contains; `count` events in a stream (at least 10)."""
    made = {
        b"/chat/completions": chat(count),
        b"/responses": responses(count),
        b"/messages": anthropic(count),
        b"enerateContent": gemini(count),
    }
    models = {"object": "list", "data": [{"id": "mock", "object": "model", "created": 1, "owned_by": "mock"}]}
    listed = {b"GET ": (whole_answer(encode(models)), [])}
    return listed | {path: (whole_answer(body), streamed_answer(frames)) for path, (body, frames) in made.items()}


class Provider(asyncio.Protocol):
    """One client connection; requests come one at a time."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.missing = 0
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.parts:
            self.missing -= len(data)
            self.parts.append(data)
            if self.missing > 0:
                return
            data = b"".join(self.parts)
            self.parts.clear()
        end = data.find(b"\r\n\r\n")
        self.missing = missing(data, end) if end >= 0 else 1
        if self.missing > 0:
            self.parts.append(data)
        else:
            self.answer(data, end)

    def answer(self, data: bytes, end: int) -> None:
        line = data[: data.index(b"\r\n")]
        if not (b"streamGenerateContent" in line or any(wanted in data for wanted in STREAMED)):
            self.transport.write(chosen(line, EVENTS)[0])
            return
        wish = WISH.search(data, end)
        events, gap, cut = map(int, wish.groups(b"0")) if wish else (EVENTS, 0, 0)
        stream = chosen(line, events)[1]
        self.write_stream(stream[:cut] if cut else stream, gap / 1000, 0, cut=cut)

    def write_stream(self, stream: list[bytes], gap: float, index: int, *, cut: int = 0) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(stream[index])
        if index + 1 < len(stream):
            again = partial(self.write_stream, stream, gap, index + 1, cut=cut)
            if gap and index >= AT_ONCE:
                self.loop.call_later(gap, again)
            else:
                self.loop.call_soon(again)
        elif cut:
            self.transport.close()


def chosen(line: bytes, events: int) -> tuple[bytes, list[bytes]]:
    table = answers(events)
    return next((answer for path, answer in table.items() if path in line), table[b"/chat/completions"])


def missing(data: bytes, end: int) -> int:
    """How many bytes of the request are still to come: at least that many if its length is not told."""
    length = LENGTH.search(data, 0, end + 2)
    if length:
        return end + 4 + int(length[1]) - len(data)
    if b"chunked" in data[:end]:
        return 0 if data.endswith(b"0\r\n\r\n") else 1
    return 0


async def serve(port: int) -> None:
    answers(EVENTS)
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    server = await asyncio.get_running_loop().create_server(Provider, sock=listener)
    gc.freeze()
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="An instant mock provider.")
    parser.add_argument("--port", type=int, default=9001)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
