"""The demo provider as an ASGI application."""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

from gateway.demo import chat, gemini, messages, responses
from gateway.demo.mind import answer
from gateway.demo.wire import BadRequest, Body, Wire, dumps

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

_LARGEST = 32 << 20
_GEMINI = re.compile(r"/v1(?:beta)?/models/([^/:]+):(generateContent|streamGenerateContent|countTokens)")


class _NotFound(Exception):
    """There is nothing under this path."""


def demo_app(*, pause: float = 0.02) -> ASGIApp:
    """The application; `pause` is in seconds, between two pieces of a stream."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await _serve(scope, receive, send, pause)

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _serve(scope: dict[str, Any], receive: Receive, send: Send, pause: float) -> None:
    path: str = scope["path"]
    wire = _wire(path)
    try:
        if scope["method"] in ("GET", "HEAD"):
            await _send(send, 200, _listing(path))
            return
        body = await _body(receive)
        if (match := _GEMINI.fullmatch(path)) is not None:
            body |= {"model": match[1], "stream": match[2] == "streamGenerateContent"}
        if (counted := _counted(path, body)) is not None:
            await _send(send, 200, counted)
            return
        ask = wire.read(body)
        said = answer(ask)
    except BadRequest as exc:
        await _send(send, 400, wire.error(400, str(exc)))
    except (AttributeError, IndexError, KeyError, TypeError):
        await _send(send, 400, wire.error(400, "The request does not have the shape that this endpoint reads."))
    except _NotFound:
        await _send(send, 404, wire.error(404, f"There is nothing at {path}."))
    else:
        answer_id, now = uuid.uuid4().hex, int(time.time())
        if ask.stream:
            await _start(send, 200, b"text/event-stream")
            await _pace(send, wire.stream(ask, said, answer_id, now), pause)
        else:
            await _send(send, 200, wire.whole(ask, said, answer_id, now))


async def _pace(send: Send, frames: Iterator[bytes], pause: float) -> None:
    try:
        for frame in frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": b""})
    except OSError:
        return  # the reader has left


def _wire(path: str) -> Wire:
    if path.startswith("/v1/messages"):
        return messages
    if path == "/v1/responses":
        return responses
    return gemini if _GEMINI.fullmatch(path) else chat


def _listing(path: str) -> Body:
    if path != "/v1/models":
        raise _NotFound
    return {"object": "list", "data": [{"id": "demo", "object": "model", "created": 0, "owned_by": "demo"}]}


def _counted(path: str, body: Body) -> Body | None:
    """The answer to a request to count tokens; None if it is none."""
    if path == "/v1/messages/count_tokens":
        return {"input_tokens": answer(messages.asked(body)).input}
    if path.endswith(":countTokens"):
        return {"totalTokens": answer(gemini.read(body)).input}
    if path not in ("/v1/chat/completions", "/v1/messages", "/v1/responses") and not _GEMINI.fullmatch(path):
        raise _NotFound
    return None


async def _body(receive: Receive) -> Body:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > _LARGEST:
            raise BadRequest("The body is too large.")
        if not message.get("more_body"):
            break
    try:
        body = json.loads(b"".join(pieces))
    except ValueError:
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    return body


async def _send(send: Send, status: int, body: Body) -> None:
    await _start(send, status, b"application/json")
    await send({"type": "http.response.body", "body": dumps(body).encode()})


async def _start(send: Send, status: int, media_type: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", media_type)]})
