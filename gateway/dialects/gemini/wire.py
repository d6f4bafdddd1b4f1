"""What all files of the dialect share: names, members in either spelling, the structs of a reply.

Gemini's JSON is proto3 JSON: every member may be spelt in camelCase or snake_case, null means absent, and
integers may come as strings or as 40.0. Sources: https://ai.google.dev/api/generate-content and
https://protobuf.dev/programming-guides/json/
"""

import re
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.errors import GatewayError, Kind

NAME = "gemini"
NULL = Raw(b"null")

ENCODER = msgspec.json.Encoder()
BROKEN = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What decoding raises: msgspec does not look into a Raw, so bad UTF-8 shows only where it is read."""

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])


def camel(name: str) -> str:
    """A member's name in camelCase, however it was spelt."""
    if "_" not in name:
        return name
    head, *rest = name.strip("_").split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def invalid(where: str, wanted: str) -> GatewayError:
    """The error for a member of the wrong shape."""
    return GatewayError(Kind.INVALID, f"`{where}` must be {wanted}.", param=where)


def members(raw: Raw | bytes, where: str) -> dict[str, Raw]:
    """The members of an object under their camelCase names, nulls left out."""
    try:
        return named(_MEMBERS.decode(raw))
    except BROKEN:
        raise invalid(where, "an object") from None


def named(found: dict[str, Raw]) -> dict[str, Raw]:
    """Members under their camelCase names, nulls left out."""
    return {camel(name) if "_" in name else name: value for name, value in found.items() if value != NULL}


def is_null(raw: Raw) -> bool:
    """Whether a value is null."""
    return raw == NULL


def starts(raw: Raw | bytes, with_: tuple[bytes, ...]) -> bool:
    """Whether the JSON starts with one of these characters."""
    return bytes(memoryview(raw)[:64]).lstrip().startswith(with_)


def items(raw: Raw | bytes, where: str) -> list[Raw]:
    """The items of an array; a lone value counts as an array of one, as the API has it."""
    if not starts(raw, (b"[",)):
        return [Raw(bytes(raw))]
    try:
        return _LIST.decode(raw)
    except BROKEN:
        raise invalid(where, "an array") from None


@cache
def _lenient(kind: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401 - a type
    return msgspec.json.Decoder(kind, strict=False)


def value(raw: Raw, kind: Any, where: str) -> Any:  # noqa: ANN401 - the type is an argument
    """A scalar of the type `kind`, read as leniently as proto3 JSON is."""
    try:
        return _lenient(kind).decode(raw)
    except BROKEN:
        raise invalid(where, _WANTED.get(kind, "of another type")) from None


def text(found: dict[str, Raw], name: str, where: str) -> str:
    """A string member, "" where it is absent."""
    return str(value(found[name], str, f"{where}.{name}")) if name in found else ""


def compact(raw: Raw | bytes) -> bytes:
    """JSON without the whitespace between its tokens; numbers and the order of keys stay as they are."""
    return bytes(msgspec.json.format(bytes(raw), indent=-1))


def plain(raw: Raw, where: str) -> str:
    """Any JSON as text, compact."""
    try:
        return compact(raw).decode()
    except BROKEN:
        raise invalid(where, "JSON in UTF-8") from None


def generation(model: str) -> int:
    """The major version in a model's name; `gemini-flash-latest` counts as the newest, Gemma as the oldest."""
    if "gemma" in model:
        return 1
    found = re.search(r"gemini-(\d+)", model)
    return int(found[1]) if found else _NEWEST


_NEWEST = 99
_WANTED = {int: "an integer", float: "a number", str: "a string", bool: "true or false", list[str]: "a list of strings"}


# ---------------------------------------------------------------- a reply


class Piece(Struct, rename="camel"):
    """A part as far as most parts go; anything else in it is looked at by name."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None


class Content(Struct):
    """The message of a candidate."""

    parts: list[Raw] | None = None


class Candidate(Struct, rename="camel"):
    """One of the answers; only the first is read."""

    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None


class Feedback(Struct, rename="camel"):
    """Why a prompt was refused."""

    block_reason: str | None = None


class Counts(Struct, rename="camel"):
    """Token counts as Gemini gives them: thoughts are not among the candidates' tokens."""

    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None


class Chunk(Struct, rename="camel"):
    """A GenerateContentResponse: a whole reply, or one event of a stream. `error` takes its place when it fails."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Counts | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Raw = Raw(b"")
