"""Requests, both ways.

Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Raw, Struct

from gateway.conversation import Effort, Format, Origin, Prompt, Thinking, Tool, ToolChoice
from gateway.dialects.dialect import Encoded, Request
from gateway.dialects.openai_chat.messages import encode_messages, encode_system, read_messages, read_wires
from gateway.dialects.openai_chat.models import efforts, is_openai, is_reasoning
from gateway.dialects.openai_chat.requests import leading
from gateway.dialects.openai_chat.tools import decode_choice, decode_tools, encode_choice, encode_tools, tools_member
from gateway.dialects.openai_chat.wire import (
    NULL,
    encode,
    invalid,
    present,
    read,
    to_text,
    without_nones,
)
from gateway.dialects.thinking import clamp, effort_of

T = TypeVar("T")


class _Schema(Struct):
    name: str = ""
    description: str | None = None
    schema: Raw = Raw(b"")
    strict: bool | None = None


class _Format(Struct):
    type: str
    json_schema: _Schema | None = None


class _Reasoning(Struct):
    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None
    enabled: bool | None = None


class _Thinking(Struct):
    type: str = ""
    budget_tokens: int | None = None


_to_stop = msgspec.json.Decoder(str | list[str])
_to_format = msgspec.json.Decoder(_Format)
_to_reasoning = msgspec.json.Decoder(_Reasoning)
_to_thinking = msgspec.json.Decoder(_Thinking)


def _stop(raw: Raw, name: str) -> tuple[str, ...]:
    stop = read(_to_stop, raw, name)
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _format(raw: Raw, name: str) -> Format | None:
    match read(_to_format, raw, name):
        case _Format(type="text"):
            return None
        case _Format(type="json_object"):
            return Format(kind="json")
        case _Format(type="json_schema", json_schema=_Schema() as asked):
            return Format(
                kind="schema",
                name=asked.name,
                description=asked.description or "",
                schema=Raw(bytes(asked.schema)),
                strict=asked.strict,
            )
    raise invalid(f"{name} is text, json_object, or json_schema with its schema.", name)


_text = partial(read, to_text)
_number = partial(read, msgspec.json.Decoder(float))
_count = partial(read, msgspec.json.Decoder(int))
_MEMBERS: dict[str, tuple[str, Callable[[Raw, str], Any]]] = {
    "max_completion_tokens": ("max_tokens", _count),
    "max_tokens": ("max_tokens", _count),
    "temperature": ("temperature", _number),
    "top_p": ("top_p", _number),
    "top_k": ("top_k", _count),
    "seed": ("seed", _count),
    "stop": ("stop", _stop),
    "presence_penalty": ("presence_penalty", _number),
    "frequency_penalty": ("frequency_penalty", _number),
    "parallel_tool_calls": ("parallel_tool_calls", partial(read, msgspec.json.Decoder(bool))),
    "response_format": ("format", _format),
    "user": ("user", _text),
    "safety_identifier": ("user", _text),
    "prompt_cache_key": ("cache_key", _text),
}
"""Each member that is one of a Prompt by itself, under which name, and how it is read."""
_NEWER = {"max_tokens": "max_completion_tokens", "safety_identifier": "user"}
"""Members that count only where the other is not given."""

_TOOLS = frozenset({"tools", "functions", "tool_choice", "function_call"})
_THINKING = frozenset({"reasoning_effort", "reasoning", "thinking"})
_ELSEWHERE = {"model", "messages", "stream", "stream_options"} | _TOOLS | _THINKING
_EFFORTS = get_args(Effort)
_DEFAULTS = {
    "n": Raw(b"1"),
    "logprobs": Raw(b"false"),
    "store": Raw(b"false"),
    "modalities": Raw(b'["text"]'),
    "top_logprobs": Raw(b"0"),
}


# ---------------------------------------------------------------- to neutral


def decode_prompt(request: Request) -> Prompt:
    """The whole request in neutral form. Raises GatewayError (INVALID) that names the member."""
    fields = request.fields
    wires = read_wires(fields["messages"])
    lead = leading(wires)
    named = any(wire.name is not None and wire.role not in ("tool", "function") for wire in wires)
    extras = {"messages.name"} if named else set[str]()
    members = _settings(fields, extras)
    members["messages"] = read_messages(wires, skip=lead)
    if lead:
        members["system"] = tuple(part for message in read_messages(wires[:lead]) for part in message.parts)
    if not _TOOLS.isdisjoint(fields):
        members["tools"], members["tool_choice"] = _decode_tools(fields)
    if extras:
        members["extras"] = tuple(sorted(extras))
    return Prompt(model=request.model, stream=request.stream, **members)


def _settings(fields: dict[str, Raw], extras: set[str]) -> dict[str, Any]:
    """What is said of how to answer, as members of a Prompt; `extras` gets the names of what has no place there."""
    members: dict[str, Any] = {}
    for name, raw in fields.items():
        if (member := _MEMBERS.get(name)) is not None:
            newer = _NEWER.get(name)
            if raw != NULL and (newer is None or present(fields, newer) is None):
                members[member[0]] = member[1](raw, name)
        elif name not in _ELSEWHERE and raw not in (NULL, _DEFAULTS.get(name)):
            extras.add(name)
    if not _THINKING.isdisjoint(fields):
        members["thinking"] = _thinking(fields, extras)
    return members


def _decode_tools(fields: dict[str, Raw]) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    tools = decode_tools(tools_member(fields))
    choice, allowed = decode_choice(fields)
    if allowed is not None:
        tools = tuple(tool for tool in tools if tool.name in allowed)
    return tools, choice


def _get(decoder: "msgspec.json.Decoder[T]", fields: dict[str, Raw], name: str) -> T | None:
    raw = present(fields, name)
    return None if raw is None else read(decoder, raw, name)


def _thinking(fields: dict[str, Raw], extras: set[str]) -> Thinking | None:
    """OpenAI's effort; OpenRouter's `reasoning`; DeepSeek's and other servers' `thinking`."""
    named = _get(to_text, fields, "reasoning_effort")
    effort = _effort(named)
    if named is not None and effort is None:
        extras.add("reasoning_effort")
    asked = _get(_to_reasoning, fields, "reasoning")
    if asked is not None:
        effort = effort or _effort(asked.effort) or ("none" if asked.enabled is False else None)
        visible = None if asked.exclude is None else not asked.exclude
        return Thinking(effort=effort, budget=asked.max_tokens, visible=visible)
    switch = _get(_to_thinking, fields, "thinking")
    if switch is not None:
        off = switch.type == "disabled"
        effort = effort or ("none" if off else None)
        return Thinking(effort=effort, budget=switch.budget_tokens, adaptive=switch.type == "adaptive")
    return None if effort is None else Thinking(effort=effort)


def _effort(name: str | None) -> Effort | None:
    return name if name in _EFFORTS else None  # type: ignore[return-value]


# ---------------------------------------------------------------- from neutral


def encode_prompt(prompt: Prompt, target: Origin, history: Sequence[bytes] = ()) -> Encoded:
    """A body for a provider: system, then `history`, then the prompt's own messages."""
    dropped = set(prompt.extras)
    own = encode_messages(prompt.messages, target)
    dropped.update(own.dropped)
    whole = [*(encode_system(prompt.system) if prompt.system else ()), *history, *own.messages]
    body: dict[str, Any] = {"model": target.model, "messages": [Raw(message) for message in whole]}
    if prompt.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if prompt.tools:
        body |= _tools(prompt, dropped)
    if prompt.thinking is not None:
        body |= _reasoning(prompt.thinking, target.model, dropped)
    body |= _sampling(prompt, target.model, body.get("reasoning_effort"), dropped)
    body |= _limits(prompt, target.model, dropped)
    if prompt.format is not None:
        body["response_format"] = _encode_format(prompt.format)
    return Encoded(encode(body), tuple(sorted(dropped)))


