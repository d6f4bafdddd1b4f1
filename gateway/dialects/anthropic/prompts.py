"""Requests, both directions.

Source: https://platform.claude.com/docs/en/api/messages
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from gateway.conversation import SIGNATURE_MARK, Origin, Prompt, Text
from gateway.dialects.anthropic.blocks import BlockReader, BlockWriter, text_block
from gateway.dialects.anthropic.marks import without_foreign
from gateway.dialects.anthropic.messages import encode_system, read_messages, read_said, read_system, write_messages
from gateway.dialects.anthropic.models import Abilities, abilities_of
from gateway.dialects.anthropic.rules import called_tools, in_unthought_loop, is_prefill, whole
from gateway.dialects.anthropic.settings import (
    format_members,
    format_of,
    max_tokens,
    read_output,
    read_thinking,
    sampling_members,
    thinking_members,
)
from gateway.dialects.anthropic.tools import encode_tools, read_choice, read_tools, written_choice
from gateway.dialects.anthropic.wire import EMPTY, FIELDS, ITEMS, NAME, TEXT, UNREADABLE, encode, first, is_absent, read
from gateway.dialects.dialect import Encoded, Request, Spoken
from gateway.dialects.lists import Payload, with_list
from gateway.errors import GatewayError, Kind

_COUNT: Decoder[int | None] = Decoder(int | None)
_NUMBER: Decoder[float | None] = Decoder(float | None)
_STRINGS: Decoder[list[str] | None] = Decoder(list[str] | None)
_METADATA: Decoder[dict[str, object] | None] = Decoder(dict[str, object] | None)


def _stop(raw: Raw, name: str) -> tuple[str, ...]:
    texts = read(_STRINGS, raw, name)
    return tuple(texts or ())


_MEMBERS: dict[str, tuple[str, Callable[[Raw, str], Any]]] = {
    "max_tokens": ("max_tokens", partial(read, _COUNT)),
    "temperature": ("temperature", partial(read, _NUMBER)),
    "top_p": ("top_p", partial(read, _NUMBER)),
    "top_k": ("top_k", partial(read, _COUNT)),
    "stop_sequences": ("stop", _stop),
}
"""Each member that is one of a Prompt by itself, under which name, and how it is read."""
_THINKING = frozenset({"thinking", "output_config"})
_ELSEWHERE = _THINKING | {"model", "messages", "system", "tools", "tool_choice", "stream", "metadata"}
_LONGEST_USER = 256

# ---------------------------------------------------------------- a client's request


def open_request(body: bytes, *, model: str = "", stream: bool = False, query: str = "") -> Request:
    """Read the members; check only what routing needs."""
    try:
        fields = FIELDS.decode(body)
    except UNREADABLE:
        raise GatewayError(Kind.INVALID, "The request body is not a JSON object.") from None
    named = fields.get("model", EMPTY)
    if first(named) == b'"':
        model = read(TEXT, named, "model")
    elif not is_absent(named):
        raise GatewayError(Kind.INVALID, "model: it is a string.", param="model")
    if not model:
        raise GatewayError(Kind.INVALID, "model: this field is required.", param="model")
    if first(fields.get("messages", EMPTY)) != b"[":
        raise GatewayError(Kind.INVALID, "messages: a list of messages is required.", param="messages")
    said = bytes(fields.get("stream", EMPTY))
    if said not in (b"", b"null", b"true", b"false"):
        raise GatewayError(Kind.INVALID, "stream: it is true or false.", param="stream")
    return Request(NAME, fields, model, said == b"true" or stream, query)


def spoken(request: Request) -> Spoken:
    """The conversation inside, undecoded."""
    system = request.fields.get("system", EMPTY)
    tools = request.fields.get("tools", EMPTY)
    return Spoken(
        system=() if is_absent(system) else (bytes(system),),
        messages=tuple(bytes(raw) for raw in read(ITEMS, request.fields["messages"], "messages")),
        tools=b"" if is_absent(tools) else bytes(tools),
    )


def splice(
    request: Request,
    *,
    model: str,
    system: Sequence[bytes] | None = None,
    messages: Sequence[bytes] | None = None,
    tools: bytes | None = None,
    told: Sequence[bytes] = (),
) -> Payload:
    """The request for a provider of this dialect: all as sent but for what is given here.

    Blocks that only carry another vendor's signature, which a client of this dialect keeps for us, are taken out:
    the vendor would refuse them.
    """
    fields = dict(request.fields)
    fields["model"] = Raw(encode(model))
    if system is not None:
        fields.pop("system", None)
        if system:
            fields["system"] = Raw(_one_system(system))
    if messages is None and _has_mark(fields["messages"]):
        messages = [bytes(raw) for raw in read(ITEMS, fields["messages"], "messages")]
    if tools is not None:
        fields.pop("tools", None)
        if tools:
            fields["tools"] = Raw(tools)
    if messages is None:
        return encode(fields)
    fields.pop("messages", None)
    return with_list(encode(fields), b"messages", told=told, own=b",".join(without_foreign(messages)))


def _has_mark(messages: Raw) -> bool:
    return SIGNATURE_MARK in bytes(messages)


def _one_system(system: Sequence[bytes]) -> bytes:
    """One value: the only one as it is, several as one list of blocks."""
    if len(system) == 1:
        return system[0]
    blocks: list[object] = []
    for value in system:
        found = msgspec.json.decode(value, type=str | list[Raw])
        blocks += [text_block(found)] if isinstance(found, str) else found
    return encode(blocks)


# ---------------------------------------------------------------- to neutral form


def decode_prompt(request: Request) -> Prompt:
    """The whole request in neutral form."""
    fields = request.fields
    reader = BlockReader(None)
    lost = reader.lost
    members = _settings(fields, lost)
    if not is_absent(system := fields.get("system", EMPTY)):
        members["system"] = read_system((system,), reader)
    if "tools" in fields:
        members["tools"] = read_tools(fields["tools"], lost)
    if not is_absent(choice := fields.get("tool_choice", EMPTY)):
        members["tool_choice"], members["parallel_tool_calls"] = read_choice(choice)
    members["messages"] = read_messages(read_said(fields["messages"], lost), reader)
    if lost:
        members["extras"] = tuple(sorted(lost))
    return Prompt(model=request.model, stream=request.stream, **members)


def _settings(fields: dict[str, Raw], lost: set[str]) -> dict[str, Any]:
    """What is said of how to answer, as members of a Prompt; `lost` gets the names of what has no place there."""
    members: dict[str, Any] = {}
    for name, raw in fields.items():
        if (member := _MEMBERS.get(name)) is not None:
            members[member[0]] = member[1](raw, name)
        elif name not in _ELSEWHERE:
            lost.add(name)
    if not _THINKING.isdisjoint(fields):
        output = read_output(fields.get("output_config", EMPTY), lost)
        members["format"] = format_of(output)
        members["thinking"] = read_thinking(fields.get("thinking", EMPTY), output.effort, lost)
    if "metadata" in fields:
        members["user"] = _user(fields["metadata"], lost)
    return members


def _user(raw: Raw, lost: set[str]) -> str:
    metadata = (None if is_absent(raw) else read(_METADATA, raw, "metadata")) or {}
    lost |= {f"metadata.{name}" for name in metadata if name != "user_id"}
    user = metadata.get("user_id")
    return user if isinstance(user, str) else ""


# ---------------------------------------------------------------- from neutral form


def encode_prompt(prompt: Prompt, target: Origin, history: Sequence[bytes] = ()) -> Encoded:
    """A body for a provider, within what the target's model takes (`models.py`)."""
    abilities = abilities_of(target.model)
    writer = BlockWriter(target)
    dropped = writer.dropped
    limit = max_tokens(prompt, abilities, dropped)
    messages = whole([*history, *write_messages(prompt.messages, writer)], abilities, dropped)
    tools, choice = _tools(prompt, messages, abilities, dropped)
    constrained, words = format_members(prompt.format, abilities, dropped) if prompt.format is not None else ({}, "")
    body: dict[str, Any] = {"model": target.model, "max_tokens": limit}
    if prompt.system or words:
        body |= _system(prompt, words, dropped)
    body["messages"] = [Raw(message) for message in messages]
    if tools:
        body["tools"] = tools
    if choice:
        body["tool_choice"] = choice
    thinks = False
    if prompt.thinking is not None:
        forced = choice is not None and choice["type"] in ("any", "tool")
        stuck = not abilities.adaptive and (is_prefill(messages) or in_unthought_loop(messages))
        thinking = thinking_members(prompt.thinking, abilities, limit, dropped, allowed=not forced and not stuck)
        if "effort" in thinking:
            constrained["effort"] = thinking.pop("effort")
        thinks = thinking.get("thinking", {}).get("type") in ("enabled", "adaptive")
        body |= thinking
    if constrained:
        body["output_config"] = constrained
    body |= sampling_members(prompt, abilities, dropped, thinks=thinks)
    body |= _rest(prompt, dropped)
    dropped.update(prompt.extras)
    return Encoded(encode(body), tuple(sorted(dropped)))


