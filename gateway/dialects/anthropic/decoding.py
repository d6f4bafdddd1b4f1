"""A provider's stream to events.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from collections.abc import Callable
from typing import ClassVar

from msgspec import structs
from msgspec.json import Decoder

from gateway.conversation import (
    Begin,
    End,
    Event,
    Failed,
    Origin,
    Spent,
    Stop,
    Stopped,
)
from gateway.dialects.anthropic.errors import stream_error
from gateway.dialects.anthropic.pieces import Block, block_of
from gateway.dialects.anthropic.replies import STOPS, usage_from
from gateway.dialects.anthropic.wire import (
    TAG,
    UNREADABLE,
    EventWire,
    MessageWire,
    UsageWire,
)
from gateway.dialects.sse import EventParser
from gateway.errors import Kind, UpstreamError

_EVENT = Decoder(EventWire)
_MESSAGE = Decoder(MessageWire)


def _is_content(payload: bytes) -> bool:
    return TAG.decode(payload).type.startswith("content_block_")


class StreamDecoder:
    """Events of one stream. Unknown events, members and broken lines are ignored; unknown blocks become Opaque."""

    def __init__(self, origin: Origin, *, skim: bool = False) -> None:
        self._origin = origin
        self._skim = skim
        self._parser = EventParser()
        self._next = 0
        self._block: Block | None = None
        self._usage = UsageWire()
        self._begun = self._stopped = self._done = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        events: list[Event] = []
        for _, payload in self._parser.feed(data):
            events += self._event(payload)
        return events

    def close(self) -> list[Event]:
        """The rest. Raises UpstreamError if the provider had not said why it stops."""
        events: list[Event] = []
        for _, payload in self._parser.close():
            events += self._event(payload)
        if self._done:
            return events
        if not self._stopped:
            raise UpstreamError(Kind.BAD_GATEWAY, "The provider's stream ended before it was complete.")
        self._done = True
        return [*events, End()]

    def _event(self, payload: bytes) -> list[Event]:
        try:
            if self._done or (self._skim and self._next and _is_content(payload)):
                return []
            wire = _EVENT.decode(payload)
        except UNREADABLE:
            return []
        if wire.type == "error":
            self._done = True
            return [Failed(stream_error(payload))]
        handler = self._HANDLERS.get(wire.type)
        if handler is None:
            return []
        events = self._beginning(wire)
        try:
            return events + handler(self, wire, payload)
        except UNREADABLE:
            return events

    def _beginning(self, wire: EventWire) -> list[Event]:
        if self._begun or wire.type == "message_start":
            return []
        self._begun = True
        return [Begin()]

    def _start(self, wire: EventWire, _payload: bytes) -> list[Event]:
        message = _MESSAGE.decode(wire.message)
        self._usage = message.usage or self._usage
        self._begun = True
        return [Begin(message.id, message.model, usage_from(message.usage) if message.usage else None)]

    def _block_start(self, wire: EventWire, _payload: bytes) -> list[Event]:
        before = self._end_block()  # in case the provider did not
        block = block_of(TAG.decode(wire.content_block).type)(self._take_index, self._origin)
        events = block.begin(wire.content_block)
        self._block = block
        return before + events

    def _take_index(self) -> int:
        index = self._next
        self._next += 1
        return index

    def _block_delta(self, wire: EventWire, payload: bytes) -> list[Event]:
        if self._block is None or wire.delta is None:
            return []
        return self._block.delta(wire.delta, payload)

    def _block_stop(self, _wire: EventWire, _payload: bytes) -> list[Event]:
        return self._end_block()

    def _end_block(self) -> list[Event]:
        block, self._block = self._block, None
        return [] if block is None else block.end()

    def _message_delta(self, wire: EventWire, _payload: bytes) -> list[Event]:
        events: list[Event] = []
        if wire.delta is not None and wire.delta.stop_reason and not self._stopped:
            self._stopped = True
            stop = STOPS.get(wire.delta.stop_reason, Stop.END)
            events = [*self._end_block(), Stopped(stop, wire.delta.stop_sequence or "")]
        if wire.usage is not None:
            counts = {name: value for name, value in structs.asdict(wire.usage).items() if value is not None}
            self._usage = structs.replace(self._usage, **counts)
            events.append(Spent(usage_from(self._usage)))
        return events

    def _message_stop(self, _wire: EventWire, _payload: bytes) -> list[Event]:
        events = self._end_block()
        if not self._stopped:
            events.append(Stopped(Stop.END))
        self._done = True
        return [*events, End()]

    _HANDLERS: ClassVar[dict[str, Callable[["StreamDecoder", EventWire, bytes], list[Event]]]] = {
        "message_start": _start,
        "content_block_start": _block_start,
        "content_block_delta": _block_delta,
        "content_block_stop": _block_stop,
        "message_delta": _message_delta,
        "message_stop": _message_stop,
    }
