"""`GET /v1/models`, in the shape that the asking SDK reads (feature A6): only path and headers tell them apart."""

from collections.abc import Iterable, Mapping
from urllib.parse import unquote

import msgspec
from litestar.types import Receive, Scope, Send

from gateway.api.cors import shared_with
from gateway.api.setup import Current
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError, Kind
from gateway.routing.table import Table, may_use

Document = dict[str, object]

EPOCH = "1970-01-01T00:00:00Z"
PREFIXES = ("/v1beta/models", "/v1/models")


class Models:
    """Lists the models that a key may use; wildcards are no names."""

    def __init__(self, current: Current) -> None:
        self._current = current

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - Litestar wants all three
        """GET and HEAD of the list, and of one model by its name in the path."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = unquote(scope["raw_path"].decode("latin-1"))
        shape = _shape_of(headers, path)
        try:
            setup = self._current.setup
            models = setup.callers.find(headers, scope["query_string"].decode("latin-1")).models
            prefix = next(prefix for prefix in PREFIXES if path.startswith(prefix))
            status, body = (
                200,
                msgspec.json.encode(
                    _document(setup.gateway.table, path.removeprefix(prefix).strip("/"), models, shape)
                ),
            )
        except GatewayError as error:
            status, body = error.kind.status, DIALECTS[shape].encode_error(error, "")
        told = shared_with(headers, self._current.setup.config.server.cors_origins)
        head = [(name.encode(), value.encode("latin-1")) for name, value in told]
        head += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _document(table: Table, name: str, models: tuple[str, ...], shape: str) -> Document:
    if not name:
        return _listing([name for name in table.names() if may_use(models, name)], shape)
    if table.find(name) is None or not may_use(models, name):
        raise GatewayError(Kind.NOT_FOUND, f"There is no model {name!r} here.", code="model_not_found")
    return _one(name, shape)


def _shape_of(headers: Mapping[str, str], path: str) -> str:
    """Which vendor's SDK asks, as the name of its dialect."""
    if path.startswith("/v1beta") or "x-goog-api-key" in headers:
        return "gemini"
    return "anthropic" if "anthropic-version" in headers else "openai_chat"


def _one(name: str, shape: str) -> Document:
    match shape:
        case "gemini":
            methods = ["generateContent", "streamGenerateContent", "countTokens"]
            return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}
        case "anthropic":
            return {"type": "model", "id": name, "display_name": name, "created_at": EPOCH}
        case _:
            return {"id": name, "object": "model", "created": 0, "owned_by": "gateway"}


def _listing(names: Iterable[str], shape: str) -> Document:
    names = list(names)
    models = [_one(name, shape) for name in names]
    match shape:
        case "gemini":
            return {"models": models}
        case "anthropic":
            ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
            return {"data": models, "has_more": False, **ends}
        case _:
            return {"object": "list", "data": models}
