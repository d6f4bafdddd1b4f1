"""A provider's stream of events, to neutral ones.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Callable
from typing import ClassVar

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from gateway.conversation import (
    AnyPart,
    Begin,
    Delta,
    End,
    Event,
    Failed,
    Origin,
    PartBegin,
    PartEnd,
    Reasoning,
    Refusal,
    Signed,
    Spent,
    Stopped,
    Text,
    ToolCall,
)
from gateway.dialects.openai_responses.errors import failure
from gateway.dialects.openai_responses.items import Item, decode_item
from gateway.dialects.openai_responses.replies import decode_usage, stop_of
from gateway.dialects.openai_responses.wire import RESPONSE, TYPED, UNREADABLE, dump, present
from gateway.dialects.sse import EventParser
from gateway.errors import Kind, UpstreamError


class _Event(Struct):
    type: str = ""
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item_id: str | None = None
    delta: str = ""
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    input: str | None = None
    item: Raw = Raw(b"null")
    response: Raw = Raw(b"null")
    error: Raw = Raw(b"null")
    message: object = None
    code: object = None
    param: object = None


_EVENT = Decoder(_Event)
_TELLING = ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "error")
"""Kinds of events that say more than another piece of content."""


class _Part:
    """One neutral part as it grows; `length` counts the characters that went out."""

    def __init__(self, index: int, part: AnyPart) -> None:
        self.index = index
        self.part = part
        self.length = 0
        self.ended = False


class _OutputItem:
    """One output item: its parts by content index (0 where there is only one)."""

    def __init__(self, item: Item, id: str) -> None:
        self.item = item
        self.id = id
        self.parts: dict[int, _Part] = {}
        self.summary_index = 0
        self.done = False


class _InOrder:
    """Lets one part through at a time: what belongs to a later one waits until the one before has ended."""

    def __init__(self) -> None:
        self._current: int | None = None
        self._waiting: dict[int, list[Event]] = {}

    def put(self, index: int, event: Event) -> list[Event]:
        if self._current is None:
            self._current = index
        if index != self._current:
            self._waiting.setdefault(index, []).append(event)
            return []
        events = [event]
        while self._current is not None and isinstance(events[-1], PartEnd):
            self._current = min(self._waiting, default=None)
            if self._current is not None:
                events += self._waiting.pop(self._current)
        return events


class ResponsesDecoder:
    """Decodes one streamed reply."""

    def __init__(self, origin: Origin, *, skim: bool = False) -> None:
        self._origin = origin
        self._skim = skim
        self._parser = EventParser()
        self._items: dict[int | str, _OutputItem] = {}
        self._parts: list[_Part] = []
        self._order = _InOrder()
        self._begun = False
        self._over = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        return [event for _, payload in self._parser.feed(data) for event in self._payload(payload)]

    def close(self) -> list[Event]:
        """What an unfinished last frame still says. Raises UpstreamError if the reply was cut short."""
        events = [event for _, payload in self._parser.close() for event in self._payload(payload, cut=True)]
        if not self._over:
            raise UpstreamError(Kind.BAD_GATEWAY, "The provider's reply ended before it was complete.")
        return events

    def _payload(self, payload: bytes, *, cut: bool = False) -> list[Event]:
        if self._over or payload.strip() == b"[DONE]":
            return []
        try:
            if self._skim and self._parts and TYPED.decode(payload).type not in _TELLING:
                return []
            event = _EVENT.decode(payload)
        except msgspec.ValidationError:
            return []  # an event of a kind that is not known: its members have other types
        except UNREADABLE:
            broken = UpstreamError(Kind.BAD_GATEWAY, "The provider sent an event that is not JSON.")
            return [] if cut else self._fail(broken)
        handler = self._HANDLERS.get(event.type)
        if handler is not None:
            return handler(self, event)
        return self._error(event) if present(event.error) else []

    # ------------------------------------------------------------ the life of a response

    def _created(self, event: _Event) -> list[Event]:
        if self._begun:
            return []
        self._begun = True
        try:
            response = RESPONSE.decode(event.response)
        except UNREADABLE:
            return [Begin()]
        return [Begin(response.id or "", response.model or "")]

    def _completed(self, event: _Event) -> list[Event]:
        try:
            response = RESPONSE.decode(event.response)
        except UNREADABLE:
            return self._fail(UpstreamError(Kind.BAD_GATEWAY, "The provider's last event is not a response."))
        events = self._created(event)
        for number, raw in enumerate(response.output or () if not self._skim else ()):
            events += self._last_chance(number, raw)
        for part in self._parts:
            events += self._end(part)
        usage = decode_usage(response.usage)
        stop = stop_of(response, [part.part for part in self._parts])
        self._over = True
        return [*events, Stopped(stop), *([Spent(usage)] if usage else []), End()]

    def _last_chance(self, number: int, raw: Raw) -> list[Event]:
        """An item that only the whole response shows, or whose end was not reported."""
        try:
            item = self._items.get(number) or self._items.get(TYPED.decode(raw).id or "")
        except UNREADABLE:
            return []
        return [] if item is not None and item.done else self._finish(item, raw, number)

    def _failed(self, event: _Event) -> list[Event]:
        try:
            response = RESPONSE.decode(event.response)
        except UNREADABLE:
            return self._fail(failure(b"null"))
        return self._fail(failure(response.error, response.status or "failed"))

    def _error(self, event: _Event) -> list[Event]:
        if present(event.error):
            return self._fail(failure(event.error))
        return self._fail(failure(dump({"message": event.message, "code": event.code, "param": event.param})))

    def _fail(self, error: UpstreamError) -> list[Event]:
        self._over = True
        return [Failed(error)]

    # ------------------------------------------------------------ items

    def _key(self, event: _Event, id: str) -> int | str:
        """By place; some servers leave it out, others give an item another id in each event."""
        return id if event.output_index is None else event.output_index

    def _item_added(self, event: _Event) -> list[Event]:
        try:
            item, typed = decode_item(event.item, self._origin), TYPED.decode(event.item)
        except UNREADABLE:
            return []
        added = _OutputItem(item, typed.id or "")
        self._items[self._key(event, added.id)] = added
        if typed.type in ("function_call", "custom_tool_call"):
            return self._begin(added, 0, item.parts[0]) + self._rest(added, 0, item.parts[0])
        return []

    def _item_done(self, event: _Event) -> list[Event]:
        try:
            id = TYPED.decode(event.item).id or ""
        except UNREADABLE:
            return []
        key = self._key(event, id)
        return self._finish(self._items.get(key), event.item, key)

    def _finish(self, item: _OutputItem | None, raw: Raw, key: int | str) -> list[Event]:
        """The item as it is in the end: whatever was not streamed of it, its signature, its end."""
        try:
            whole = decode_item(raw, self._origin)
        except UNREADABLE:
            return []
        if item is None:
            item = self._items[key] = _OutputItem(whole, "")
        item.done = True
        events: list[Event] = []
        for at, part in enumerate(whole.parts):
            events += self._begin(item, at, part) + self._rest(item, at, part)
            if isinstance(part, Reasoning) and part.signature is not None:
                events += self._put(item.parts[at], Signed(item.parts[at].index, part.signature))
        for grown in item.parts.values():
            events += self._end(grown)
        return events

    # ------------------------------------------------------------ parts

    def _put(self, part: _Part, event: Event) -> list[Event]:
        begin: list[Event] = []
        if not self._begun:
            self._begun = True
            begin.append(Begin())
        return begin + self._order.put(part.index, event)

    def _begin(self, item: _OutputItem, at: int, part: AnyPart) -> list[Event]:
        if at in item.parts:
            return []
        begun = item.parts[at] = _Part(len(self._parts), part)
        self._parts.append(begun)
        return self._put(begun, PartBegin(begun.index, _emptied(part)))

    def _more(self, part: _Part, text: str) -> list[Event]:
        if not text or part.ended:
            return []
        part.length += len(text)
        return self._put(part, Delta(part.index, text))

    def _rest(self, item: _OutputItem, at: int, whole: AnyPart) -> list[Event]:
        part = item.parts[at]
        if isinstance(whole, Reasoning) and isinstance(part.part, Reasoning) and whole.summary != part.part.summary:
            return []  # the summary was streamed, and the item has the text too, or the other way about
        return self._more(part, _text_of(whole)[part.length :])

    def _end(self, part: _Part) -> list[Event]:
        if part.ended:
            return []
        part.ended = True
        return self._put(part, PartEnd(part.index))

    def _of(self, event: _Event) -> _OutputItem:
        key = self._key(event, event.item_id or "")
        if key not in self._items:
            self._items[key] = _OutputItem(Item("assistant"), event.item_id or "")
        return self._items[key]

    # ------------------------------------------------------------ what is streamed

    def _text(self, event: _Event) -> list[Event]:
        item, at = self._of(event), event.content_index or 0
        refusal = event.type.startswith("response.refusal")
        part = Refusal("") if refusal else Text("", item.item.mark)
        events = self._begin(item, at, part)
        whole = event.refusal if event.text is None else event.text
        return events + (self._more(item.parts[at], event.delta) or self._tail(item.parts[at], whole))

    def _call(self, event: _Event) -> list[Event]:
        part = self._of(event).parts.get(0)
        if part is None:
            return []  # nobody said what is called; the item's end will
        whole = event.input if event.arguments is None else event.arguments
        return self._more(part, event.delta) or self._tail(part, whole)

    def _thought(self, event: _Event) -> list[Event]:
        item, summary = self._of(event), "summary" in event.type
        events = self._begin(item, 0, Reasoning(summary=summary, id=item.id))
        part = item.parts[0]
        if not event.delta or not isinstance(part.part, Reasoning) or part.part.summary != summary:
            return events
        number = (event.summary_index if summary else event.content_index) or 0
        gap = "\n\n" if number != item.summary_index and part.length else ""
        item.summary_index = number
        return events + self._more(part, gap + event.delta)

    def _tail(self, part: _Part, whole: str | None) -> list[Event]:
        return self._more(part, whole[part.length :]) if whole else []

    _HANDLERS: ClassVar[dict[str, Callable[["ResponsesDecoder", _Event], list[Event]]]] = {
        "response.created": _created,
        "response.in_progress": _created,
        "response.queued": _created,
        "response.completed": _completed,
        "response.incomplete": _completed,
        "response.failed": _failed,
        "response.cancelled": _failed,
        "error": _error,
        "response.output_item.added": _item_added,
        "response.output_item.done": _item_done,
        "response.output_text.delta": _text,
        "response.output_text.done": _text,
        "response.refusal.delta": _text,
        "response.refusal.done": _text,
        "response.function_call_arguments.delta": _call,
        "response.function_call_arguments.done": _call,
        "response.custom_tool_call_input.delta": _call,
        "response.custom_tool_call_input.done": _call,
        "response.reasoning_summary_text.delta": _thought,
        "response.reasoning_text.delta": _thought,
    }


def _emptied(part: AnyPart) -> AnyPart:
    match part:
        case Text() | Refusal():
            return replace(part, text="")
        case Reasoning():
            return replace(part, text="", signature=None)
        case ToolCall():
            return replace(part, arguments="")
        case _:
            return part


def _text_of(part: AnyPart) -> str:
    match part:
        case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
            return text
        case ToolCall(arguments=arguments):
            return arguments
        case _:
            return ""
