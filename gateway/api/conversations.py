"""`/v1/conversations`: a conversation is a session, seen through OpenAI's door.

Its id is the session's id, its metadata the session's user context, its items the messages of its turns.
Source: https://platform.openai.com/docs/api-reference/conversations
"""

from secrets import token_hex

import msgspec
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from msgspec import Raw, Struct

from gateway.api.directives import ID
from gateway.api.responses import listing
from gateway.api.setup import Current
from gateway.api.small import Answer, Served, Small, no_method, not_found, page_limit, read_json
from gateway.errors import GatewayError, Kind
from gateway.sessions.chains import replace_id
from gateway.sessions.edits import Place, edit_turn
from gateway.sessions.items import Page, added, find_item, item_name, list_items, place_of, turn_items, without_item
from gateway.sessions.store import Append, Head, Patch, Session, SessionKey, SessionStore, Turn

PREFIX = "/v1/conversations"
MOST_ITEMS = 20
_MOST_PAIRS, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512

Metadata = dict[str, str] | None


class _Create(Struct):
    items: list[Raw] | None = None
    metadata: Metadata = None


class _Update(Struct):
    metadata: Metadata


class _Items(Struct):
    items: list[Raw]


_CREATE = msgspec.json.Decoder(_Create)
_UPDATE = msgspec.json.Decoder(_Update)
_ITEMS = msgspec.json.Decoder(_Items)


class Conversations:
    """Creates, reads and changes conversations."""

    def __init__(self, store: SessionStore, current: Current) -> None:
        self._store = store
        self._served = Served(PREFIX, current, self._answer)
        self._wall = current.setup.gateway.wall

    def route(self) -> ASGIRouteHandler:
        """All paths of conversations and their items."""
        return asgi(PREFIX, is_mount=True, copy_scope=False)(self._served.serve)

    async def _answer(self, request: Small) -> Answer:
        if not request.parts:
            if request.method != "POST":
                raise no_method(request)
            return await self._create(request)
        key, head = await self._found(request)
        match request.method, request.parts[1:]:
            case "GET", ():
                return _document(head)
            case "POST", ():
                return await self._update(request, key, head)
            case "DELETE", ():
                await self._store.delete(key)
                return msgspec.json.encode({"id": key.id, "object": "conversation.deleted", "deleted": True})
            case method, ("items", *item) if len(item) < 2:  # noqa: PLR2004 - the list, or one of them
                return await self._items(request, key, head, (method, *item))
            case _:
                raise no_method(request)

    async def _items(self, request: Small, key: SessionKey, head: Head, what: tuple[str, ...]) -> bytes:
        match what:
            case ("GET",):
                return await self._list(request, key, head)
            case ("POST",):
                return await self._add(request, key, head)
            case "GET", id:
                item = await find_item(self._store, key, head, id)
                if item is None:
                    raise not_found("Item", id)
                return msgspec.json.encode(item)
            case "DELETE", id:
                return await self._remove(Place(key, 0, request.memory.digests), head, id)
            case _:
                raise no_method(request)

    async def _found(self, request: Small) -> tuple[SessionKey, Head]:
        id = request.parts[0]
        key = replace_id(request.owner, id)
        head = await self._store.head(key) if ID.fullmatch(id) else None
        if head is None:
            raise not_found("Conversation", id, "conversation_not_found")
        return key, head

    async def _create(self, request: Small) -> bytes:
        asked = read_json(request, _CREATE)
        key = replace_id(request.owner, f"conv_{token_hex(24)}")
        now = int(self._wall() * 1000)
        turns, marks = {}, {}
        if asked.items:
            turns[1], marks[1] = added(_some(asked.items), None, request.memory.digests, at=now)
        limits = request.memory.limits
        if limits.max_sessions:
            await self._store.admit(key, limits)
        head = Head(
            key=key,
            generation="",
            revision=0,
            first=1,
            next=len(turns) + 1,
            created=now,
            updated=now,
            expires=now + int(limits.ttl * 1000),
            context=_context(asked.metadata),
        )
        await self._store.write(key, Session(head=head, marks=marks, turns=turns))
        return _document(head)

    async def _update(self, request: Small, key: SessionKey, head: Head) -> bytes:
        context = _context(read_json(request, _UPDATE).metadata)
        if not await self._store.patch(key, Patch(generation=head.generation, context=context)):
            raise not_found("Conversation", key.id, "conversation_not_found")
        return _document(msgspec.structs.replace(head, context=context))

    async def _list(self, request: Small, key: SessionKey, head: Head) -> bytes:
        page = Page(page_limit(request), request.one("after"), request.one("order", "desc") != "asc")
        found = await list_items(self._store, key, head, page)
        if found is None:
            raise not_found("Item", page.after)
        return listing(*found)

    async def _add(self, request: Small, key: SessionKey, head: Head) -> bytes:
        items = _some(read_json(request, _ITEMS).items)
        session = await self._store.load(key, turns=0, marks=False, keep=0)
        turn, mark = added(items, session, request.memory.digests, at=int(self._wall() * 1000))
        append = Append(
            token=token_hex(16),
            turn=turn,
            mark=mark,
            limits=request.memory.limits,
            generation=head.generation,
            messages=len(items),
        )
        done = await self._store.append(key, append)
        found = turn_items(turn, item_name(key, head, done.number, turn))
        return listing(found, more=False)

    async def _remove(self, place: Place, head: Head, id: str) -> bytes:
        key = place.key
        number = await place_of(self._store, key, head, id)

        def without(turn: Turn) -> Turn | None:
            return without_item(turn, item_name(key, head, number or 0, turn), id)

        if number is None or not await edit_turn(self._store, Place(key, number, place.digests), without):
            raise not_found("Item", id)
        return _document(head)


def _document(head: Head) -> bytes:
    whole = {"id": head.key.id, "object": "conversation", "created_at": head.created // 1000, "metadata": head.context}
    return msgspec.json.encode(whole)


def _some(items: list[Raw]) -> tuple[bytes, ...]:
    if not 0 < len(items) <= MOST_ITEMS:
        raise GatewayError(Kind.INVALID, f"You may add 1 to {MOST_ITEMS} items at a time.", param="items")
    return tuple(bytes(item) for item in items)


def _context(metadata: Metadata) -> Raw:
    pairs = metadata or {}
    longest = max(map(len, pairs), default=0), max(map(len, pairs.values()), default=0)
    if len(pairs) > _MOST_PAIRS or longest[0] > _LONGEST_KEY or longest[1] > _LONGEST_VALUE:
        message = f"Metadata is at most {_MOST_PAIRS} pairs, keys of {_LONGEST_KEY} and values of {_LONGEST_VALUE}."
        raise GatewayError(Kind.INVALID, message, param="metadata")
    return Raw(msgspec.json.encode(pairs))
