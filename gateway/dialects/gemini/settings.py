"""`generationConfig`, both directions.

Source: https://ai.google.dev/api/generate-content#generationconfig
Gemini 2.5 counts its thinking in tokens (`thinkingBudget`), later models name a level (`thinkingLevel`); a request
with both, or with the wrong one, is refused. Source: https://ai.google.dev/gemini-api/docs/thinking
"""

from typing import Any

from msgspec import Raw

from gateway.conversation import Effort, Format, Prompt, Thinking
from gateway.dialects.gemini import schemas
from gateway.dialects.gemini.wire import generation, members, text, value
from gateway.dialects.thinking import budget_of, clamp, effort_of

_SCALARS: dict[str, tuple[str, Any]] = {
    "temperature": ("temperature", float),
    "topP": ("top_p", float),
    "topK": ("top_k", int),
    "maxOutputTokens": ("max_tokens", int),
    "seed": ("seed", int),
    "presencePenalty": ("presence_penalty", float),
    "frequencyPenalty": ("frequency_penalty", float),
}
_SCHEMAS = ("responseSchema", "responseJsonSchema", "responseMimeType")
_LEVELS: dict[str, Effort] = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh"}
_DYNAMIC = -1

_MAX_STOPS = 5
_SEED_LIMIT = 2**31
_BUDGETED = 2
_LEVELLED = 3


def decode_settings(raw: Raw, lost: set[str]) -> dict[str, Any]:
    """The arguments of a Prompt; `lost` gets the names of what only Gemini knows."""
    where = "generationConfig"
    found = members(raw, where)
    settings: dict[str, Any] = {}
    for name, each in found.items():
        if name in _SCALARS:
            field, kind = _SCALARS[name]
            settings[field] = value(each, kind, f"{where}.{name}")
        elif name == "stopSequences":
            settings["stop"] = tuple(value(each, list[str], f"{where}.{name}"))
        elif name == "thinkingConfig":
            settings["thinking"] = _thinking(each, f"{where}.{name}")
        elif name not in _SCHEMAS and not (name == "candidateCount" and bytes(each) == b"1"):
            lost.add(f"{where}.{name}")
    settings["format"] = _format(found, where, lost)
    return settings


def _thinking(raw: Raw, where: str) -> Thinking:
    found = members(raw, where)
    level = text(found, "thinkingLevel", where).upper()
    budget = value(found["thinkingBudget"], int, f"{where}.thinkingBudget") if "thinkingBudget" in found else None
    thoughts = found.get("includeThoughts")
    return Thinking(
        effort=_LEVELS.get(level),
        budget=None if budget is None or budget < 0 else budget,
        adaptive=budget == _DYNAMIC,
        visible=None if thoughts is None else value(thoughts, bool, f"{where}.includeThoughts"),
    )


def _format(found: dict[str, Raw], where: str, lost: set[str]) -> Format | None:
    kind = text(found, "responseMimeType", where)
    if kind not in ("", "text/plain", "application/json"):
        lost.add(f"{where}.responseMimeType")
        return None
    if "responseJsonSchema" in found:
        return Format(kind="schema", schema=found["responseJsonSchema"])
    if "responseSchema" in found:
        return Format(kind="schema", schema=schemas.to_json_schema(found["responseSchema"]))
    return Format(kind="json") if kind == "application/json" else None


# ---------------------------------------------------------------- encoding


def encode_settings(prompt: Prompt, model: str, dropped: set[str]) -> dict[str, Any]:
    """The generationConfig for `model`; `dropped` gets the names of what could not be carried."""
    config: dict[str, Any] = {}
    for name, (field, _) in _SCALARS.items():
        if (given := getattr(prompt, field)) is not None:
            config[name] = given
    if prompt.seed is not None and not -_SEED_LIMIT <= prompt.seed < _SEED_LIMIT:
        del config["seed"]
        dropped.add("seed")
    if prompt.stop:
        config["stopSequences"] = prompt.stop[:_MAX_STOPS]
        dropped |= {"stop"} if len(prompt.stop) > _MAX_STOPS else set()
    if prompt.thinking is not None:
        config |= _thinking_config(prompt.thinking, model, dropped)
    if prompt.format is not None:
        config |= _format_config(prompt, prompt.format, model, dropped)
    return config


def _format_config(prompt: Prompt, wanted: Format, model: str, dropped: set[str]) -> dict[str, Any]:
    if generation(model) < _LEVELLED and any(not tool.dialect for tool in prompt.tools):
        dropped.add("format")  # these models refuse functions together with JSON output
        return {}
    config: dict[str, Any] = {"responseMimeType": "application/json"}
    if wanted.kind == "schema" and (schema := schemas.for_gemini(wanted.schema)) is not None:
        config["responseJsonSchema"] = schema
    return config


def _thinking_config(thinking: Thinking, model: str, dropped: set[str]) -> dict[str, Any]:
    if generation(model) < _BUDGETED or "gemini-2.0" in model:
        dropped.add("thinking")
        return {}
    amount = _level(thinking, model) if generation(model) >= _LEVELLED else _budget(thinking, model)
    visible = {} if thinking.visible is None else {"includeThoughts": thinking.visible}
    config = amount | visible
    return {"thinkingConfig": config} if config else {}


def _budget(thinking: Thinking, model: str) -> dict[str, Any]:
    budget = budget_of(thinking)
    if budget is None:
        return {"thinkingBudget": _DYNAMIC} if thinking.adaptive else {}
    if "pro" in model:
        return {"thinkingBudget": max(128, min(budget, 32768))}
    if "lite" in model and 0 < budget < BUDGET_OF_LITE:
        return {"thinkingBudget": BUDGET_OF_LITE}
    return {"thinkingBudget": min(budget, 24576)}


BUDGET_OF_LITE = 512
"""The least that Gemini 2.5 Flash-Lite thinks with, if it thinks."""


def _level(thinking: Thinking, model: str) -> dict[str, Any]:
    effort = effort_of(thinking)
    if effort is None:
        return {}  # the model decides, which is what `adaptive` asks for
    minimal: tuple[Effort, ...] = ("minimal",) if "gemini-3-flash" in model or "lite" in model else ()
    return {"thinkingLevel": clamp(effort, (*minimal, "low", "medium", "high")).upper()}
