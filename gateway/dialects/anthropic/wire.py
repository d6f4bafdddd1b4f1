"""The members of Anthropic's JSON that are read, and the decoders for them, made once.

Source: https://platform.claude.com/docs/en/api/messages, versions 2023-06-01 and 2026-10-21.
"""

import re
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder

from gateway.errors import GatewayError, Kind

NAME = "anthropic"
EMPTY = Raw(b"")
NULL = Raw(b"null")
UNREADABLE = (ValueError, RecursionError)
"""What a decoder raises for bytes that are not what it expects: not JSON, not UTF-8, too deep, another type."""

T = TypeVar("T")


class Tagged(Struct):
    """Anything that says its type."""

    type: str


Content: TypeAlias = str | list[Raw] | None
"""A string, a list of blocks, or nothing: a `system` message may have only settings."""


class Head(Tagged):
    """A block's type, and all that there is to a block of text, so that this one costs a single decoding."""

    text: object = None
    citations: Raw = EMPTY


class Said(Struct):
    """A message."""

    role: str
    content: Content = None


class OnlySaid(Said, forbid_unknown_fields=True):
    """A message without members that only the vendor knows."""


class TextBlock(Struct):
    """Text, in a reply perhaps with citations."""

    text: str
    citations: Raw = EMPTY


class ThinkingBlock(Struct):
    """Thinking, signed by the vendor."""

    thinking: str = ""
    signature: str = ""


class RedactedBlock(Struct):
    """Thinking that is withheld; `data` is encrypted."""

    data: str = ""


class ToolUseBlock(Struct):
    """A call. `caller` and `toolset_name` matter only to the vendor."""

    id: str
    name: str
    input: Raw = Raw(b"{}")
    caller: Raw = EMPTY
    toolset_name: str | None = None


class ToolResultBlock(Struct):
    """A call's result."""

    tool_use_id: str
    content: Content = None
    is_error: bool | None = None


class Source(Struct):
    """Where an image or a document comes from, by `type`: base64, url, file, text, content."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""


class ImageBlock(Struct):
    """An image."""

    source: Source


class DocumentBlock(Struct):
    """A document; `context` and `citations` are for the vendor alone."""

    source: Source
    title: str | None = None
    context: str | None = None
    citations: Raw = EMPTY


class ToolParam(Struct):
    """A tool; without a type or with `custom` it is a function."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: Raw = EMPTY
    strict: bool | None = None


class ToolChoiceParam(Struct):
    """How tools are chosen."""

    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class ThinkingParam(Struct):
    """How to think."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class FormatParam(Struct):
    """Structured output."""

    type: str
    schema: Raw = EMPTY


class OutputParam(Struct):
    """`output_config`."""

    effort: str | None = None
    format: FormatParam | None = None


class TokenDetails(Struct):
    """What of the output was thinking."""

    thinking_tokens: int | None = None


class UsageWire(Struct):
    """Counts; in a stream's last event those that are absent keep their earlier value."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: TokenDetails | None = None


class MessageWire(Struct):
    """A reply, or the head of a streamed one; an error in its place has the type `error`."""

    type: str = ""
    id: str = ""
    model: str = ""
    content: list[Raw] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: UsageWire | None = None


class DeltaWire(Struct):
    """All kinds of deltas in one, so that an event costs one decoding."""

    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    citation: Raw = EMPTY
    stop_reason: str | None = None
    stop_sequence: str | None = None


class EventWire(Struct):
    """All kinds of stream events in one."""

    type: str
    delta: DeltaWire | None = None
    content_block: Raw = EMPTY
    message: Raw = EMPTY
    usage: UsageWire | None = None


class ErrorDetails(Struct):
    """Since 2026-10-21 an error says its cause in a stable code."""

    error_code: str | None = None


class ErrorWire(Struct):
    """What went wrong."""

    type: str = ""
    message: str = ""
    details: ErrorDetails | None = None


class ErrorBody(Struct):
    """An error answer, or an error event."""

    error: ErrorWire
    type: str = ""


FIELDS: Decoder[dict[str, Raw]] = Decoder(dict[str, Raw])
ITEMS: Decoder[list[Raw]] = Decoder(list[Raw])
TEXT: Decoder[str] = Decoder(str)
TAG: Decoder[Tagged] = Decoder(Tagged)
encode = msgspec.json.Encoder().encode

_STEP = re.compile(r"\.([^.\[\]`]+)|\[(\d+)\]")


def read(decoder: Decoder[T], raw: bytes | Raw, where: str) -> T:
    """Decode what a client sent; raises GatewayError (INVALID) that names the place, `messages.0.content.1.text`."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as exc:
        message, _, path = str(exc).partition(" - at `")
        steps = [name or index for name, index in _STEP.findall(path)]
        place = ".".join([where, *steps]) if where else ".".join(steps)
        raise GatewayError(Kind.INVALID, f"{place}: {message}.", param=place or None) from None
    except UNREADABLE:
        raise GatewayError(Kind.INVALID, f"{where}: this is not valid JSON.", param=where) from None


class Readable:
    """Makes a GatewayError of what is found late: members that are kept undecoded may hold bytes that are no text."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        """Nothing yet."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """What cannot be read is told to the client."""
        if isinstance(error, UNREADABLE):
            where = self._where
            raise GatewayError(Kind.INVALID, f"{where}: this is not valid JSON.", param=where) from None


def is_absent(raw: Raw) -> bool:
    """Whether a member is missing or null."""
    return raw in (EMPTY, NULL)


def first(raw: Raw) -> bytes:
    """The first byte, without a copy of the rest."""
    return bytes(memoryview(raw)[:1])


def one_line(raw: bytes) -> bytes:
    """The same JSON without line breaks, so that it fits an event."""
    return msgspec.json.format(raw, indent=-1) if b"\n" in raw or b"\r" in raw else raw
