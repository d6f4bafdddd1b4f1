"""A bare ASGI application over the gateway's transport: how fast the whole gateway could be at best.

    uvicorn standin:app --app-dir tests/bench

Checks a key, opens the body as the dialects do, encodes it again and passes the provider's answer through.
PROVIDER names the provider's port.
"""

import os
from functools import cache

import msgspec

from gateway.transport import Endpoint, Transport

DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
ENCODER = msgspec.json.Encoder()
ANSWER = b'{"choices":[{"message":{"role":"assistant","content":"The quick brown fox"}}]}'
FORWARDED = frozenset((b"content-type", b"x-request-id"))


@cache
def wiring() -> tuple[Transport, Endpoint]:
    url = f"http://127.0.0.1:{os.environ['PROVIDER']}/v1/chat/completions"
    return Transport(), Endpoint(url, headers={"authorization": "Bearer sk-up", "content-type": "application/json"})


async def read(receive) -> bytes:
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


async def app(scope, receive, send) -> None:
    if scope["type"] != "http":
        return
    if dict(scope["headers"]).get(b"authorization") != b"Bearer sk-test":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body"})
        return
    fields = DECODER.decode(await read(receive))
    transport, endpoint = wiring()
    response = await transport.handle_async_request(endpoint.request(ENCODER.encode(fields), {"x-request-id": "r1"}))
    headers = [(name, value) for name, value in response.headers.raw if name in FORWARDED]
    try:
        if bytes(fields.get("stream", b"")) == b"true":
            await stream(response, headers, send)
        else:
            await whole(response, headers, send)
    finally:
        await response.stream.aclose()


async def whole(response, headers, send) -> None:
    body = b"".join([piece async for piece in response.stream])
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(response, headers, send) -> None:
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    async for piece in response.stream:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def bare(scope, receive, send) -> None:
    """Answers by itself: what the server alone costs."""
    if scope["type"] == "http":
        await read(receive)
        length = (b"content-length", b"%d" % len(ANSWER))
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"), length]}
        )
        await send({"type": "http.response.body", "body": ANSWER})
