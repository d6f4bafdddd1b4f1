"""Requests, both directions.

`model` and whether to stream come from the path, never from the body.
Source: https://ai.google.dev/api/generate-content
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from gateway.conversation import SIGNATURE_MARK, Origin, Prompt
from gateway.dialects.dialect import Encoded, Request, Spoken
from gateway.dialects.gemini.messages import BYPASS, contents, decode_system, encode_system, read_messages, separate
from gateway.dialects.gemini.settings import decode_settings, encode_settings
from gateway.dialects.gemini.tools import decode_tool_config, encode_tool_choice, encode_tools, read_tools
from gateway.dialects.gemini.wire import (
    BROKEN,
    ENCODER,
    NAME,
    camel,
    generation,
    invalid,
    items,
    members,
    named,
    starts,
)
from gateway.dialects.gemini.writing import STRICT, encode_messages
from gateway.dialects.lists import Payload, with_list
from gateway.errors import GatewayError, Kind

_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_READ = ("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "model")


def open_request(body: bytes, *, model: str = "", stream: bool = False, query: str = "") -> Request:
    """Read the members; `model` and `stream` are the path's."""
    try:
        fields = _FIELDS.decode(body)
    except BROKEN as error:
        message = "The body must be a JSON object." if _is_json(error) else "The body is not valid JSON."
        raise GatewayError(Kind.INVALID, message) from None
    name = model.removeprefix("models/")
    if not name:
        raise GatewayError(Kind.INVALID, "`model` is missing in the path.", param="model")
    given = fields.get("contents")
    if given is None or not starts(given, (b"[", b"{", b'"')):
        raise invalid("contents", "an array of contents")
    return Request(NAME, fields, name, stream, query)


def _is_json(error: Exception) -> bool:
    return isinstance(error, msgspec.ValidationError)


def _key(fields: dict[str, Raw], name: str) -> str:
    """How the client spelt a member."""
    return next((given for given in fields if camel(given) == name), name)


# ---------------------------------------------------------------- the same dialect


def spoken(request: Request) -> Spoken:
    """The conversation inside; pieces of one reply are joined to one message."""
    given = named(request.fields)
    system, tools = given.get("systemInstruction"), given.get("tools")
    return Spoken(
        system=() if system is None else (bytes(system),),
        messages=contents(request.fields["contents"]),
        tools=b"" if tools is None else bytes(tools),
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
    """The request as a body for a Gemini provider. The model goes into the path, so a `model` in the body goes.

    Signatures of other dialects, which a client of ours keeps for us, are taken out: Gemini would refuse them.
    """
    fields = {name: raw for name, raw in request.fields.items() if name != "model"}
    if system is not None:
        _put(fields, "systemInstruction", _one_system(system))
    if messages is not None:
        fields["contents"] = Raw(b"[%b]" % b",".join(messages))
    elif starts(fields["contents"], (b'"',)):
        fields["contents"] = Raw(b"[" + contents(fields["contents"])[0] + b"]")
    if tools is not None:
        _put(fields, "tools", tools)
    if SIGNATURE_MARK in bytes(fields["contents"]):
        fields["contents"] = _without_foreign(fields["contents"], model)
    if not told:
        return ENCODER.encode(fields)
    own = bytes(fields.pop("contents"))[1:-1]
    return with_list(ENCODER.encode(fields), b"contents", told=told, own=own)


def _put(fields: dict[str, Raw], name: str, value: bytes) -> None:
    key = _key(fields, name)
    if value:
        fields[key] = Raw(value)
    else:
        fields.pop(key, None)


def _one_system(system: Sequence[bytes]) -> bytes:
    if len(system) == 1:
        return system[0]
    return b"".join(encode_system(decode_system(system)))


def _without_foreign(given: Raw, model: str) -> Raw:
    kept = []
    for raw in items(given, "contents"):
        if SIGNATURE_MARK in bytes(raw):
            content = members(raw, "contents")
            pieces = items(content.get("parts", Raw(b"[]")), "contents.parts")
            own = [piece for each in pieces if (piece := _own_part(each, model)) is not None]
            content["parts"] = Raw(ENCODER.encode(own))
            kept += [Raw(ENCODER.encode(content))] if own else []
        else:
            kept.append(raw)
    return Raw(ENCODER.encode(kept))


def _own_part(raw: Raw, model: str) -> Raw | None:
    if SIGNATURE_MARK not in bytes(raw):
        return raw
    part = members(raw, "contents.parts")
    if "thought" in part:
        return None
    part.pop("thoughtSignature", None)
    if "functionCall" in part and generation(model) >= STRICT:
        part["thoughtSignature"] = Raw(ENCODER.encode(BYPASS))
    return Raw(ENCODER.encode(part))


# ---------------------------------------------------------------- another dialect


def decode_prompt(request: Request) -> Prompt:
    """The whole request in neutral form."""
    lost = {name for name in request.fields if name not in _READ and camel(name) not in _READ}
    given = named(request.fields)
    system, tools = given.get("systemInstruction"), given.get("tools")
    config, settings = given.get("toolConfig"), given.get("generationConfig")
    return Prompt(
        model=request.model,
        stream=request.stream,
        messages=read_messages(separate(request.fields["contents"]), None, lost),
        system=() if system is None else decode_system((bytes(system),)),
        tools=() if tools is None else read_tools(bytes(tools), lost),
        tool_choice=None if config is None else decode_tool_config(config, lost),
        **({} if settings is None else decode_settings(settings, lost)),
        extras=tuple(sorted(lost)),
    )


def encode_prompt(prompt: Prompt, target: Origin, history: Sequence[bytes] = ()) -> Encoded:
    """A body for a Gemini provider. Its path says the model and whether to stream."""
    dropped = set(prompt.extras)
    encoded = encode_messages(prompt.messages, target)
    dropped.update(encoded.dropped)
    body: dict[str, Any] = {"contents": [Raw(message) for message in (*history, *encoded.messages)]}
    if prompt.system:
        for system in encode_system(prompt.system):
            body["systemInstruction"] = Raw(system)
        dropped.update(f"system.{part.__struct_config__.tag}" for part in prompt.system if not hasattr(part, "text"))
    if prompt.tools:
        tools = encode_tools(prompt.tools)
        dropped.update(tools.dropped)
        body |= {"tools": Raw(tools.body)} if tools.body != b"[]" else {}
    if prompt.tool_choice is not None and "tools" in body:
        body["toolConfig"] = encode_tool_choice(prompt.tool_choice)
    if settings := encode_settings(prompt, target.model, dropped):
        body["generationConfig"] = settings
    if prompt.user:
        dropped.add("user")
    if prompt.cache_key:
        dropped.add("cache_key")
    if prompt.parallel_tool_calls is False:
        dropped.add("parallel_tool_calls")
    return Encoded(ENCODER.encode(body), tuple(sorted(dropped)))
