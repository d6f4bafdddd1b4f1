"""The JSON of the Responses API as typed structs, and how it is read and written.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, Encoder

from gateway.errors import GatewayError, Kind

NAME = "openai_responses"
NULL = Raw(b"null")
_EMPTY = Raw(b"")

_T = TypeVar("_T")
_ENCODER = Encoder()


def dump(value: object) -> bytes:
    """A value as compact JSON; dictionaries keep their order."""
    return _ENCODER.encode(value)


def json(value: object) -> Raw:
    """A value as JSON, ready to be a member of something larger."""
    return Raw(_ENCODER.encode(value))


class Typed(Struct):
    """What kind of object this is; `role` only where the type may be left out."""

    type: str | None = None
    role: str | None = None
    id: str | None = None
    call_id: str | None = None
    execution: str | None = None


class MessageItem(Struct):
    """A message, in its short or its long form."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Raw
    phase: str | None = None


class FunctionCall(Struct):
    """A call of a function tool."""

    call_id: str
    name: str
    arguments: str = ""
    namespace: str | None = None


class CustomCall(Struct):
    """A call of a custom tool: free text instead of JSON."""

    call_id: str
    name: str
    input: str = ""
    namespace: str | None = None


class CallOutput(Struct):
    """What a tool answered: a string or an array of content."""

    call_id: str
    output: Raw = Raw(b'""')


class TextOnly(Struct):
    """Any part whose point is its text."""

    text: str = ""


class ReasoningItem(Struct):
    """Reasoning: summaries, the text itself (open-weight models), and the encrypted form."""

    id: str | None = None
    summary: list[TextOnly] | None = None
    content: list[TextOnly] | None = None
    encrypted_content: str | None = None


class RefusalPart(Struct):
    """The model declines."""

    refusal: str


class ImagePart(Struct):
    """An image by URL (`data:` too) or by file id."""

    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class FilePart(Struct):
    """A document: base64 or a data URL, an address, or a file id."""

    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None


class Sound(Struct):
    """Base64 and `mp3` or `wav`."""

    data: str
    format: str


class AudioPart(Struct):
    """Sound in a message."""

    input_audio: Sound


class InputDetails(Struct):
    """Of the prompt's tokens."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(Struct):
    """Of the reply's tokens."""

    reasoning_tokens: int | None = None


class UsageWire(Struct):
    """Token counts."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


class Incomplete(Struct):
    """Why a reply is incomplete."""

    reason: str | None = None


class Response(Struct):
    """A whole reply; `output` is None where the answer is no reply at all."""

    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: list[Raw] | None = None
    error: Raw = Raw(b"null")
    incomplete_details: Incomplete | None = None
    usage: UsageWire | None = None


FIELDS = Decoder(dict[str, Raw])
ITEMS = Decoder(list[Raw])
TYPED = Decoder(Typed)
TEXT = Decoder(str)
ANYTHING: Decoder[Any] = Decoder()
MESSAGE = Decoder(MessageItem)
FUNCTION_CALL = Decoder(FunctionCall)
CUSTOM_CALL = Decoder(CustomCall)
CALL_OUTPUT = Decoder(CallOutput)
REASONING = Decoder(ReasoningItem)
TEXT_PART = Decoder(TextOnly)
REFUSAL_PART = Decoder(RefusalPart)
IMAGE_PART = Decoder(ImagePart)
FILE_PART = Decoder(FilePart)
AUDIO_PART = Decoder(AudioPart)
RESPONSE = Decoder(Response)


def present(raw: Raw | None) -> bool:
    """Whether a member is there and not null."""
    return raw is not None and raw not in (_EMPTY, NULL)


def is_text(raw: Raw | bytes) -> bool:
    """Whether this is a JSON string."""
    return bytes(memoryview(raw)[:1]) == b'"'


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises: no JSON or of other types, not UTF-8 (of a member whose bytes nobody read so far), too deep."""


def invalid(error: Exception, where: str) -> GatewayError:
    """What a client is told about a member that cannot be read; `where` is its path."""
    match error:
        case UnicodeDecodeError():
            message, path = "it is not UTF-8", ""
        case RecursionError():
            message, path = "it is nested too deeply", ""
        case _:
            message, _, path = str(error).partition(" - at `")
    param = (where + path.rstrip("`").removeprefix("$")).removeprefix(".")
    text = f"`{param}` cannot be read: {message}." if param else f"The body cannot be read: {message}."
    return GatewayError(Kind.INVALID, text, param=param or None)


def read(decoder: Decoder[_T], raw: Raw | bytes, where: str) -> _T:
    """Decode a part of a client's request. Raises GatewayError (INVALID) that names the member."""
    try:
        return decoder.decode(raw)
    except UNREADABLE as exc:
        raise invalid(exc, where) from None
