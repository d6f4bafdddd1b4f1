"""Requests, both ways.

Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from msgspec import Raw, Struct

from gateway.conversation import Effort, Format, Origin, Prompt, Thinking
from gateway.dialects.dialect import Encoded, Request
from gateway.dialects.openai_chat.messages import decode_messages, decode_system, encode_messages, encode_system
from gateway.dialects.openai_chat.models import efforts, is_openai, is_reasoning
from gateway.dialects.openai_chat.requests import leading, read_role
from gateway.dialects.openai_chat.tools import decode_choice, decode_tools, encode_choice, encode_tools, tools_member
from gateway.dialects.openai_chat.wire import (
    encode,
    invalid,
    present,
    read,
    to_raws,
    to_text,
    without_nones,
)
from gateway.dialects.thinking import clamp, effort_of


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


_to_bool = msgspec.json.Decoder(bool)
_to_int = msgspec.json.Decoder(int)
_to_float = msgspec.json.Decoder(float)
_to_stop = msgspec.json.Decoder(str | list[str])
_to_format = msgspec.json.Decoder(_Format)
_to_reasoning = msgspec.json.Decoder(_Reasoning)
_to_thinking = msgspec.json.Decoder(_Thinking)

_CARRIED = frozenset(
    {
        "model", "messages", "stream", "stream_options", "tools", "functions", "tool_choice", "function_call",
        "parallel_tool_calls", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "seed",
        "presence_penalty", "frequency_penalty", "reasoning_effort", "reasoning", "thinking", "response_format",
        "user", "safety_identifier", "prompt_cache_key",
    }
)  # fmt: skip
_EFFORTS = get_args(Effort)
_DEFAULTS = {"n": b"1", "logprobs": b"false", "store": b"false", "modalities": b'["text"]', "top_logprobs": b"0"}


# ---------------------------------------------------------------- to neutral


def decode_prompt(request: Request) -> Prompt:
    """The whole request in neutral form. Raises GatewayError (INVALID) that names the member."""
    fields = request.fields
    raws = read(to_raws, fields["messages"], "messages")
    lead = leading(raws)
    tools = decode_tools(tools_member(fields))
    choice, allowed = decode_choice(fields)
    if allowed is not None:
        tools = tuple(tool for tool in tools if tool.name in allowed)
    return Prompt(
        model=request.model,
        system=decode_system(raws[:lead]),
        messages=decode_messages(raws[lead:]),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=_get(_to_bool, fields, "parallel_tool_calls"),
        max_tokens=_get(_to_int, fields, "max_completion_tokens", "max_tokens"),
        temperature=_get(_to_float, fields, "temperature"),
        top_p=_get(_to_float, fields, "top_p"),
        top_k=_get(_to_int, fields, "top_k"),
        stop=_stop(fields),
        seed=_get(_to_int, fields, "seed"),
        presence_penalty=_get(_to_float, fields, "presence_penalty"),
        frequency_penalty=_get(_to_float, fields, "frequency_penalty"),
        thinking=_thinking(fields),
        format=_format(fields),
        user=_get(to_text, fields, "user", "safety_identifier") or "",
        cache_key=_get(to_text, fields, "prompt_cache_key") or "",
        stream=request.stream,
        extras=_extras(fields, raws),
    )


def _get(decoder: "msgspec.json.Decoder[Any]", fields: dict[str, Raw], *names: str) -> Any:  # noqa: ANN401 - the decoder's type
    for name in names:
        if name in fields and (raw := present(fields, name)) is not None:
            return read(decoder, raw, name)
    return None


def _stop(fields: dict[str, Raw]) -> tuple[str, ...]:
    stop = _get(_to_stop, fields, "stop")
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _thinking(fields: dict[str, Raw]) -> Thinking | None:
    """OpenAI's effort; OpenRouter's `reasoning`; DeepSeek's and other servers' `thinking`."""
    effort = _effort(_get(to_text, fields, "reasoning_effort"))
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


def _format(fields: dict[str, Raw]) -> Format | None:
    match _get(_to_format, fields, "response_format"):
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
        case None | _Format(type="text"):
            return None
    raise invalid("response_format is text, json_object, or json_schema with its schema.", "response_format")


def _extras(fields: dict[str, Raw], raws: Sequence[Raw]) -> tuple[str, ...]:
    names = {
        name
        for name, raw in fields.items()
        if name not in _CARRIED and bytes(raw) not in (b"null", _DEFAULTS.get(name))
    }
    if any(b'"name"' in bytes(raw) and _is_named(raw) for raw in raws):
        names.add("messages.name")
    if present(fields, "reasoning_effort") and _effort(_get(to_text, fields, "reasoning_effort")) is None:
        names.add("reasoning_effort")
    return tuple(sorted(names))


def _is_named(raw: Raw) -> bool:
    message = read_role(raw, "messages")
    return message.name is not None and message.role not in ("tool", "function")


# ---------------------------------------------------------------- from neutral


def encode_prompt(prompt: Prompt, target: Origin, history: Sequence[bytes] = ()) -> Encoded:
    """A body for a provider: system, then `history`, then the prompt's own messages."""
    dropped = set(prompt.extras)
    own = encode_messages(prompt.messages, target)
    dropped.update(own.dropped)
    whole = [*encode_system(prompt.system), *history, *own.messages]
    body: dict[str, Any] = {"model": target.model, "messages": [Raw(message) for message in whole]}
    if prompt.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body |= _tools(prompt, dropped)
    body |= _reasoning(prompt, target.model, dropped)
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


def _reasoning(prompt: Prompt, model: str, dropped: set[str]) -> dict[str, Any]:
    effort = None if prompt.thinking is None else effort_of(prompt.thinking)
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
