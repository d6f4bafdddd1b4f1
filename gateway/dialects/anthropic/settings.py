"""How to think and what to write: thinking, effort, output format and sampling, both directions."""

from typing import Any

from msgspec import Raw
from msgspec.json import Decoder

from gateway.conversation import Format, Prompt, Thinking
from gateway.dialects.anthropic.models import Abilities
from gateway.dialects.anthropic.schemas import output_schema
from gateway.dialects.anthropic.wire import EMPTY, FIELDS, OutputParam, ThinkingParam, is_absent, read
from gateway.dialects.thinking import BUDGETS, budget_of, clamp, effort_of
from gateway.errors import GatewayError, Kind

_THINKING = Decoder(ThinkingParam)
_OUTPUT = Decoder(OutputParam)
_DISPLAY = {"summarized": True, "omitted": False}
_SHOWN = {True: "summarized", False: "omitted"}
_LEAST_BUDGET = 1024
_LEAST_TOP_P_WITH_THINKING = 0.95

# ---------------------------------------------------------------- from the wire


def read_output(raw: Raw, lost: set[str]) -> OutputParam:
    """`output_config`; what is not known of it is lost."""
    if is_absent(raw):
        return OutputParam()
    lost |= {f"output_config.{name}" for name in read(FIELDS, raw, "output_config").keys() - {"effort", "format"}}
    return read(_OUTPUT, raw, "output_config")


def format_of(output: OutputParam) -> Format | None:
    """Structured output."""
    if output.format is None:
        return None
    if output.format.type != "json_schema" or is_absent(output.format.schema):
        raise GatewayError(
            Kind.INVALID,
            "output_config.format: its type is json_schema, and it has a schema.",
            param="output_config.format",
        )
    return Format(kind="schema", schema=output.format.schema)


def read_thinking(raw: Raw, effort: str | None, lost: set[str]) -> Thinking | None:
    """`thinking` and `output_config.effort` as one."""
    known = next((level for level in BUDGETS if level == effort), None)
    lost |= {"output_config.effort"} if effort and not known else set()
    if is_absent(raw):
        return Thinking(effort=known) if known else None
    wire = read(_THINKING, raw, "thinking")
    visible = _DISPLAY.get(wire.display or "")
    match wire.type:
        case "disabled":
            lost |= {"output_config.effort"} if known else set()
            return Thinking(effort="none")
        case "between_tools":  # thinks, but only after a tool's result
            return Thinking(effort="minimal", visible=visible)
        case "adaptive":
            return Thinking(effort=known, adaptive=True, visible=visible)
        case "enabled":
            return Thinking(effort=known, budget=wire.budget_tokens, visible=visible)
    raise GatewayError(
        Kind.INVALID,
        "thinking.type: it is enabled, adaptive, between_tools or disabled.",
        param="thinking.type",
    )


# ---------------------------------------------------------------- to the wire


def max_tokens(prompt: Prompt, abilities: Abilities, dropped: set[str]) -> int:
    """`max_tokens`, which the vendor demands: as said, no more than the model takes, or the model's default."""
    if prompt.max_tokens is None:
        return abilities.default
    if 0 < abilities.limit < prompt.max_tokens:
        dropped.add("max_tokens")
        return abilities.limit
    return max(prompt.max_tokens, 1)


def thinking_members(
    thinking: Thinking, abilities: Abilities, limit: int, dropped: set[str], *, allowed: bool
) -> dict[str, Any]:
    """The members `thinking` and `effort` for what a prompt says about thinking.

    `limit` is `max_tokens`. Not `allowed`: the rest of the request forbids to turn thinking on; it is left out then.
    """
    if thinking.effort == "none" or (thinking.effort is None and thinking.budget == 0):
        return _without_thinking(abilities, dropped)
    if not abilities.thinks:
        dropped.add("thinking")
        return {}
    if abilities.adaptive:
        return _adaptive(thinking, abilities, dropped, allowed=allowed)
    if not allowed or limit <= _LEAST_BUDGET:
        dropped.add("thinking")
        return {}
    budget = budget_of(thinking)
    budget = max(BUDGETS["medium"] if budget is None else budget, _LEAST_BUDGET)
    if budget >= limit:  # the answer needs room too
        budget = max(limit // 2, _LEAST_BUDGET)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _adaptive(thinking: Thinking, abilities: Abilities, dropped: set[str], *, allowed: bool) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if allowed or abilities.always:
        members["thinking"] = {"type": "adaptive"}
        if thinking.visible is not None:
            members["thinking"]["display"] = _SHOWN[thinking.visible]
    else:
        dropped.add("thinking")
    effort = effort_of(thinking)
    if effort is not None:
        members["effort"] = clamp(effort, abilities.efforts)
    return members


def _without_thinking(abilities: Abilities, dropped: set[str]) -> dict[str, Any]:
    if abilities.always:
        dropped.add("thinking")
        return {"effort": "low"}
    return {"thinking": {"type": abilities.off}} if abilities.off else {}


def sampling_members(prompt: Prompt, abilities: Abilities, dropped: set[str], *, thinks: bool) -> dict[str, Any]:
    """temperature, top_p and top_k as far as the model, and thinking, allow them; temperature goes from 0 to 1."""
    temperature, top_p, top_k = prompt.temperature, prompt.top_p, prompt.top_k
    if temperature is top_p is top_k is None:
        return {}
    if temperature is not None and temperature > 1:
        dropped.add("temperature")
        temperature = 1.0
    wanted: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    given = {name: value for name, value in wanted.items() if value is not None}
    taken = given if abilities.sampling else {}
    if thinks:
        refused = {"temperature": temperature != 1, "top_p": (top_p or 0) < _LEAST_TOP_P_WITH_THINKING}
        taken = {name: value for name, value in taken.items() if not refused.get(name, True)}
    if not abilities.both and "temperature" in taken:
        taken = {name: value for name, value in taken.items() if name != "top_p"}
    dropped |= given.keys() - taken.keys()
    return taken


def format_members(wanted: Format, abilities: Abilities, dropped: set[str]) -> tuple[dict[str, Any], str]:
    """`output_config.format`, or where it cannot be had, the words that ask for it in the system prompt."""
    if wanted.kind == "json":
        dropped.add("format.json")
        return {}, "Answer with one JSON object and nothing else."
    schema = output_schema(wanted.schema) if abilities.formats else None
    if schema is not None:
        return {"format": {"type": "json_schema", "schema": schema}}, ""
    dropped.add("format.schema")
    text = bytes(wanted.schema or EMPTY).decode(errors="replace") or "{}"
    return {}, f"Answer with JSON that fits this JSON schema, and nothing else:\n{text}"
