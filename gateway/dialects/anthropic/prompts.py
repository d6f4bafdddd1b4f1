"""Requests, both directions.

Source: https://platform.claude.com/docs/en/api/messages
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from gateway.conversation import SIGNATURE_MARK, Origin, Prompt, Text
from gateway.dialects.anthropic.blocks import BlockReader, BlockWriter, text_block
from gateway.dialects.anthropic.marks import without_foreign
from gateway.dialects.anthropic.messages import encode_system, read_messages, read_system, write_messages
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
from gateway.dialects.anthropic.wire import EMPTY, FIELDS, ITEMS, NAME, TEXT, UNREADABLE, encode, is_absent, read
from gateway.dialects.dialect import Encoded, Request, Spoken
from gateway.errors import GatewayError, Kind

_COUNT: Decoder[int | None] = Decoder(int | None)
_NUMBER: Decoder[float | None] = Decoder(float | None)
_STRINGS: Decoder[list[str] | None] = Decoder(list[str] | None)
_METADATA: Decoder[dict[str, object] | None] = Decoder(dict[str, object] | None)

_NEUTRAL = frozenset(
    {
        "model", "messages", "system", "tools", "tool_choice", "max_tokens", "temperature", "top_p", "top_k",
        "stop_sequences", "stream", "thinking", "output_config", "metadata",
    }
)  # fmt: skip
_LONGEST_USER = 256

# ---------------------------------------------------------------- a client's request


def open_request(body: bytes, *, model: str = "", stream: bool = False, query: str = "") -> Request:
    """Read the members; check only what routing needs."""
    try:
        fields = FIELDS.decode(body)
    except UNREADABLE:
        raise GatewayError(Kind.INVALID, "The request body is not a JSON object.") from None
    named = fields.get("model", EMPTY)
    if _first(named) == b'"':
        model = read(TEXT, named, "model")
    elif not is_absent(named):
        raise GatewayError(Kind.INVALID, "model: it is a string.", param="model")
    if not model:
        raise GatewayError(Kind.INVALID, "model: this field is required.", param="model")
    if _first(fields.get("messages", EMPTY)) != b"[":
        raise GatewayError(Kind.INVALID, "messages: a list of messages is required.", param="messages")
    said = bytes(fields.get("stream", EMPTY))
    if said not in (b"", b"null", b"true", b"false"):
        raise GatewayError(Kind.INVALID, "stream: it is true or false.", param="stream")
    return Request(NAME, fields, model, said == b"true" or stream, query)


def _first(raw: Raw) -> bytes:
    """The first byte, without a copy of the rest."""
    return bytes(memoryview(raw)[:1])


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
) -> bytes:
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
    if messages is not None:
        fields["messages"] = Raw(b"[" + b",".join(without_foreign(list(messages))) + b"]")
    if tools is not None:
        fields.pop("tools", None)
        if tools:
            fields["tools"] = Raw(tools)
    return encode(fields)


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
    system = read_system(spoken(request).system, reader)
    messages = read_messages(read(ITEMS, fields["messages"], "messages"), reader)
    tools = read_tools(fields.get("tools", EMPTY), lost)
    choice = fields.get("tool_choice", EMPTY)
    tool_choice, parallel = (None, None) if is_absent(choice) else read_choice(choice)
    output = read_output(fields.get("output_config", EMPTY), lost)
    user = _user(fields.get("metadata", EMPTY), lost)
    lost |= fields.keys() - _NEUTRAL
    return Prompt(
        model=request.model,
        messages=messages,
        system=system,
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        max_tokens=_maybe(_COUNT, fields, "max_tokens"),
        temperature=_maybe(_NUMBER, fields, "temperature"),
        top_p=_maybe(_NUMBER, fields, "top_p"),
        top_k=_maybe(_COUNT, fields, "top_k"),
        stop=tuple(_maybe(_STRINGS, fields, "stop_sequences") or ()),
        thinking=read_thinking(fields.get("thinking", EMPTY), output.effort, lost),
        format=format_of(output),
        user=user,
        stream=request.stream,
        extras=tuple(sorted(lost)),
    )


def _maybe(decoder: Decoder[Any], fields: dict[str, Raw], name: str) -> Any:  # noqa: ANN401 - the decoder says it
    raw = fields.get(name)
    return None if raw is None else read(decoder, raw, name)


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
    forced = choice is not None and choice["type"] in ("any", "tool")
    free = prompt.thinking is None or abilities.adaptive
    allowed = not forced and (free or not (is_prefill(messages) or in_unthought_loop(messages)))
    thinking = thinking_members(prompt, abilities, limit, dropped, allowed=allowed)
    constrained, words = format_members(prompt.format, abilities, dropped)
    output = constrained | ({"effort": thinking.pop("effort")} if "effort" in thinking else {})
    thinks = thinking.get("thinking", {}).get("type") in ("enabled", "adaptive")
    body: dict[str, Any] = {
        "model": target.model,
        "max_tokens": limit,
        **_system(prompt, words, dropped),
        "messages": [Raw(message) for message in messages],
        **({"tools": tools} if tools else {}),
        **({"tool_choice": choice} if choice else {}),
        **thinking,
        **({"output_config": output} if output else {}),
        **sampling_members(prompt, abilities, dropped, thinks=thinks),
        **_rest(prompt, dropped),
    }
    return Encoded(encode(body), tuple(sorted(dropped | set(prompt.extras))))


def _system(prompt: Prompt, words: str, dropped: set[str]) -> dict[str, Raw]:
    dropped |= {f"system.{type(part).__name__.lower()}" for part in prompt.system if not isinstance(part, Text)}
    parts = (*prompt.system, *((Text(words),) if words else ()))
    system = encode_system(parts)
    return {"system": Raw(system[0])} if system else {}


def _tools(
    prompt: Prompt, messages: list[bytes], abilities: Abilities, dropped: set[str]
) -> tuple[list[Raw], dict[str, Any] | None]:
    """The tools and their choice; tools that were called but are not offered any more may not be used."""
    encoded = encode_tools(prompt.tools)
    dropped |= set(encoded.dropped)
    tools = ITEMS.decode(encoded.body)
    choice = written_choice(prompt, abilities, tools, dropped)
    if tools or not (called := called_tools(messages)):
        return tools, choice
    return called, {"type": "none"}


def _rest(prompt: Prompt, dropped: set[str]) -> dict[str, Any]:
    members: dict[str, Any] = {}
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
    for name in ("seed", "presence_penalty", "frequency_penalty"):
        dropped |= {name} if getattr(prompt, name) is not None else set()
    dropped |= {"cache_key"} if prompt.cache_key else set()
    return members
