"""The management API, under /v0/management. Without a key it does not exist."""

import logging
import math
from typing import Annotated, Any

from litestar import Controller, Request, Response, Router, delete, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter, SkipValidation
from litestar.types import ExceptionHandlersMap
from msgspec import Struct

from gateway.api.docs import docs_routes, document_of
from gateway.api.guard import address_of, require_key
from gateway.api.selection import Ambiguous, Filter, FoundKey, Owner, Store, found_cleanup, found_key, wanted_filter
from gateway.api.transcript import Dialects, Session, Transcript, session_of, transcript_of
from gateway.errors import GatewayError, Kind, kind_of
from gateway.sessions.store import SessionKey, SessionStore

log = logging.getLogger("gateway.management")
audit = logging.getLogger("gateway.audit")

PATH = "/v0/management"
LARGEST_PAGE = 1000
_PAGES_READ = 20
_RETRY_AFTER = 5
_ABOUT = (
    "Every request carries the management key, as `Authorization: Bearer` or `X-Management-Key`. "
    'An error is {"error": {"code", "message"}}.'
)
_NO_STORE = {"Cache-Control": "no-store"}

Known = NamedDependency[SkipValidation[Dialects]]
AnyRequest = Request[Any, Any, Any]
FirstTurn = Annotated[int | None, QueryParameter(ge=1, description="The first turn; the oldest one if absent.")]
Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE, description="At most so many.")]


class Page(Struct, frozen=True):
    """Sessions, newest use first. `next` is the cursor of the next page, None at the end; a page may be short."""

    sessions: list[Session]
    count: int
    next: str | None


class Deleted(Struct, frozen=True):
    """The session is gone, whether or not it was there."""

    status: str = "deleted"


class Cleaned(Struct, frozen=True):
    """How many expired sessions were removed."""

    removed: int
    status: str = "cleaned"


class Sessions(Controller):
    """Conversations: listing, reading, deleting."""

    path = "/sessions"
    tags = ("sessions",)
    dependencies = {"wanted": Provide(wanted_filter), "key": Provide(found_key)}  # noqa: RUF012 - how Litestar is told

    @get()
    async def list_sessions(
        self,
        store: Store,
        wanted: NamedDependency[SkipValidation[Filter]],
        owner: Owner = None,
        cursor: Annotated[str | None, QueryParameter(description="`next` of the page before.")] = None,
        limit: Limit = 100,
    ) -> Page:
        """Sessions, newest use first, without their messages."""
        found: list[Session] = []
        for _ in range(_PAGES_READ):
            page = await store.list(owner=owner, cursor=cursor, limit=limit - len(found))
            found += [session_of(head) for head in page.heads if wanted.passes(head)]
            cursor = None if any(map(wanted.is_past, page.heads)) else page.next
            if cursor is None or len(found) >= limit:
                break
        return Page(found, len(found), cursor)

    @get("/{id:str}")
    async def read_session(
        self,
        request: AnyRequest,
        store: Store,
        dialects: Known,
        key: FoundKey,
        turn: Annotated[
            int | None, QueryParameter(ge=1, description="The first turn; the oldest one if absent.")
        ] = None,
        limit: Limit = 100,
    ) -> Transcript:
        """A session with its messages, oldest first. Every read is written to the audit log."""
        return await _transcript(request, store, dialects, key, (turn, limit))

    @delete("/{id:str}", status_code=200)
    async def delete_session(
        self,
        request: AnyRequest,
        store: Store,
        key: FoundKey,
    ) -> Deleted:
        """Delete a session at once. A turn that is running will not bring it back."""
        return await _delete(request, store, key)

    @post("/cleanup", status_code=200)
    async def cleanup(self, request: AnyRequest, store: Store) -> Cleaned:
        """Remove expired sessions now. A store that expires by itself answers 0."""
        removed = await store.cleanup()
        audit.info("sessions cleaned", extra={"removed": removed, "address": address_of(request)})
        return Cleaned(removed)

    # `cleanup` is a legal session id too, and the router prefers the literal path.

    @get("/cleanup", include_in_schema=False, dependencies={"key": Provide(found_cleanup)})
    async def read_session_cleanup(
        self,
        request: AnyRequest,
        store: Store,
        dialects: Known,
        key: FoundKey,
        turn: FirstTurn = None,
        limit: Limit = 100,
    ) -> Transcript:
        """The session whose id is `cleanup`."""
        return await _transcript(request, store, dialects, key, (turn, limit))

    @delete("/cleanup", status_code=200, include_in_schema=False, dependencies={"key": Provide(found_cleanup)})
    async def delete_session_cleanup(self, request: AnyRequest, store: Store, key: FoundKey) -> Deleted:
        """Delete the session whose id is `cleanup`."""
        return await _delete(request, store, key)


def management_router(store: SessionStore | None, key: bytes | None, dialects: Dialects) -> Router:
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
            route_handlers=[guarded(), *more],
            dependencies={
                "store": Provide(provide_store, sync_to_thread=False),
                "dialects": Provide(lambda: dialects, sync_to_thread=False),
            },
            exception_handlers=HANDLERS,
            response_headers=[ResponseHeader(name="Cache-Control", value="no-store")],
        )

    def guarded() -> Router:
        return Router("/", route_handlers=[Sessions], guards=[require_key(key)])

    document = document_of(router(), title="Gateway management", description=_ABOUT)
    return router(*docs_routes(document))


async def _transcript(
    request: AnyRequest,
    store: SessionStore,
    dialects: Dialects,
    key: SessionKey | None,
    wanted: tuple[int | None, int],
) -> Transcript:
    """`wanted` is the first turn, None for the oldest, and how many."""
    head = await store.head(key) if key else None
    if key is None or head is None:
        raise GatewayError(Kind.NOT_FOUND, "There is no such session.", code="session_not_found")
    first, count = wanted
    turns = await store.turns(key, first=max(head.first, first or 0), count=count)
    _note("transcript read", request, key, first=min(turns, default=None), turns=len(turns))
    return transcript_of(head, turns, dialects)


async def _delete(request: AnyRequest, store: SessionStore, key: SessionKey | None) -> Deleted:
    if key is not None:
        _note("session deleted", request, key, existed=await store.delete(key))
    return Deleted()


def _note(what: str, request: AnyRequest, key: SessionKey, **more: object) -> None:
    whose = {"session": key.id, "owner": key.owner, "user": key.user}
    audit.info(what, extra={**whose, **more, "address": address_of(request)})


def _on_gateway_error(_: AnyRequest, exc: GatewayError) -> Response[Any]:
    error: dict[str, Any] = {"code": exc.code or exc.kind.label, "message": exc.message}
    if isinstance(exc, Ambiguous):
        error["owners"] = exc.owners
    headers = dict(_NO_STORE)
    if exc.kind is Kind.UNAVAILABLE:
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
