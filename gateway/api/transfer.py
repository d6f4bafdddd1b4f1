"""Export and import of sessions as JSON Lines."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import IO, Annotated, Literal

from litestar import get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import QueryParameter
from litestar.response import Stream
from msgspec import Struct

from gateway.api.desk import AnyDesk, AnyRequest, note
from gateway.api.selection import Owner, Store
from gateway.api.sessions import Which
from gateway.errors import GatewayError, Kind
from gateway.sessions.digest import PLAIN, Digests
from gateway.sessions.making import redigested
from gateway.sessions.store import Session, SessionKey, SessionStore, Wanted
from gateway.sessions.transfer import line_of, read_line

LINES = "application/x-ndjson"
LARGEST_IMPORT = 1 << 30
LARGEST_LINE = 64 << 20

_IN_MEMORY = 8 << 20
_TOLD = 20
_AT_ONCE = 8
"""Sessions that are loaded side by side for an export; each may be as large as sessions.max_bytes."""


class Imported(Struct, frozen=True):
    """How many sessions were made, left as they were, and put in the place of others."""

    imported: int
    skipped: int
    replaced: int


class ImportOperation(Operation):
    """What the body of an import is, for the OpenAPI document."""

    def __post_init__(self) -> None:
        about = "One session a line, as export writes them."
        content = {LINES: OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))}
        self.request_body = RequestBody(content=content, description=about, required=False)


@get(
    "/sessions/export",
    tags=["sessions"],
    media_type=LINES,
    responses={200: ResponseSpec(data_container=str, description="One session a line.", media_type=LINES)},
)
async def export_sessions(
    request: AnyRequest,
    store: Store,
    wanted: Which,
    desk: AnyDesk,
    owner: Owner = None,
    id: Annotated[str | None, QueryParameter(description="Only sessions of this id.")] = None,
) -> Stream:
    """Sessions with all their turns, one a line, in no order. What goes on meanwhile may be in it or not.

    A store that fails on the way breaks the connection off: only a whole body is a whole export.
    """
    note("sessions exported", request, owner=owner, session=id)
    keyed = bool(desk.config().sessions.encryption.keys)
    return Stream(
        exported(store, wanted, owner, id, keyed=keyed), media_type=LINES, headers={"Cache-Control": "no-store"}
    )


@post(
    "/sessions/import", tags=["sessions"], status_code=200, request_max_body_size=None, operation_class=ImportOperation
)
async def import_sessions(
    request: AnyRequest,
    store: Store,
    desk: AnyDesk,
    existing: Annotated[
        Literal["refuse", "skip", "replace"], QueryParameter(description="What becomes of sessions that are there.")
    ] = "refuse",
) -> Imported:
    """Make sessions of the lines of an export. Everything is checked before anything is written."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        await _receive(request, file)
        await _checked(store, file, existing)
        done = await _written(store, desk.digests, file, existing)
    note("sessions imported", request, imported=done.imported, skipped=done.skipped, replaced=done.replaced)
    return done


async def exported(
    store: SessionStore, wanted: Wanted, owner: str | None, id: str | None, *, keyed: bool
) -> AsyncIterator[bytes]:
    """The lines of the sessions that pass. `keyed`: their digests were made with a key, which no line carries."""
    async for keys in _several(_keys(store, owner, id)):
        loads = (store.load(key, turns=1 << 31, marks=True, keep=0.0) for key in keys)
        for session in await asyncio.gather(*loads):
            if session is not None and wanted.passes(session.head):
                yield line_of(redigested(session, PLAIN) if keyed else session)


async def _several(keys: AsyncIterator[SessionKey]) -> AsyncIterator[list[SessionKey]]:
    some: list[SessionKey] = []
    async for key in keys:
        some.append(key)
        if len(some) == _AT_ONCE:
            yield some
            some = []
    if some:
        yield some


async def _keys(store: SessionStore, owner: str | None, id: str | None) -> AsyncIterator[SessionKey]:
    if id is None:
        async for key in store.scan(owner):
            yield key
        return
    for key in await store.owners(id):
        if owner in (None, key.owner):
            yield key


async def _receive(request: AnyRequest, file: IO[bytes]) -> None:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > LARGEST_IMPORT:
            message = f"An import has at most {LARGEST_IMPORT} bytes; send the lines in several."
            raise GatewayError(Kind.TOO_LARGE, message, code="import_too_large")
        await asyncio.to_thread(file.write, piece)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    file.seek(0)
    number = 0
    while data := file.readline(LARGEST_LINE + 1):
        number += 1
        if len(data) > LARGEST_LINE:
            message = f"Line {number}: a session has at most {LARGEST_LINE} bytes."
            raise GatewayError(Kind.TOO_LARGE, message, code="import_too_large")
        if data.strip():
            yield number, data


def _read(file: Iterator[tuple[int, bytes]]) -> tuple[int, Session] | None:
    """The next line's session. Raises GatewayError that names the line."""
    found = next(file, None)
    if found is None:
        return None
    number, data = found
    try:
        return number, read_line(data)
    except GatewayError as error:
        raise GatewayError(error.kind, f"Line {number}: {error.message}", code="invalid_line") from None


async def _checked(store: SessionStore, file: IO[bytes], existing: str) -> None:
    """Raises GatewayError (INVALID, CONFLICT) if a line is wrong, is there twice, or would meet a session."""
    lines, seen, there = _lines(file), set[str](), list[str]()
    while (found := await asyncio.to_thread(_read, lines)) is not None:
        number, session = found
        key = session.head.key
        if key.tag in seen:
            raise GatewayError(Kind.INVALID, f"Line {number}: {_name(key)} is there twice.", code="invalid_line")
        seen.add(key.tag)
        if existing == "refuse" and len(there) <= _TOLD and await store.head(key) is not None:
            there.append(_name(key))
    if there:
        names = ", ".join(there[:_TOLD]) + (" and more" if len(there) > _TOLD else "")
        message = f"These sessions are there already: {names}. Import with existing=skip or existing=replace."
        raise GatewayError(Kind.CONFLICT, message, code="session_exists")


async def _written(store: SessionStore, digests: Digests, file: IO[bytes], existing: str) -> Imported:
    imported = skipped = replaced = 0
    lines = _lines(file)
    while (found := await asyncio.to_thread(_read, lines)) is not None:
        session = redigested(found[1], digests) if digests.keyed else found[1]
        key = session.head.key
        if await store.write(key, session):
            imported += 1
        elif existing == "replace" and await store.write(key, session, over=True):
            replaced += 1
        elif existing == "skip":
            skipped += 1
        else:
            message = f"{_name(key)} was made while the import ran; the sessions before it are imported."
            raise GatewayError(Kind.CONFLICT, message, code="session_exists")
    return Imported(imported, skipped, replaced)


def _name(key: SessionKey) -> str:
    return f"{key.owner}/{key.id}" + (f" (user {key.user})" if key.user else "")
