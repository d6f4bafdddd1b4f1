"""The items of a conversation: its turns, one after another, as the Responses API lists them."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from msgspec import Raw, Struct, json
from msgspec.structs import replace

from gateway.conversation import Message, Reply, Said, Stop, ToolCall, ToolResult
from gateway.dialects import openai_responses
from gateway.dialects.dialect import ReplyHead, Request, Spoken
from gateway.dialects.openai_responses.listing import Item, items_of, listed, output_of, response_of
from gateway.dialects.registry import DIALECTS
from gateway.sessions.chains import Found, Name
from gateway.sessions.digest import Digests
from gateway.sessions.history import Asked, align
from gateway.sessions.store import Head, Mark, Session, SessionKey, SessionStore, Turn

BATCH = 50
_HINT = re.compile(r"[a-z]+_(?:[0-9a-f]{20}_([0-9]+)_.+|.+_n([0-9]+))_q?[0-9]+", re.ASCII)
_FIELDS = json.Decoder(dict[str, Raw])


class Page(Struct, frozen=True):
    """How a list is asked for: at most `limit` items, after the item with id `after`, newest first if `descending`."""

    limit: int = 20
    after: str = ""
    descending: bool = True


def page_of(items: Sequence[Item], page: Page) -> tuple[list[Item], bool] | None:
    """A page of items that are in the order they were said, and whether more follow; None: no item is `after`."""
    ordered = list(reversed(items)) if page.descending else list(items)
    if page.after:
        places = [place for place, item in enumerate(ordered) if item["id"] == page.after]
        if not places:
            return None
        ordered = ordered[places[0] + 1 :]
    return ordered[: page.limit], len(ordered) > page.limit


async def list_items(store: SessionStore, key: SessionKey, head: Head, page: Page) -> tuple[list[Item], bool] | None:
    """A page of a conversation's items, read in batches of turns: what it costs is what it returns."""
    found: list[Item] = []
    waiting = page.after
    start = await place_of(store, key, head, page.after) if page.after else None
    if page.after and start is None:
        return None
    async for number, turn in _turns(store, key, head, start, descending=page.descending):
        items = turn_items(turn, item_name(key, head, number, turn))
        for item in reversed(items) if page.descending else items:
            if waiting:
                waiting = "" if item["id"] == waiting else waiting
            else:
                found.append(item)
        if len(found) > page.limit:
            break
    return found[: page.limit], len(found) > page.limit


async def find_item(store: SessionStore, key: SessionKey, head: Head, id: str) -> Item | None:
    """One item of a conversation."""
    number = await place_of(store, key, head, id)
    if number is None:
        return None
    turn = (await store.turns(key, first=number, count=1))[number]
    return next(item for item in turn_items(turn, item_name(key, head, number, turn)) if item["id"] == id)


async def place_of(store: SessionStore, key: SessionKey, head: Head, id: str) -> int | None:
    """The turn that an item is in: by its id where we made it, else by looking."""
    match = _HINT.fullmatch(id)
    if match:
        number = int(match[1] or match[2])
        turn = (await store.turns(key, first=number, count=1)).get(number)
        if turn is not None and _has(turn_items(turn, item_name(key, head, number, turn)), id):
            return number
    async for number, turn in _turns(store, key, head, None, descending=True):
        if _has(turn_items(turn, item_name(key, head, number, turn)), id):
            return number
    return None


def turn_items(turn: Turn, name: str) -> list[Item]:
    """All items of a turn: what was said, and the answer."""
    return [*question_items(turn, name), *answer_items(turn, name)]


def question_items(turn: Turn, name: str) -> list[Item]:
    """What was said in a turn, as items."""
    said = turn.question
    if said.dialect == openai_responses.NAME:
        return listed(said.messages, name)
    return listed(items_of(DIALECTS[said.dialect].decode_messages(said.messages)), name)


def answer_items(turn: Turn, name: str) -> list[Item]:
    """The answer of a turn, as items."""
    return output_of(_reply(turn), _head(turn, name, None)) if turn.reply.messages else []


