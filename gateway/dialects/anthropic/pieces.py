"""The content blocks of a provider's stream, each while it comes."""

from collections.abc import Callable
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder

from gateway.conversation import (
    AnyPart,
    Delta,
    Event,
    Opaque,
    Origin,
    PartBegin,
    PartEnd,
    Reasoning,
    Signature,
    Signed,
    Text,
    ToolCall,
)
from gateway.dialects.anthropic.blocks import attached, call_extras
from gateway.dialects.anthropic.wire import (
    FIELDS,
    NAME,
    TAG,
    UNREADABLE,
    DeltaWire,
    RedactedBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    encode,
)

_TEXT = Decoder(TextBlock)
_THINKING = Decoder(ThinkingBlock)
_REDACTED = Decoder(RedactedBlock)
_TOOL_USE = Decoder(ToolUseBlock)
_DELTA_OF: Decoder[dict[str, Any]] = Decoder(dict[str, Any])


class Block:
    """A content block whose end has not come; `take_index` gives the next part's index."""

    def __init__(self, take_index: Callable[[], int], origin: Origin) -> None:
        self._take_index = take_index
        self._origin = origin
        self._index = -1

    def begin(self, raw: Raw) -> list[Event]:
        raise NotImplementedError

    def delta(self, delta: DeltaWire, payload: bytes) -> list[Event]:
        raise NotImplementedError

    def end(self) -> list[Event]:
        return [PartEnd(self._index)] if self._index >= 0 else []

    def _open(self, part: AnyPart) -> list[Event]:
        self._index = self._take_index()
        return [PartBegin(self._index, part)]

    def _whole(self, parts: list[AnyPart]) -> list[Event]:
        events: list[Event] = []
        for part in parts:
            index = self._take_index()
            events += [PartBegin(index, part), PartEnd(index)]
        return events


class _TextBlock(Block):
    """Text, which begins with its first letter; its citations come behind it as an Opaque."""

    def begin(self, raw: Raw) -> list[Event]:
        self._citations: list[Raw] = []
        return self._more(_TEXT.decode(raw).text)

    def delta(self, delta: DeltaWire, payload: bytes) -> list[Event]:
        del payload
        if delta.type == "citations_delta" and bytes(delta.citation):
            self._citations.append(delta.citation)
        return self._more(delta.text)

    def end(self) -> list[Event]:
        if self._index < 0:
            return []
        citations = attached("citations", citations=Raw(encode(self._citations)))
        return [PartEnd(self._index), *self._whole(citations)]

    def _more(self, text: str) -> list[Event]:
        if not text:
            return []
        begun = self._open(Text("")) if self._index < 0 else []
        return [*begun, Delta(self._index, text)]


class _ThinkingBlock(Block):
    """Thinking; its text may be empty and its signature still counts."""

    def begin(self, raw: Raw) -> list[Event]:
        block = _THINKING.decode(raw)
        return self._open(Reasoning()) + self._more(block.thinking, block.signature)

    def delta(self, delta: DeltaWire, payload: bytes) -> list[Event]:
        del payload
        return self._more(delta.thinking, delta.signature)

    def _more(self, text: str, signature: str) -> list[Event]:
        events: list[Event] = [Delta(self._index, text)] if text else []
        if signature:
            events.append(Signed(self._index, Signature(signature, NAME, self._origin)))
        return events


class _RedactedBlock(Block):
    """Withheld thinking, whole at once."""

    def begin(self, raw: Raw) -> list[Event]:
        data = _REDACTED.decode(raw).data
        return self._open(Reasoning(signature=Signature(data, NAME, self._origin), redacted=True))

    def delta(self, delta: DeltaWire, payload: bytes) -> list[Event]:
        del delta, payload
        return []


class _ToolUseBlock(Block):
    """A call. Arguments come in pieces, or whole at the start, or not at all: then they are an empty object."""

    def begin(self, raw: Raw) -> list[Event]:
        self._call = _TOOL_USE.decode(raw)
        self._has_arguments = False
        return self._open(ToolCall(id=self._call.id, name=self._call.name, arguments=""))

    def delta(self, delta: DeltaWire, payload: bytes) -> list[Event]:
        del payload
        if not delta.partial_json:
            return []
        self._has_arguments = True
        return [Delta(self._index, delta.partial_json)]

    def end(self) -> list[Event]:
        events: list[Event] = [] if self._has_arguments else [Delta(self._index, bytes(self._call.input).decode())]
        return [*events, PartEnd(self._index), *self._whole(call_extras(self._call))]


class _UnknownBlock(Block):
    """A block of the vendor's own tools, or a new one: collected, and given on as it would have come whole."""

    def begin(self, raw: Raw) -> list[Event]:
        fields = FIELDS.decode(raw)
        self._members: dict[str, Any] = {name: value for name, value in fields.items() if bytes(value) != b"null"}
        self._kind = TAG.decode(raw).type
        self._json = ""
        return []

    def delta(self, delta: DeltaWire, payload: bytes) -> list[Event]:
        self._json += delta.partial_json
        if delta.type == "input_json_delta":
            return []
        members = _DELTA_OF.decode(payload)["delta"]
        for name, value in members.items() if isinstance(members, dict) else ():
            before = self._members.get(name)
            if name == "type" or value is None:
                continue
            joined = isinstance(value, str) and isinstance(before, str)
            self._members[name] = before + value if joined else value
        return []

    def end(self) -> list[Event]:
        if self._json:
            try:
                self._members["input"] = FIELDS.decode(self._json)
            except UNREADABLE:
                return []  # half a call of the vendor's own tool: the vendor would not take it back
        return self._whole([Opaque(dialect=NAME, kind=self._kind, raw=Raw(encode(self._members)))])


_BLOCKS: dict[str, type[Block]] = {
    "text": _TextBlock,
    "thinking": _ThinkingBlock,
    "redacted_thinking": _RedactedBlock,
    "tool_use": _ToolUseBlock,
}


def block_of(kind: str) -> type[Block]:
    """The class for a block of this type."""
    return _BLOCKS.get(kind, _UnknownBlock)
