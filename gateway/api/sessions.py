"""Conversations in the management API: finding, reading, making, changing and deleting them."""

import asyncio
from secrets import token_hex
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody, QueryParameter, SkipValidation
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from gateway.api.desk import AnyDesk, AnyRequest, Desk, note, note_session
from gateway.api.selection import (
    FoundKey,
    Owner,
    Store,
    found_cleanup,
    found_export,
    found_import,
    found_key,
    wanted_filter,
)
from gateway.api.transcript import Dialects, Session, Transcript, session_of, transcript_of
from gateway.errors import GatewayError, Kind
from gateway.sessions import store as stored
from gateway.sessions.making import fork_of, redigested, session_from, with_context
from gateway.sessions.store import ANY, Patch, Pin, SessionKey, SessionStore, Wanted

LARGEST_PAGE = 1000
EXAMINED = 2000
"""Sessions that one request looks at, at most, however few of them pass its filter."""

_CHUNK = 200
_AT_ONCE = 32
_LEAST = 20
"""What looking into the store counts at least."""

Known = NamedDependency[SkipValidation[Dialects]]
Which = NamedDependency[SkipValidation[Wanted]]
FirstTurn = Annotated[int | None, QueryParameter(ge=1, description="The first turn; the oldest one if absent.")]
Limit = Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE, description="At most so many.")]
Cursor = Annotated[str | None, QueryParameter(description="`next` of the page before.")]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,128}$", description="The session's id.")]
Seconds = Annotated[float, Meta(gt=0, le=3650 * 86400, description="Seconds from now.")]
Name = Annotated[str, Meta(min_length=1, max_length=256)]


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


class Erased(Struct, frozen=True):
    """One step of a deletion: go on with `next` as the cursor until it is None. In a dry run nothing is deleted."""

    examined: int
    matched: int
    deleted: int
    dry_run: bool
    next: str | None


