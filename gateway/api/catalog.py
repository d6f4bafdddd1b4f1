"""The routes that list models, for clients."""

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from gateway.api.auth import Caller, Callers
from gateway.api.models import Document, listing, one, shape_of, visible
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError, Kind
from gateway.routing.table import Table, may_use

_DIALECT_OF_SHAPE = {"gemini": "gemini", "anthropic": "anthropic", "openai": "openai_chat"}

AnyRequest = Request[object, object, object]  # type: ignore[type-var]


def catalog(table: Table, callers: Callers) -> list[HTTPRouteHandler]:
    """GET /v1/models, /v1/models/{id} and the same under /v1beta."""

    def answer(request: AnyRequest, name: str | None) -> Response[bytes]:
        headers = {key.lower(): value for key, value in request.headers.items()}
        shape = shape_of(headers, request.url.path)
        try:
            caller = callers.find(headers, request.scope["query_string"].decode("latin-1"))
            document = _document(table, caller, name, shape)
        except GatewayError as error:
            dialect = DIALECTS.get(_DIALECT_OF_SHAPE[shape]) or DIALECTS["openai_chat"]
            body = dialect.encode_error(error, "")
            return Response(body, media_type="application/json", status_code=error.kind.status)
        return Response(msgspec.json.encode(document), media_type="application/json")

    @get(["/v1/models", "/v1beta/models"], sync_to_thread=False, include_in_schema=False)
    def models(request: AnyRequest) -> Response[bytes]:
        return answer(request, None)

    @get(["/v1/models/{name:path}", "/v1beta/models/{name:path}"], sync_to_thread=False, include_in_schema=False)
    def model(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
        return answer(request, name.strip("/"))

    return [models, model]


def _document(table: Table, caller: Caller, name: str | None, shape: str) -> Document:
    if name is None:
        return listing(visible(table, caller.models), shape)
    if table.find(name) is None or not may_use(caller.models, name):
        raise GatewayError(Kind.NOT_FOUND, f"There is no model {name!r} here.", code="model_not_found")
    return one(name, shape)
