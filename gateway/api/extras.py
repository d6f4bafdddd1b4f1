"""Routes beside the conversations: token counts, embeddings, legacy completions, and probes of coding agents."""

from collections.abc import Callable, Iterator

import msgspec
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send
from msgspec import Raw

from gateway.api.inference import Inference
from gateway.dialects.dialect import Dialect, Request
from gateway.dialects.openai_chat import completions
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError, Kind
from gateway.passthrough import complete, count, embed

COUNTS = {"anthropic": "/v1/messages/count_tokens", "openai_responses": "/v1/responses/input_tokens"}
HELLOS = ("/", "/api/hello")
"""What Claude Code asks, with HEAD, to see whether somebody is there."""

_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_TEXT = msgspec.json.Decoder(str)


def extra_routes(inference: Inference) -> Iterator[ASGIRouteHandler]:
    """The routes. Gemini's `:countTokens` lies below its models."""
    for name, path in COUNTS.items():
        yield inference.route(path, DIALECTS[name], _opener(DIALECTS[name]), serve_one=count)
    chat = DIALECTS["openai_chat"]
    yield inference.route("/v1/embeddings", chat, _open_embedding, serve_one=embed)
    yield inference.route("/v1/completions", completions, _opener(completions), serve_one=complete)
    for path in HELLOS:
        yield asgi(path, copy_scope=False)(_hello)


def _opener(dialect: Dialect) -> Callable[[Scope, bytes], Request]:
    def opened(_: Scope, body: bytes) -> Request:
        return dialect.open_request(body)

    return opened


def _open_embedding(_: Scope, body: bytes) -> Request:
    """The members of a request for embeddings. Raises GatewayError (INVALID)."""
    try:
        fields = _FIELDS.decode(body)
        model = _TEXT.decode(fields.get("model", Raw(b"null")))
    except (msgspec.MsgspecError, RecursionError):
        message = "The body is a JSON object with `model` and `input`."
        raise GatewayError(Kind.INVALID, message, param="model") from None
    if "input" not in fields:
        raise GatewayError(Kind.INVALID, "input is missing: what to embed.", param="input")
    return Request("openai_chat", fields, model, stream=False)


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - Litestar wants all three
    status = 200 if scope.get("method") in ("HEAD", "GET") else 405
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
