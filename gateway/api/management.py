"""The management API, under /v0/management. Without a key it does not exist."""

import logging
import math
from functools import cache
from typing import Any

from litestar import Request, Response, Router
from litestar.datastructures import ResponseHeader
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ExceptionHandlersMap

from gateway.api.desk import Desk
from gateway.api.docs import docs_routes, document_of
from gateway.api.guard import guarded
from gateway.api.keys import KeysController
from gateway.api.operations import Operations
from gateway.api.selection import Ambiguous, wanted_filter
from gateway.api.sessions import Sessions, named
from gateway.api.transcript import Dialects
from gateway.api.transfer import export_sessions, import_sessions
from gateway.errors import GatewayError, Kind, kind_of
from gateway.sessions.store import SessionStore

log = logging.getLogger("gateway.management")

PATH = "/v0/management"
_RETRY_AFTER = 5
_ABOUT = (
    "Every request carries the management key, as `Authorization: Bearer` or `X-Management-Key`. "
    'An error is {"error": {"code", "message"}}.'
)
_NO_STORE = {"Cache-Control": "no-store"}

AnyRequest = Request[Any, Any, Any]


def management_router(store: SessionStore | None, desk: Desk, key: bytes | None, dialects: Dialects) -> Router:
    """The API for a store (None: sessions are off) and the SHA-256 of the key.

    Without a key the router is empty, so that every path under it is a 404. `/docs` and `/openapi.json` describe the
    rest and need no key.
    """
    if key is None:
        return Router(PATH, route_handlers=[])

    def provide_store() -> SessionStore:
        if store is None:
            raise GatewayError(Kind.UNAVAILABLE, "Sessions are off on this gateway.", code="sessions_off")
        return store

    def router(*more: HTTPRouteHandler) -> Router:
        return Router(
            PATH,
            route_handlers=[behind(), *more],
            dependencies={
                "store": Provide(provide_store, sync_to_thread=False),
                "dialects": Provide(lambda: dialects, sync_to_thread=False),
                "desk": Provide(lambda: desk, sync_to_thread=False),
            },
            exception_handlers=HANDLERS,
            response_headers=[ResponseHeader(name="Cache-Control", value="no-store")],
        )

    def behind() -> Router:
        transfer = Router(
            "/",
            route_handlers=[export_sessions, import_sessions],
            dependencies={"wanted": Provide(wanted_filter)},
        )
        literal = [named(name) for name in ("cleanup", "export", "import")]
        guard = guarded(key, desk.book, desk.config().management.trusted_proxies)
        return Router("/", route_handlers=[Sessions, *literal, transfer, Operations, KeysController], guards=[guard])

    @cache
    def document() -> dict[str, Any]:
        return document_of(router(), title="Gateway management", description=_ABOUT)

    return router(*docs_routes(document))


def _on_gateway_error(_: AnyRequest, exc: GatewayError) -> Response[Any]:
    error: dict[str, Any] = {"code": exc.code or exc.kind.label, "message": exc.message}
    if isinstance(exc, Ambiguous):
        error["owners"] = exc.owners
    headers = dict(_NO_STORE)
    if exc.kind in (Kind.UNAVAILABLE, Kind.RATE_LIMITED):
        headers["Retry-After"] = str(math.ceil(exc.retry_after or _RETRY_AFTER))
    if exc.kind is Kind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response({"error": error}, status_code=exc.kind.status, headers=headers)


def _on_http_error(_: AnyRequest, exc: HTTPException) -> Response[Any]:
    message = exc.detail
    if isinstance(exc.extra, list):
        message = "; ".join(f"{item.get('key')}: {item.get('message')}" for item in exc.extra)
    error = {"code": kind_of(exc.status_code).label, "message": message}
    return Response({"error": error}, status_code=exc.status_code, headers={**_NO_STORE, **(exc.headers or {})})


def _on_bug(request: AnyRequest, exc: Exception) -> Response[Any]:
    log.error("management failed", exc_info=exc, extra={"path": request.url.path})
    error = {"code": Kind.INTERNAL.label, "message": "The gateway failed; its log says why."}
    return Response({"error": error}, status_code=500, headers=_NO_STORE)


HANDLERS: ExceptionHandlersMap = {
    GatewayError: _on_gateway_error,
    HTTPException: _on_http_error,
    Exception: _on_bug,
}
