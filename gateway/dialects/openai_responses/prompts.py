"""Requests, both directions. Source: https://platform.openai.com/docs/api-reference/responses/create."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Raw, Struct
from msgspec.json import Decoder

from gateway.conversation import AnyPart, Effort, Format, Origin, Prompt, Text, Thinking
from gateway.dialects.dialect import Encoded, Request, Spoken
from gateway.dialects.openai_responses.messages import calls_in, decode_messages, encode_items
from gateway.dialects.openai_responses.models import efforts, reasons
from gateway.dialects.openai_responses.names import shortened
from gateway.dialects.openai_responses.tools import decode_choice, decode_tools, encode_choice, encode_tools
from gateway.dialects.openai_responses.upstream import ENCRYPTED
from gateway.dialects.openai_responses.wire import (
    FIELDS,
    ITEMS,
    NAME,
    TEXT,
    UNREADABLE,
    dump,
    invalid,
    is_text,
    json,
    present,
    read,
)
from gateway.dialects.thinking import clamp, effort_of
from gateway.errors import GatewayError, Kind

SMALLEST = 16
"""The vendor refuses a smaller `max_output_tokens`."""

_STANDS_FOR_INPUT = ("previous_response_id", "conversation", "prompt")
_CARRIED = {
    "model", "input", "instructions", "stream", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens",
    "temperature", "top_p", "reasoning", "text", "user", "safety_identifier", "prompt_cache_key",
    "store", "previous_response_id", "conversation", "background", "background_options", "stream_options",
}  # fmt: skip
_SAME_AS_ABSENT = {
    "include": (b"[]",),
    "truncation": (b'"disabled"',),
    "service_tier": (b'"auto"', b'"default"'),
    "top_logprobs": (b"0",),
    "metadata": (b"{}",),
}


_STRINGS = Decoder(list[str])


class _Reasoning(Struct):
    effort: Effort | None = None
    summary: str | None = None
    generate_summary: str | None = None


class _Format(Struct):
    type: str
    name: str | None = None
    description: str | None = None
    schema: Raw = Raw(b"")
    strict: bool | None = None


class _Text(Struct):
    format: _Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class _Settings(Struct):
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    reasoning: _Reasoning | None = None
    text: _Text | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


_SETTINGS = Decoder(_Settings)
_MODEL = Decoder(str)
_STREAM = Decoder(bool | None)


def open_request(body: bytes, *, model: str = "", stream: bool = False, query: str = "") -> Request:
    """Read the members. `model` and `stream` count where the body does not say them. Raises GatewayError (INVALID)."""
    try:
        if not body.isascii():
            body.decode()  # members are kept undecoded: this is the only time that all of it is looked at
        fields = FIELDS.decode(body)
    except UNREADABLE as exc:
        raise invalid(exc, "") from None
    model = read(_MODEL, fields["model"], "model") if "model" in fields else model
    if not model:
        raise GatewayError(Kind.INVALID, "`model` is missing.", param="model")
    _check_input(fields)
    if "stream" in fields:
        stream = read(_STREAM, fields["stream"], "stream") or False
    return Request(NAME, fields, model, stream, query)


def _check_input(fields: dict[str, Raw]) -> None:
    said = fields.get("input")
    if present(said):
        if bytes(said or b"")[:1] not in (b'"', b"["):
            raise GatewayError(Kind.INVALID, "`input` is a string or an array of items.", param="input")
    elif not any(present(fields.get(name)) for name in _STANDS_FOR_INPUT):
        raise GatewayError(Kind.INVALID, "`input` is missing.", param="input")


def spoken(request: Request) -> Spoken:
    """The conversation inside: `instructions` is the system prompt, each item of `input` a message.

    A string is one item of the user's. Raises GatewayError (INVALID).
    """
    fields = request.fields
    instructions = fields.get("instructions")
    system = (bytes(instructions),) if instructions is not None and present(instructions) else ()
    tools = fields.get("tools")
    return Spoken(system, _items(fields.get("input")), bytes(tools) if tools is not None and present(tools) else b"")


def _items(said: Raw | None) -> tuple[bytes, ...]:
    if said is None or not present(said):
        return ()
    if is_text(said):
        return (dump({"type": "message", "role": "user", "content": said}),)
    return tuple(bytes(item) for item in read(ITEMS, said, "input"))


def decode_system(system: Sequence[bytes]) -> tuple[AnyPart, ...]:
    """`instructions` to text. Raises GatewayError (INVALID)."""
    texts = (read(TEXT, one, "instructions") for one in system)
    return tuple(Text(text) for text in texts if text)


def encode_system(system: Sequence[AnyPart]) -> tuple[bytes, ...]:
    """`instructions`: one string; nothing but text fits in."""
    texts = [part.text for part in system if isinstance(part, Text) and part.text]
    return (dump("\n\n".join(texts)),) if texts else ()


def decode_prompt(request: Request) -> Prompt:
    """The whole request in neutral form. Raises GatewayError (INVALID)."""
    said = spoken(request)
    fields = request.fields
    settings = read(_SETTINGS, dump({name: fields[name] for name in _Settings.__struct_fields__ if name in fields}), "")
    chosen = decode_choice(fields.get("tool_choice"), decode_tools(said.tools))
    return Prompt(
        model=request.model,
        messages=decode_messages(said.messages),
        system=decode_system(said.system),
        tools=chosen.tools,
        tool_choice=chosen.choice,
        parallel_tool_calls=settings.parallel_tool_calls,
        max_tokens=settings.max_output_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        thinking=_decode_thinking(settings.reasoning),
        format=_decode_format(settings.text),
        user=settings.safety_identifier or settings.user or "",
        cache_key=settings.prompt_cache_key or "",
        stream=request.stream,
        extras=_extras(fields, settings, lost_choice=chosen.lost),
    )


def _extras(fields: dict[str, Raw], settings: _Settings, *, lost_choice: bool) -> tuple[str, ...]:
    extras = {
        name
        for name, raw in fields.items()
        if name not in _CARRIED and present(raw) and bytes(raw) not in _SAME_AS_ABSENT.get(name, ())
    }
    if "include" in extras:  # encrypted reasoning is given on every way; the rest is the vendor's own
        wanted = read(_STRINGS, fields["include"], "include")
        extras = (extras - {"include"}) | {f"include.{name}" for name in wanted if name != ENCRYPTED}
    if settings.text is not None and settings.text.verbosity not in (None, "medium"):
        extras.add("text.verbosity")
    if lost_choice:
        extras.add("tool_choice")
    return tuple(sorted(extras))


def _decode_thinking(reasoning: _Reasoning | None) -> Thinking | None:
    if reasoning is None:
        return None
    summary = reasoning.summary or reasoning.generate_summary
    if reasoning.effort is None and summary is None:
        return None
    return Thinking(effort=reasoning.effort, visible=True if summary else None)


def _decode_format(text: _Text | None) -> Format | None:
    form = text.format if text is not None else None
    match form:
        case _Format(type="json_object"):
            return Format(kind="json")
        case _Format(type="json_schema"):
            return Format(
                kind="schema",
                name=form.name or "",
                description=form.description or "",
                schema=Raw(bytes(form.schema)),
                strict=form.strict,
            )
        case _:
            return None


def encode_prompt(prompt: Prompt, target: Origin, history: Sequence[bytes] = ()) -> Encoded:
    """A body for a provider: nothing is kept there, so reasoning is asked for in encrypted form."""
    dropped = set(prompt.extras)
    past = [Raw(item) for item in history]
    items = [*past, *encode_items(prompt.messages, target, dropped, calls_in(past))]
    body: dict[str, object] = {"model": target.model}
    system = encode_system(prompt.system)
    if system:
        body["instructions"] = Raw(system[0])
    dropped |= {f"system.{type(p).__struct_config__.tag}" for p in prompt.system if not isinstance(p, Text)}
    body["input"] = items
    if prompt.tools:
        body |= _encode_tools(prompt, dropped)
    body |= _encode_settings(prompt, target.model, dropped)
    body["store"] = False
    if prompt.stream:
        body["stream"] = True
    return Encoded(dump(body), tuple(sorted(dropped)))


def _encode_tools(prompt: Prompt, dropped: set[str]) -> dict[str, object]:
    tools = encode_tools(prompt.tools)
    dropped.update(tools.dropped)
    if tools.body == b"[]":
        return {}
    wire: dict[str, object] = {"tools": Raw(tools.body)}
    choice = prompt.tool_choice
    sent = {tool.name for tool in prompt.tools if not tool.dialect}
    if choice is not None and choice.mode == "tool" and choice.name not in sent:
        dropped.add("tool_choice")
    elif choice is not None:
        wire["tool_choice"] = encode_choice(choice, prompt.tools)
    if prompt.parallel_tool_calls is not None:
        wire["parallel_tool_calls"] = prompt.parallel_tool_calls
    return wire


def _encode_settings(prompt: Prompt, model: str, dropped: set[str]) -> dict[str, object]:
    known = reasons(model)
    reasoning = _encode_thinking(prompt.thinking, model)
    if reasoning and known is False:
        dropped.add("thinking")
        reasoning = {}
    sampling = {"temperature": prompt.temperature, "top_p": prompt.top_p}
    if known and reasoning.get("effort") != "none":  # a model that reasons samples as it likes
        dropped.update(name for name, value in sampling.items() if value is not None)
        sampling = {}
    tokens = None if prompt.max_tokens is None else max(prompt.max_tokens, SMALLEST)
    settings: dict[str, object] = {
        "max_output_tokens": tokens,
        **sampling,
        "reasoning": reasoning,
        "text": {"format": _encode_format(prompt.format)} if prompt.format else None,
        "safety_identifier": shortened(prompt.user),
        "prompt_cache_key": shortened(prompt.cache_key),
        "include": [ENCRYPTED] if known or (known is None and reasoning) else None,
    }
    unknown = {
        "top_k": prompt.top_k, "seed": prompt.seed, "stop": prompt.stop or None,
        "presence_penalty": prompt.presence_penalty, "frequency_penalty": prompt.frequency_penalty,
    }  # fmt: skip
    dropped.update(name for name, value in unknown.items() if value is not None)
    return {name: value for name, value in settings.items() if value not in (None, "", {})}


def _encode_thinking(thinking: Thinking | None, model: str) -> dict[str, object]:
    if thinking is None:
        return {}
    asked = effort_of(thinking)
    effort = clamp(asked, efforts(model)) if asked else None
    wire: dict[str, object] = {"effort": effort} if effort else {}
    return wire | ({"summary": "auto"} if thinking.visible and effort != "none" else {})


def _encode_format(form: Format) -> dict[str, object]:
    if form.kind == "json":
        return {"type": "json_object"}
    wire: dict[str, object] = {"type": "json_schema", "name": form.name or "response"}
    if form.description:
        wire["description"] = form.description
    wire["schema"] = form.schema if bytes(form.schema) else json({"type": "object"})
    return wire if form.strict is None else wire | {"strict": form.strict}