class NewSession(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session to make. `messages` are in the form that `dialect` has in a request, questions and replies in turn.

    `id` is made if absent. `ttl` is sessions.ttl if absent. `pin` is a provider.
    """

    owner: Name
    id: Id | None = None
    user: Annotated[str, Meta(max_length=256)] = ""
    dialect: Literal["openai_chat", "openai_responses", "anthropic", "gemini"] = "openai_chat"
    messages: list[dict[str, Any]] = []
    ttl: Seconds | None = None
    pin: str | None = None
    user_context: dict[str, Any] = {}


class Change(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change in a session; what is left out stays.

    `ttl`: it lives for so many seconds from now, even beyond sessions.max_age. `pin`: the provider that its next
    turns go to, null for none. `user_context` replaces the one there is.
    """

    ttl: Seconds | UnsetType = UNSET
    pin: str | UnsetType | None = UNSET
    user_context: dict[str, Any] | UnsetType = UNSET


class Fork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session to make of the turns up to `at`, the newest if absent. `id` is made if absent."""

    at: Annotated[int, Meta(ge=0, le=1 << 50)] | None = None
    id: Id | None = None
    ttl: Seconds | None = None


class Erase(Struct, frozen=True):
    """How sessions are deleted."""

    dry_run: bool
    all: bool


async def wanted_erase(
    dry_run: Annotated[bool, QueryParameter(description="Only say how many there are.")] = False,  # noqa: FBT002 - a query
    all: Annotated[bool, QueryParameter(description="Without a filter: delete everything.")] = False,  # noqa: A002, FBT002 - a query
) -> Erase:
    """What the query says about it."""
    return Erase(dry_run, all)


class Sessions(Controller):
    """Conversations: listing, reading, making, changing, deleting."""

    path = "/sessions"
    tags = ("sessions",)
    dependencies = {  # noqa: RUF012 - how Litestar is told
        "wanted": Provide(wanted_filter),
        "key": Provide(found_key),
        "erase": Provide(wanted_erase),
    }

    @get()
    async def list_sessions(
        self, store: Store, wanted: Which, owner: Owner = None, cursor: Cursor = None, limit: Limit = 100
    ) -> Page:
        """Sessions, newest use first, without their messages. At most 2000 are looked at: a page may be short."""
        found: list[Session] = []
        examined = 0
        while True:
            page = await store.list(owner=owner, cursor=cursor, limit=min(limit - len(found), _CHUNK), wanted=wanted)
            found += map(session_of, page.heads)
            examined += max(page.looked, _LEAST)
            cursor = page.next
            if cursor is None or len(found) >= limit or examined >= EXAMINED:
                return Page(found, len(found), cursor)

    @post(status_code=201)
    async def create_session(
        self, request: AnyRequest, store: Store, dialects: Known, desk: AnyDesk, data: JSONBody[NewSession]
    ) -> Session:
        """Make a session, with messages or without. 409 if the owner has one with this id."""
        key = SessionKey(data.owner, data.user, data.id or f"s_{token_hex(16)}")
        ttl = float(desk.config().sessions.ttl) if data.ttl is None else data.ttl
        now = int(desk.wall() * 1000)
        made = session_from(key, dialects[data.dialect], data.messages, now=now, ttl=ttl)
        made = redigested(made, desk.digests)
        if data.pin is not None:
            made = msgspec.structs.replace(made, head=msgspec.structs.replace(made.head, pin=_pin(desk, data.pin)))
        return await _made(request, store, with_context(made, data.user_context), "session created")

    @delete(status_code=200)
    async def delete_sessions(
        self,
        request: AnyRequest,
        store: Store,
        wanted: Which,
        erase: NamedDependency[SkipValidation[Erase]],
        owner: Owner = None,
        cursor: Cursor = None,
    ) -> Erased:
        """Delete what passes the filter, at most 2000 sessions in one step; `next` says how to go on."""
        if not (erase.all or owner is not None or wanted != ANY):
            message = "Say which sessions: give a filter, or all=true for all of them."
            raise GatewayError(Kind.INVALID, message, code="no_filter")
        examined = effort = matched = deleted = 0
        while effort < EXAMINED:
            page = await store.list(owner=owner, cursor=cursor, limit=_CHUNK, wanted=wanted)
            examined, effort = examined + page.looked, effort + max(page.looked, _LEAST)
            matched += len(page.heads)
            for start in range(0, 0 if erase.dry_run else len(page.heads), _AT_ONCE):
                some = page.heads[start : start + _AT_ONCE]
                deleted += sum(await asyncio.gather(*(store.delete(head.key) for head in some)))
            cursor = page.next
            if cursor is None:
                break
        note("sessions deleted", request, owner=owner, matched=matched, deleted=deleted, dry_run=erase.dry_run)
        return Erased(examined, matched, deleted, erase.dry_run, cursor)

    @get("/{id:str}")
    async def read_session(
        self,
        request: AnyRequest,
        store: Store,
        dialects: Known,
        key: FoundKey,
        turn: FirstTurn = None,
        limit: Limit = 100,
    ) -> Transcript:
        """A session with its messages, oldest first. Every read is written to the audit log."""
        return await _transcript(request, store, dialects, key, (turn, limit))

    @patch("/{id:str}")
    async def change_session(
        self, request: AnyRequest, store: Store, desk: AnyDesk, key: FoundKey, data: JSONBody[Change]
    ) -> Session:
        """Let a session live longer, pin it to a provider, or set its user context."""
        return await _patched(request, store, key, _changes(desk, data), "session changed")

    @post("/{id:str}/fork", status_code=201)
    async def fork_session(
        self, request: AnyRequest, store: Store, desk: AnyDesk, key: FoundKey, data: JSONBody[Fork]
    ) -> Session:
        """Make a session of its own of the turns up to one. The other goes on as it was."""
        session = await _whole(store, key)
        own = SessionKey(session.head.key.owner, session.head.key.user, data.id or f"s_{token_hex(16)}")
        ttl = float(desk.config().sessions.ttl) if data.ttl is None else data.ttl
        made = fork_of(session, own, data.at, now=int(desk.wall() * 1000), ttl=ttl)
        return await _made(request, store, made, "session forked", of=session.head.key.id)

    @delete("/{id:str}/turns", status_code=200)
    async def drop_turns(
        self,
        request: AnyRequest,
        store: Store,
        key: FoundKey,
        last: Annotated[int, QueryParameter(ge=1, le=1_000_000, description="How many of the newest turns go.")],
    ) -> Session:
        """Take the newest turns back. A turn that runs meanwhile is stored behind those that are left."""
        return await _patched(request, store, key, Patch(drop_last=last), "turns dropped")

    @delete("/{id:str}", status_code=200)
    async def delete_session(self, request: AnyRequest, store: Store, key: FoundKey) -> Deleted:
        """Delete a session at once. A turn that is running will not bring it back."""
        return await _delete(request, store, key)

    @post("/cleanup", status_code=200)
    async def cleanup(self, request: AnyRequest, store: Store) -> Cleaned:
        """Remove expired sessions now. A store that expires by itself answers 0."""
        removed = await store.cleanup()
        note("sessions cleaned", request, removed=removed)
        return Cleaned(removed)


def named(name: Literal["cleanup", "export", "import"]) -> type[Controller]:
    """The session whose id is `name`: a legal id too, and the router prefers the literal path."""
    finder = {"cleanup": found_cleanup, "export": found_export, "import": found_import}[name]

    class Named(Controller):
        path = f"/sessions/{name}"
        include_in_schema = False
        dependencies = {"key": Provide(finder)}  # noqa: RUF012 - how Litestar is told

        if name != "export":

            @get()
            async def read_named(
                self,
                request: AnyRequest,
                store: Store,
                dialects: Known,
                key: FoundKey,
                turn: FirstTurn = None,
                limit: Limit = 100,
            ) -> Transcript:
                """The session of this id."""
                return await _transcript(request, store, dialects, key, (turn, limit))

        @delete(status_code=200)
        async def delete_named(self, request: AnyRequest, store: Store, key: FoundKey) -> Deleted:
            """Delete the session of this id."""
            return await _delete(request, store, key)

        @patch()
        async def change_named(
            self, request: AnyRequest, store: Store, desk: AnyDesk, key: FoundKey, data: JSONBody[Change]
        ) -> Session:
            """Change the session of this id."""
            return await _patched(request, store, key, _changes(desk, data), "session changed")

    return Named


def _changes(desk: Desk, data: Change) -> Patch:
    pin: Pin | UnsetType | None = UNSET
    if data.pin is not UNSET:
        pin = None if data.pin is None else _pin(desk, data.pin)
    return Patch(
        keep=None if data.ttl is UNSET else data.ttl,
        pin=pin,
        context=None if data.user_context is UNSET else Raw(msgspec.json.encode(data.user_context)),
    )


def _gone() -> GatewayError:
    return GatewayError(Kind.NOT_FOUND, "There is no such session.", code="session_not_found")


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
        raise _gone()
    first, count = wanted
    turns = await store.turns(key, first=max(head.first, first or 0), count=count)
    note_session("transcript read", request, key, first=min(turns, default=None), turns=len(turns))
    return transcript_of(head, turns, dialects)


async def _delete(request: AnyRequest, store: SessionStore, key: SessionKey | None) -> Deleted:
    if key is not None:
        note_session("session deleted", request, key, existed=await store.delete(key))
    return Deleted()


async def _whole(store: SessionStore, key: SessionKey | None) -> stored.Session:
    session = await store.load(key, turns=1 << 31, marks=True, keep=0.0) if key else None
    if session is None:
        raise _gone()
    return session


async def _made(
    request: AnyRequest, store: SessionStore, session: stored.Session, what: str, **more: object
) -> Session:
    key = session.head.key
    if not await store.write(key, session):
        message = f"This owner has a session {key.id!r} already; choose another id."
        raise GatewayError(Kind.CONFLICT, message, code="session_exists", param="id")
    note_session(what, request, key, turns=len(session.turns), **more)
    head = await store.head(key)
    return session_of(head or session.head)


async def _patched(
    request: AnyRequest, store: SessionStore, key: SessionKey | None, changes: Patch, what: str
) -> Session:
    head = await store.head(key) if key is not None and await store.patch(key, changes) else None
    if key is None or head is None:
        raise _gone()
    note_session(what, request, key)
    return session_of(head)


def _pin(desk: Desk, provider: str) -> Pin:
    """The first seat at a provider. Raises GatewayError (INVALID)."""
    for target in desk.table().targets():
        if target.provider == provider:
            return Pin(*target.seat)
    message = f"No model is served by a provider {provider!r}; GET /providers lists those that there are."
    raise GatewayError(Kind.INVALID, message, code="unknown_provider", param="pin")