def _tools(prompt: Prompt, dropped: set[str]) -> dict[str, Any]:
    tools = encode_tools(prompt.tools)
    dropped.update(tools.dropped)
    if tools.body == b"[]":  # a choice without tools is refused
        return {}
    choice = None if prompt.tool_choice is None else encode_choice(prompt.tool_choice, prompt.tools)
    return without_nones(tools=Raw(tools.body), tool_choice=choice, parallel_tool_calls=prompt.parallel_tool_calls)


def _reasoning(thinking: Thinking, model: str, dropped: set[str]) -> dict[str, Any]:
    effort = effort_of(thinking)
    if effort is None:
        return {}
    accepted = efforts(model)
    if not accepted or (effort == "none" and "none" not in accepted and not is_reasoning(model)):
        # Where "none" is no known value, it would be refused; a model that does not reason needs no word.
        dropped.update({"thinking"} if effort != "none" or accepted else ())
        return {}
    return {"reasoning_effort": clamp(effort, accepted)}


def _sampling(prompt: Prompt, model: str, effort: str | None, dropped: set[str]) -> dict[str, Any]:
    members = without_nones(
        temperature=prompt.temperature,
        top_p=prompt.top_p,
        presence_penalty=prompt.presence_penalty,
        frequency_penalty=prompt.frequency_penalty,
        stop=list(prompt.stop) or None,
    )
    if not is_reasoning(model) or effort == "none" or not efforts(model):
        return members
    dropped.update(name for name, value in members.items() if value != 1)  # 1 is what it does anyway
    return {}


def _limits(prompt: Prompt, model: str, dropped: set[str]) -> dict[str, Any]:
    limit = "max_completion_tokens" if is_reasoning(model) else "max_tokens"
    if prompt.top_k is not None:
        dropped.add("top_k")
    cache_key = prompt.cache_key if is_openai(model) else ""
    if prompt.cache_key and not cache_key:
        dropped.add("prompt_cache_key")
    return without_nones(
        **{limit: prompt.max_tokens},
        seed=prompt.seed,
        user=prompt.user or None,
        prompt_cache_key=cache_key or None,
    )


def _encode_format(asked: Format) -> dict[str, Any]:
    if asked.kind == "json":
        return {"type": "json_object"}
    schema = without_nones(
        name=asked.name or "response",  # OpenAI demands one; other dialects have none
        description=asked.description or None,
        schema=asked.schema if bytes(asked.schema) else None,
        strict=asked.strict,
    )
    return {"type": "json_schema", "json_schema": schema}
