"""The JSON of Chat Completions as far as the gateway reads it; what is not named here is ignored or kept as bytes.

Source: https://platform.openai.com/docs/api-reference/chat, and what compatible servers add to it:
DeepSeek and vLLM `reasoning_content`, OpenRouter `reasoning` and `reasoning_details`, Gemini's
`extra_content.google.thought_signature`.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from gateway.errors import GatewayError, Kind

NAME = "openai_chat"
NULL = Raw(b"null")
_EMPTY = Raw(b"")

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a decoder raises for bytes that are not what it expects."""

T = TypeVar("T")


class Function(Struct, omit_defaults=True):
    """A called function. Some servers write the arguments as an object instead of its text."""

    name: str | None = None
    arguments: str | dict[str, Raw] | None = None


class Custom(Struct, omit_defaults=True):
    """A called custom tool: free text."""

    name: str | None = None
    input: str | None = None


class Google(Struct, omit_defaults=True):
    """What Gemini adds."""

    thought_signature: str | None = None


class Extra(Struct, omit_defaults=True):
    """Where Gemini's own OpenAI-compatible endpoint keeps what OpenAI has no member for."""

    google: Google | None = None


class Call(Struct, omit_defaults=True):
    """A tool call; in a stream a piece of one."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: Extra | None = None


class AudioId(Struct):
    """Sound that the model spoke, by the id under which it can be referred to."""

    id: str | None = None


class ImageUrl(Struct):
    """An image by address or `data:` URL."""

    url: str = ""
    detail: str | None = None


class ImagePart(Struct):
    """An image; some clients write the address where the object belongs."""

    image_url: ImageUrl | str


class InputAudio(Struct):
    """Sound in base64."""

    data: str
    format: str = "wav"


class FileFile(Struct):
    """A document: `file_data` is a `data:` URL or base64 alone."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class ContentPart(Struct):
    """One item of a message's content; which members count depends on `type`."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None
    file: FileFile | None = None
    thinking: Raw = Raw(b"")


class WireMessage(Struct):
    """A message of a request or of a reply."""

    role: str = "assistant"
    content: str | list[Raw] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None
    refusal: str | None = None
    audio: AudioId | None = None
    images: list[ImagePart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Raw] | None = None
    extra_content: Extra | None = None


class Plain(Struct, forbid_unknown_fields=True):
    """A reply's message that has text and nothing else."""

    content: Raw
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    annotations: tuple[()] | None = None
    audio: None = None
    tool_calls: None = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


class Detail(Struct):
    """An item of `reasoning_details`. Source: https://openrouter.ai/docs/use-cases/reasoning-tokens."""

    type: str = "reasoning.text"
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    id: str | None = None
    index: int | None = None


class PromptDetails(Struct):
    """Of the prompt's tokens."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(Struct):
    """Of the completion's tokens."""

    reasoning_tokens: int | None = None


class WireUsage(Struct):
    """Token counts, with the places where DeepSeek and Moonshot count cached tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None


class Choice(Struct):
    """One of the answers of a whole reply. vLLM's `stop_reason` is the stop sequence or the token that ended it."""

    message: Raw
    index: int = 0
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    error: Raw = Raw(b"")


class Completion(Struct):
    """A whole reply."""

    choices: list[Choice] | None = None
    id: str | None = None
    created: int | float | None = None
    model: str | None = None
    usage: WireUsage | None = None
    error: Raw = Raw(b"")


class Delta(Struct):
    """What a chunk adds to the message."""

    content: str | list[ContentPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Raw]] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    audio: AudioId | None = None
    images: list[ImagePart] | None = None
    extra_content: Extra | None = None


class ChunkChoice(Struct):
    """One of the answers of a chunk. Moonshot counts tokens here."""

    delta: Delta | None = None
    index: int = 0
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    usage: WireUsage | None = None
    error: Raw = Raw(b"")


class Groq(Struct):
    """Where Groq counts tokens in a stream."""

    usage: WireUsage | None = None


class Chunk(Struct):
    """One event of a stream."""

    choices: list[ChunkChoice] | None = None
    id: str | None = None
    created: int | float | None = None
    model: str | None = None
    usage: WireUsage | None = None
    error: Raw = Raw(b"")
    object: str | None = None
    x_groq: Groq | None = None


class FunctionTool(Struct, omit_defaults=True):
    """The declaration of a function."""

    name: str
    description: str | None = None
    parameters: Raw = field(default_factory=Raw)
    strict: bool | None = None


class CustomTool(Struct, omit_defaults=True):
    """The declaration of a custom tool."""

    name: str
    description: str | None = None
    format: Raw = field(default_factory=Raw)


class WireTool(Struct, omit_defaults=True):
    """A tool's declaration; also how `tool_choice` names one."""

    type: str = "function"
    function: FunctionTool | None = None
    custom: CustomTool | None = None


encode = msgspec.json.encode
to_fields: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
to_raws: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
to_text = msgspec.json.Decoder(str)
to_message = msgspec.json.Decoder(WireMessage)
to_messages = msgspec.json.Decoder(list[WireMessage])
to_part = msgspec.json.Decoder(ContentPart)
to_detail = msgspec.json.Decoder(Detail)
to_completion = msgspec.json.Decoder(Completion)
to_chunk = msgspec.json.Decoder(Chunk)


def invalid(message: str, param: str) -> GatewayError:
    """A client's mistake, with the member that holds it."""
    return GatewayError(Kind.INVALID, message, param=param)


def read(decoder: msgspec.json.Decoder[T], raw: Raw | bytes, param: str) -> T:
    """Decode what a client sent. Raises GatewayError (INVALID) that names `param`."""
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        raise invalid(f"{param} is not what it must be: {error}.", param) from error


def present(fields: Mapping[str, Raw], name: str) -> Raw | None:
    """A member that is there and not null."""
    raw = fields.get(name)
    return None if raw is None or raw == NULL else raw


def is_given(raw: Raw) -> bool:
    """Whether an optional member was there and not null."""
    return raw not in (_EMPTY, NULL)


def without_nones(**members: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
    """A JSON object of the members that have a value."""
    return {name: value for name, value in members.items() if value is not None}


def arguments_of(function: Function) -> str:
    """A call's arguments as text."""
    arguments = function.arguments
    if isinstance(arguments, dict):
        return encode(arguments).decode()
    return arguments or ""
