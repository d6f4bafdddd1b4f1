"""Stored responses: `GET`, `DELETE /v1/responses/{id}`, their input items, and what is not offered.

Source: https://platform.openai.com/docs/api-reference/responses
"""

import msgspec
from litestar.types import ASGIApp
from msgspec.structs import replace

from gateway.api.setup import Current
from gateway.api.small import Answer, Served, Small, no_method, not_found, page_limit
from gateway.conversation import events_of
from gateway.dialects import openai_responses
from gateway.errors import GatewayError, Kind
from gateway.sessions.chains import Found, find
from gateway.sessions.digest import Digests
from gateway.sessions.edits import Place, edit_turn
from gateway.sessions.items import Page, name_of, page_of, question_items, replayed, response_document
from gateway.sessions.store import SessionStore, Turn

PREFIX = "/v1/responses"


class Responses:
    """Serves what was stored."""

    def __init__(self, store: SessionStore, current: Current) -> None:
        self._store = store
        self._served = Served(PREFIX, current, self._answer)

    @property
    def serve(self) -> ASGIApp:
        """All paths below `PREFIX`."""
        return self._served.serve

    async def _answer(self, request: Small) -> Answer:
        if not request.parts:
            raise no_method(request)
        found = await find(self._store, request.owner, request.parts[0], turns=1)
        if found is None:
            raise not_found("Response", request.parts[0])
        match request.method, request.parts[1:]:
            case (("GET" | "HEAD"), ()):
                return _streamed(request, found) if request.one("stream") == "true" else _document(found)
            case "DELETE", ():
                return await self._delete(found, request.memory.digests)
            case "GET", ("input_items",):
                return _input_items(request, found)
            case "POST", ("cancel",):
                message = "Only background responses can be cancelled, and this one was not made in the background."
                raise GatewayError(Kind.INVALID, message, code="cannot_cancel")
            case _:
                raise no_method(request)

    async def _delete(self, found: Found, digests: Digests) -> bytes:
        """The response is not there any more; what was said stays in the chains and conversations that go on."""
        id = f"resp_{name_of(found)}"

        def unnamed(turn: Turn) -> Turn:
            response = turn.response
            return replace(turn, response=replace(response, token="", echo=b"{}") if response else None)

        if not await edit_turn(self._store, Place(found.key, found.number, digests), unnamed):
            raise not_found("Response", id)
        return msgspec.json.encode({"id": id, "object": "response", "deleted": True})


def _document(found: Found) -> bytes:
    return msgspec.json.encode(response_document(found))


def _streamed(request: Small, found: Found) -> Answer:
    """The events of a response once more; `starting_after` is the sequence number of the last one that is known."""
    after = request.one("starting_after", "-1")
    if not after.removeprefix("-").isdecimal():
        raise GatewayError(Kind.INVALID, "`starting_after` is a number.", param="starting_after")
    reply, head = replayed(found)
    encoder = openai_responses.reply_encoder(head)
    stream = b"".join(encoder.encode(event) for event in events_of(reply))
    frames = stream.split(b"\n\n")[int(after) + 1 :]
    return b"\n\n".join(frames), "text/event-stream; charset=utf-8"


def _input_items(request: Small, found: Found) -> bytes:
    items = question_items(found.turn, name_of(found))
    page = page_of(items, Page(page_limit(request), request.one("after"), request.one("order", "desc") != "asc"))
    if page is None:
        raise not_found("Item", request.one("after"))
    return listing(*page)


def listing(items: list[dict[str, object]], more: bool) -> bytes:  # noqa: FBT001 - a page, as it comes
    """A list of items as the vendor's."""
    ends = {"first_id": items[0]["id"] if items else None, "last_id": items[-1]["id"] if items else None}
    return msgspec.json.encode({"object": "list", "data": items, **ends, "has_more": more})
