"""Messages, both directions."""

from collections.abc import Iterable, Sequence

from msgspec import Raw
from msgspec.json import Decoder

from gateway.conversation import AnyPart, Message, Origin, Refusal, Role, Text, ToolCall, ToolResult, merged
from gateway.dialects.anthropic.blocks import BlockReader, BlockWriter, text_block
from gateway.dialects.anthropic.wire import (
    FIELDS,
    ITEMS,
    UNREADABLE,
    Content,
    OnlySaid,
    Readable,
    Said,
    encode,
    read,
)
from gateway.dialects.dialect import EncodedMessages
from gateway.errors import GatewayError, Kind

_SAID = Decoder(Said)
_ALL_SAID = Decoder(list[Said])
_ONLY_SAID = Decoder(list[OnlySaid])
_CONTENT: Decoder[Content] = Decoder(Content)
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_OWN = {"role", "content"}
_WORDS = (Text, Refusal)
_CALLING = (ToolCall, ToolResult)

SYSTEM_OPEN, SYSTEM_CLOSE = "<system-message>\n", "\n</system-message>"
"""Around what another dialect's client said as a system message in mid-conversation.

The vendor knows such messages too, but only some of its models and platforms take them, and only in some places. So
the text goes as the user's, marked, which all of them take.
"""


# ---------------------------------------------------------------- from the wire


def decode_messages(messages: Sequence[bytes], origin: Origin | None = None) -> tuple[Message, ...]:
    """Messages from their JSON; a tool result learns its tool's name from the calls before it."""
    said = [read(_SAID, raw, f"messages.{index}") for index, raw in enumerate(messages)]
    return read_messages(said, BlockReader(origin))


def read_said(messages: Raw, lost: set[str]) -> Sequence[Said]:
    """The messages of a request, opened; `lost` collects the names of members that only the vendor knows."""
    try:
        return _ONLY_SAID.decode(messages)
    except UNREADABLE:  # or with such members
        said = read(_ALL_SAID, messages, "messages")
    with Readable("messages"):
        names = {name for raw in ITEMS.decode(messages) for name in FIELDS.decode(raw)}
    lost |= {f"messages.{name}" for name in names - _OWN}
    return said


def read_messages(said: Sequence[Said], reader: BlockReader) -> tuple[Message, ...]:
    """Opened messages, by a reader that tells afterwards what was lost. Empty messages are left out."""
    with Readable("messages"):
        messages = [_message(one, reader, f"messages.{index}") for index, one in enumerate(said)]
    return tuple([message for message in messages if message.parts])


def _message(said: Said, reader: BlockReader, where: str) -> Message:
    role = _ROLES.get(said.role)
    if role is None:
        raise GatewayError(
            Kind.INVALID,
            f"{where}.role: a role is user, assistant or system, not {said.role!r}.",
            param=f"{where}.role",
        )
    parts = reader.content(said.content, f"{where}.content")
    if role == "user":
        parts.sort(key=_after_results)
    return Message(role, tuple(parts))


def _after_results(part: AnyPart) -> bool:
    return not isinstance(part, ToolResult)


# ---------------------------------------------------------------- to the wire


def encode_messages(messages: Sequence[Message], target: Origin) -> EncodedMessages:
    """Messages to JSON: roles alternate, results stand directly behind their calls, nothing is empty."""
    writer = BlockWriter(target)
    return EncodedMessages(write_messages(messages, writer), tuple(sorted(writer.dropped)))


def write_messages(messages: Sequence[Message], writer: BlockWriter) -> tuple[bytes, ...]:
    """The same with a writer that tells afterwards what was dropped."""
    encoded = []
    for message in _arranged(_sayable(messages), writer):
        blocks = writer.content(message.parts, message.role)
        if blocks:
            encoded.append(encode({"role": message.role, "content": blocks}))
    return tuple(encoded)


def _sayable(messages: Iterable[Message]) -> tuple[Message, ...]:
    """System messages made the user's, empty text left out, neighbours merged."""
    said = []
    for message in messages:
        role, parts = message.role, message.parts
        kept = [part for part in parts if not isinstance(part, _WORDS) or part.text.strip()]
        if role == "system":
            kept, role = [_marked(part) for part in kept], "user"
        if kept:
            unchanged = role is message.role and len(kept) == len(parts)
            said.append(message if unchanged else Message(role, tuple(kept)))
    return merged(said)


def _marked(part: AnyPart) -> AnyPart:
    return Text(f"{SYSTEM_OPEN}{part.text}{SYSTEM_CLOSE}") if isinstance(part, Text) else part


def _arranged(messages: tuple[Message, ...], writer: BlockWriter) -> tuple[Message, ...]:
    """Results moved directly behind their calls; those of calls that are not here stay where they are."""
    if not [part for message in messages for part in message.parts if isinstance(part, _CALLING)]:
        return messages
    waiting: dict[str, list[ToolResult]] = {
        part.id: []
        for message in messages
        if message.role == "assistant"
        for part in message.parts
        if isinstance(part, ToolCall)
    }
    others: list[Message] = []
    for message in messages:
        rest = []
        for part in message.parts:
            if isinstance(part, ToolResult) and part.call_id in waiting:
                waiting[part.call_id].append(part)
            else:
                rest.append(part)
        if message.role == "user":
            rest.sort(key=_after_results)
        others.append(Message(message.role, tuple(rest)))
    arranged: list[Message] = []
    for message in others:
        arranged.append(message)
        calls = [part.id for part in message.parts if isinstance(part, ToolCall)]
        results = tuple(waiting[id].pop(0) for id in calls if waiting.get(id))
        arranged.append(Message("user", results))
    if any(waiting.values()):
        writer.dropped.add("content.tool_result")  # a second result of one call, which the vendor refuses
    return merged(message for message in arranged if message.parts)


# ---------------------------------------------------------------- the system prompt


def decode_system(system: Sequence[bytes]) -> tuple[AnyPart, ...]:
    """The system prompt, a string or text blocks, to parts."""
    return read_system(system, BlockReader(None))


def read_system(system: Sequence[bytes], reader: BlockReader) -> tuple[AnyPart, ...]:
    """The same with a reader that tells afterwards what was lost."""
    with Readable("system"):
        return tuple(part for value in system for part in reader.content(read(_CONTENT, value, "system"), "system"))


def encode_system(system: Sequence[AnyPart]) -> tuple[bytes, ...]:
    """One JSON value, a list of text blocks, or none. The vendor takes nothing but text here."""
    blocks = [text_block(part.text) for part in system if isinstance(part, Text) and part.text.strip()]
    return (encode(blocks),) if blocks else ()
