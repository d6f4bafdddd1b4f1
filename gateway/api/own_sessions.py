"""Clients' own sessions, at /v1/sessions with the client's key: list, read, delete (feature B3).

A caller sees its owner's sessions and, of those, only its end user's (`X-Session-User`, none without the header).
"""

from typing import Annotated, Any

from litestar import Controller, Request, Router, delete, get
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter, SkipValidation
from msgspec import Struct

from gateway.api.directives import read_id, read_user
from gateway.api.management import HANDLERS
from gateway.api.setup import Current
from gateway.api.transcript import Dialects, Session, Transcript, session_of, transcript_of
from gateway.errors import GatewayError, Kind
from gateway.sessions.store import SessionKey, SessionStore, Wanted

PATH = "/v1/sessions"
LARGEST_PAGE = 100
_PAGES_READ = 20

Store = NamedDependency[SkipValidation[SessionStore]]
Known = NamedDependency[SkipValidation[Dialects]]
Whose = NamedDependency[SkipValidation[SessionKey]]
Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE, description="At most so many.")]


class Page(Struct, frozen=True):
    """Sessions, newest use first. `next` is the cursor of the next page, None at the end; a page may be short."""

    sessions: list[Session]
    count: int
    next: str | None


class Deleted(Struct, frozen=True):
    """The session is gone, whether or not it was there."""

    id: str
    status: str = "deleted"


class OwnSessions(Controller):
    """The caller's conversations."""

    path = PATH
    tags = ("sessions",)

    @get()
    async def list_own(
        self,
        store: Store,
        whose: Whose,
        cursor: Annotated[str | None, QueryParameter(description="`next` of the page before.")] = None,
        limit: Limit = 20,
    ) -> Page:
        """Sessions, newest use first, without their messages."""
        found: list[Session] = []
        for _ in range(_PAGES_READ):
            wanted = Wanted(user=whose.user)
            page = await store.list(owner=whose.owner, cursor=cursor, limit=limit - len(found), wanted=wanted)
            found += map(session_of, page.heads)
            cursor = page.next
            if cursor is None or len(found) >= limit:
                break
        return Page(found, len(found), cursor)

    @get("/{id:str}")
    async def read_own(
        self,
        store: Store,
        dialects: Known,
        whose: Whose,
        id: FromPath[str],
        turn: Annotated[
            int | None, QueryParameter(ge=1, description="The first turn; the oldest one if absent.")
        ] = None,
        limit: Limit = 100,
    ) -> Transcript:
        """A session with its messages, oldest first; `next` is the turn to go on with."""
        key = SessionKey(whose.owner, whose.user, read_id(id))
        head = await store.head(key)
        if head is None:
            raise GatewayError(Kind.NOT_FOUND, "There is no such session.", code="session_not_found")
        return transcript_of(head, await store.turns(key, first=max(head.first, turn or 0), count=limit), dialects)

    @delete("/{id:str}", status_code=200)
    async def delete_own(self, store: Store, whose: Whose, id: FromPath[str]) -> Deleted:
        """Delete a session at once. A turn that is running will not bring it back."""
        key = SessionKey(whose.owner, whose.user, read_id(id))
        await store.delete(key)
        return Deleted(key.id)


def own_sessions_router(store: SessionStore, current: Current, dialects: Dialects) -> Router:
    """The routes, over a store."""

    def whose(request: Request[Any, Any, Any]) -> SessionKey:
        """Whose sessions the caller may see: a key without an id. Raises GatewayError."""
        headers = dict(request.headers)
        caller = current.setup.callers.find(headers, request.url.query)
        if caller.sessions != "history":
            message = "This API key keeps no sessions (sessions: history would)."
            raise GatewayError(Kind.FORBIDDEN, message, code="sessions_off")
        return SessionKey(caller.owner, read_user(headers), "")

    return Router(
        "/",
        route_handlers=[OwnSessions],
        dependencies={
            "store": Provide(lambda: store, sync_to_thread=False),
            "dialects": Provide(lambda: dialects, sync_to_thread=False),
            "whose": Provide(whose, sync_to_thread=False),
        },
        exception_handlers=HANDLERS,
        response_headers=[ResponseHeader(name="Cache-Control", value="no-store")],
    )