def _system(prompt: Prompt, words: str, dropped: set[str]) -> dict[str, Raw]:
    dropped |= {f"system.{type(part).__name__.lower()}" for part in prompt.system if not isinstance(part, Text)}
    parts = (*prompt.system, *((Text(words),) if words else ()))
    system = encode_system(parts)
    return {"system": Raw(system[0])} if system else {}


def _tools(
    prompt: Prompt, messages: list[bytes], abilities: Abilities, dropped: set[str]
) -> tuple[list[Raw], dict[str, Any] | None]:
    """The tools and their choice; tools that were called but are not offered any more may not be used."""
    tools: list[Raw] = []
    if prompt.tools:
        encoded = encode_tools(prompt.tools)
        dropped.update(encoded.dropped)
        tools = ITEMS.decode(encoded.body)
    choice = written_choice(prompt, abilities, tools, dropped)
    if tools or not (called := called_tools(messages)):
        return tools, choice
    return called, {"type": "none"}


def _rest(prompt: Prompt, dropped: set[str]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if prompt.stop:
        stop = [text for text in prompt.stop if text.strip()]
        dropped |= {"stop"} if len(stop) < len(prompt.stop) else set()
        if stop:
            members["stop_sequences"] = stop
    if "@" in prompt.user or len(prompt.user) > _LONGEST_USER:
        dropped.add("user")  # the vendor refuses addresses and long names
    elif prompt.user:
        members["metadata"] = {"user_id": prompt.user}
    if prompt.stream:
        members["stream"] = True
    if not (prompt.seed is prompt.presence_penalty is prompt.frequency_penalty is None):
        unknown = ("seed", "presence_penalty", "frequency_penalty")
        dropped.update(name for name in unknown if getattr(prompt, name) is not None)
    if prompt.cache_key:
        dropped.add("cache_key")
    return members