def response_document(found: Found) -> dict[str, Raw]:
    """A stored response as the vendor's object."""
    turn = found.turn
    head = _head(turn, name_of(found), found.session.head)
    return response_of(_reply(turn), head, status="cancelled" if turn.incomplete else "", completed=turn.at // 1000)


def replayed(found: Found) -> tuple[Reply, ReplyHead]:
    """A stored response, to be streamed once more."""
    return _reply(found.turn), _head(found.turn, name_of(found), found.session.head)


def name_of(found: Found) -> str:
    """The name of a stored response, as its id has it."""
    response = found.turn.response
    return str(Name(response.token if response else "", found.number, found.key.id))


def without_item(turn: Turn, name: str, id: str) -> Turn | None:
    """The turn without one of its items, then in this dialect; None if nothing is left."""
    question = [item for item in question_items(turn, name) if item["id"] != id]
    answer = [item for item in answer_items(turn, name) if item["id"] != id]
    if not question and not answer:
        return None
    return replace(turn, question=_said(question), reply=replace(_said(answer), origin=turn.reply.origin))


def added(items: Sequence[bytes], session: Session | None, digests: Digests, *, at: int) -> tuple[Turn, Mark]:
    """Items as a turn that nobody answered. Raises GatewayError (INVALID) for what cannot be in a conversation."""
    spoken = Spoken((), tuple(items), b"")
    aligned = align(Asked(dialect=openai_responses, spoken=spoken, mode="append", digests=digests), session)
    turn = Turn(question=Said(openai_responses.NAME, tuple(items)), reply=Said(openai_responses.NAME, ()), at=at)
    return turn, replace(aligned.mark, calls=_open_calls(openai_responses.decode_messages(items)))


def marked(turn: Turn, mark: Mark, digests: Digests) -> Mark:
    """The mark of a turn that was changed."""
    asked = DIALECTS[turn.question.dialect].decode_messages(turn.question.messages)
    said = DIALECTS[turn.reply.dialect].decode_messages(turn.reply.messages, turn.reply.origin)
    parts = [part for message in asked for part in message.parts]
    return replace(
        mark,
        question=digests.of(asked),
        reply=digests.of(said) if said else b"",
        fresh=not (parts and isinstance(parts[0], ToolResult)),
        calls=_open_calls([*asked, *said]),
        results=tuple(part.call_id for part in parts if isinstance(part, ToolResult)),
    )


def item_name(key: SessionKey, head: Head, number: int, turn: Turn) -> str:
    """What the ids of a turn's items are made of."""
    if turn.response is not None and turn.response.token:
        return str(Name(turn.response.token, number, key.id))
    return f"{head.created:x}_n{number}"


async def _turns(
    store: SessionStore, key: SessionKey, head: Head, start: int | None, *, descending: bool
) -> AsyncIterator[tuple[int, Turn]]:
    """Turns from `start` (or an end) on, in batches."""
    at = start if start is not None else head.next - 1 if descending else head.first
    while head.first <= at < head.next:
        first = max(at - BATCH + 1, head.first) if descending else at
        count = at - first + 1 if descending else BATCH
        turns = await store.turns(key, first=first, count=count)
        for number in sorted(turns, reverse=descending):
            yield number, turns[number]
        at = first - 1 if descending else first + BATCH


def _has(items: Iterable[Item], id: str) -> bool:
    return any(item["id"] == id for item in items)


def _open_calls(messages: Iterable[Message]) -> tuple[tuple[str, str], ...]:
    calls: dict[str, str] = {}
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                calls[part.id] = part.name
            elif isinstance(part, ToolResult):
                calls.pop(part.call_id, None)
    return tuple(calls.items())


def _said(items: Sequence[Item]) -> Said:
    return Said(openai_responses.NAME, tuple(json.encode(item) for item in items))


def _reply(turn: Turn) -> Reply:
    """The stored reply; `said` only where it is items of this dialect already."""
    origin = turn.reply.origin
    messages = DIALECTS[turn.reply.dialect].decode_messages(turn.reply.messages, origin)
    own = turn.reply.dialect == openai_responses.NAME
    return Reply(
        model=origin.model if origin else "",
        parts=tuple(part for message in messages for part in message.parts),
        stop=Stop(turn.stop) if turn.stop else Stop.END,
        usage=turn.usage,
        said=turn.reply.messages if own else (),
    )


def _head(turn: Turn, name: str, head: Head | None) -> ReplyHead:
    """What the response object of a turn begins with; long parameters are taken from the session's head."""
    fields = _FIELDS.decode(turn.response.echo) if turn.response else {}
    said = {"tools": head.tools, "instructions": head.system} if head else {}
    for member, value in said.items():
        null = member in fields and bytes(fields[member]) == b"null"
        if null and value is not None and value.dialect == openai_responses.NAME:
            fields[member] = Raw(value.messages[0])
    request = Request(openai_responses.NAME, fields, _text(fields.get("model")), stream=False)
    return ReplyHead(name, (turn.at - turn.elapsed) // 1000, request)


def _text(raw: Raw | None) -> str:
    value: Any = json.decode(raw) if raw is not None else ""
    return value if isinstance(value, str) else ""
