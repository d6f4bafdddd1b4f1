"""Content blocks, both directions."""

import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from msgspec import Raw
from msgspec.json import Decoder

from gateway.conversation import (
    AnyPart,
    Audio,
    File,
    Image,
    Opaque,
    Origin,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from gateway.dialects.anthropic.marks import reunited, signature_from
from gateway.dialects.anthropic.media import file_block, image_block, read_document, read_image
from gateway.dialects.anthropic.wire import (
    FIELDS,
    NAME,
    UNREADABLE,
    Content,
    Head,
    RedactedBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    encode,
    is_absent,
    read,
)

Block: TypeAlias = dict[str, Any] | Raw

_HEAD = Decoder(Head)
_TEXT = Decoder(TextBlock)
_THINKING = Decoder(ThinkingBlock)
_REDACTED = Decoder(RedactedBlock)
_TOOL_USE = Decoder(ToolUseBlock)
_TOOL_RESULT = Decoder(ToolResultBlock)

ATTACHED = {"citations": "text", "caller": "tool_use"}
"""Kinds of Opaque that are no block but members of the block in front of them, of this type, with no neutral form."""

_NONE = Raw(b"[]")
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")


# ---------------------------------------------------------------- from the wire


class BlockReader:
    """Reads the content of messages; `lost` collects the names of what the neutral form cannot hold.

    The names of tools are learnt from calls on the way, for the results that follow.
    """

    def __init__(self, origin: Origin | None) -> None:
        self.lost: set[str] = set()
        self._origin = origin
        self._names: dict[str, str] = {}

    def content(self, content: Content, where: str) -> list[AnyPart]:
        """The parts of a string or of a list of blocks; nothing where there is nothing."""
        if isinstance(content, str):
            return [Text(content)] if content else []
        return self.blocks(content, where) if content else []

    def blocks(self, blocks: list[Raw], where: str) -> list[AnyPart]:
        """The parts of a list of blocks."""
        parts: list[AnyPart] = []
        for index, block in enumerate(blocks):
            place = f"{where}.{index}"
            head = read(_HEAD, block, place)
            kind = head.type
            if b'"cache_control":' in bytes(block):
                self.lost.add("cache_control")
            if kind == "text" and isinstance(head.text, str):
                parts += _text(head.text, head.citations)
                continue
            reader = self._READERS.get(kind)
            parts += reader(self, block, place) if reader else [Opaque(dialect=NAME, kind=kind, raw=block)]
        return reunited(parts)

    def _bad_text(self, raw: Raw, where: str) -> list[AnyPart]:
        block = read(_TEXT, raw, where)  # says what is wrong with it
        return _text(block.text, block.citations)

    def _thinking(self, raw: Raw, where: str) -> list[AnyPart]:
        block = read(_THINKING, raw, where)
        return [Reasoning(text=block.thinking, signature=signature_from(block.signature, self._origin))]

    def _redacted(self, raw: Raw, where: str) -> list[AnyPart]:
        data = read(_REDACTED, raw, where).data
        return [Reasoning(signature=signature_from(data, self._origin), redacted=True)]

    def _tool_use(self, raw: Raw, where: str) -> list[AnyPart]:
        block = read(_TOOL_USE, raw, where)
        self._names[block.id] = block.name
        return [call_of(block), *call_extras(block)]

    def _tool_result(self, raw: Raw, where: str) -> list[AnyPart]:
        block = read(_TOOL_RESULT, raw, where)
        return [
            ToolResult(
                call_id=block.tool_use_id,
                content=tuple(self.content(block.content, f"{where}.content")),
                name=self._names.get(block.tool_use_id, ""),
                is_error=bool(block.is_error),
            )
        ]

    def _image(self, raw: Raw, where: str) -> list[AnyPart]:
        return [read_image(raw, where)]

    def _document(self, raw: Raw, where: str) -> list[AnyPart]:
        return [read_document(raw, where, self.lost)]

    _READERS: ClassVar[dict[str, Callable[["BlockReader", Raw, str], list[AnyPart]]]] = {
        "text": _bad_text,
        "thinking": _thinking,
        "redacted_thinking": _redacted,
        "tool_use": _tool_use,
        "tool_result": _tool_result,
        "image": _image,
        "document": _document,
    }


def _text(text: str, citations: Raw) -> list[AnyPart]:
    if not text:
        return []
    parts: list[AnyPart] = [Text(text)]
    return parts if is_absent(citations) else parts + attached("citations", citations=citations)


def call_of(block: ToolUseBlock) -> ToolCall:
    """A call; its arguments are the text of its input, so that numbers and the order of keys stay."""
    return ToolCall(id=block.id, name=block.name, arguments=bytes(block.input).decode())


def call_extras(block: ToolUseBlock) -> list[AnyPart]:
    """What the vendor wants back with a call that was not the model's own: whose it was, which toolset it is of."""
    direct = is_absent(block.caller) or b'"direct"' in bytes(block.caller)
    members: dict[str, object] = {} if direct else {"caller": block.caller}
    if block.toolset_name is not None:
        members["toolset_name"] = block.toolset_name
    return attached("caller", **members)


def attached(kind: str, **members: object) -> list[AnyPart]:
    """An Opaque with members of the block in front of it, or nothing if there are none."""
    there = {name: value for name, value in members.items() if not _is_nothing(value)}
    return [Opaque(dialect=NAME, kind=kind, raw=Raw(encode(there)))] if there else []


def _is_nothing(value: object) -> bool:
    return isinstance(value, Raw) and (is_absent(value) or value == _NONE)


# ---------------------------------------------------------------- to the wire


class BlockWriter:
    """Writes the content of messages for a provider; `dropped` collects the names of what it cannot take."""

    def __init__(self, target: Origin) -> None:
        self.dropped: set[str] = set()
        self._target = target

    def content(self, parts: tuple[AnyPart, ...], role: Role) -> list[Block]:
        """The blocks of a message of `role`; empty text, which the vendor refuses, is left out."""
        blocks: list[Block] = []
        for part in parts:
            if isinstance(part, Opaque) and part.dialect == NAME and part.kind in ATTACHED:
                if role == "assistant":  # the vendor refuses citations in a user's text
                    attach(blocks, part)
                continue
            block = self._block(part, role)
            if block is not None:
                blocks.append(block)
        return blocks

    def _block(self, part: AnyPart, role: Role) -> Block | None:  # noqa: PLR0911 - one return a kind of part
        match part:
            case Text(text=text) | Refusal(text=text):
                return text_block(text) if text.strip() else None
            case ToolCall():
                return call_block(part)
            case ToolResult():
                return self._result(part)
            case Reasoning():
                return self._reasoning(part)
            case Opaque():
                return self._opaque(part)
            case Image() | File() | Audio() if role == "assistant":
                return self._dropped_block(f"assistant.{_kind(part)}")  # the vendor takes them from users only
            case Image():
                return image_block(part, self.dropped)
            case File():
                return file_block(part, self.dropped)
            case Audio():
                return self._dropped_block("content.audio")

    def _dropped_block(self, name: str) -> Block | None:
        self.dropped.add(name)
        return None

    def _opaque(self, part: Opaque) -> Block | None:
        return part.raw if part.dialect == NAME else self._dropped_block(f"content.opaque:{part.kind}")

    def _reasoning(self, part: Reasoning) -> Block | None:
        """Thinking goes back to who made it, with its signature, or not at all: the vendor refuses any other."""
        if part.signature is None or not part.signature.fits(NAME, self._target):
            return self._dropped_block("content.reasoning")
        return reasoning_block(part, part.signature.value)

    def _result(self, part: ToolResult) -> Block:
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": safe_id(part.call_id)}
        content = self.content(part.content, "user")
        match part.content:
            case (Text(text=text),) if content:
                block["content"] = text
            case _ if content:
                block["content"] = content
        if part.is_error:
            block["is_error"] = True
        return block


def text_block(text: str) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": text}


def call_block(part: ToolCall) -> dict[str, Any]:
    """A tool_use block. Its input must be an object."""
    return {"type": "tool_use", "id": safe_id(part.id), "name": part.name, "input": Raw(object_text(part).encode())}


def object_text(part: ToolCall) -> str:
    """The arguments as the text of a JSON object.

    A custom tool's free text, and text that is no JSON object (a model's mistake), become `{"input": text}`.
    """
    if not part.custom:
        if not part.arguments.strip():
            return "{}"
        try:
            FIELDS.decode(part.arguments)
        except UNREADABLE:
            pass
        else:
            return part.arguments
    return encode({"input": part.arguments}).decode()


def reasoning_block(part: Reasoning, secret: str) -> dict[str, Any]:
    """A thinking block, or a redacted one; `secret` is its signature or data."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": secret}
    return {"type": "thinking", "thinking": part.text, "signature": secret}


def attach(blocks: list[Block], part: Opaque) -> None:
    """Put members back into the block they were taken from, if it is there."""
    block = blocks[-1] if blocks else None
    if isinstance(block, dict) and block["type"] == ATTACHED[part.kind]:
        block.update(FIELDS.decode(part.raw))


def safe_id(id: str) -> str:
    """An id of a call in the letters that the vendor takes; the same id always gives the same."""
    return _NOT_IN_AN_ID.sub("_", id) or "toolu_0"


def _kind(part: AnyPart) -> str:
    return type(part).__name__.lower()
