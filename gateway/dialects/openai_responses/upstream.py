"""A client's request as a body for a provider of the same dialect: all as sent, but for what the gateway must change.

The gateway keeps the conversation, so the provider does not: `previous_response_id` and `conversation` are taken out,
`store` is false, and so is `background`, which needs the provider's store (the answer is then simply there at once).
Without a store the provider knows no item by its id. So a model that reasons is asked for its reasoning in encrypted
form, which the client or the history can send back; and items that only a store could resolve are taken out where
they would be refused: reasoning without its encrypted content, and references to items that are there already.
"""

from collections.abc import Iterable, Sequence

from msgspec import Raw

from gateway.conversation import SIGNATURE_MARK, unwrap_signature
from gateway.dialects.dialect import Request
from gateway.dialects.openai_responses.items import PREVIOUS, REDACTED
from gateway.dialects.openai_responses.messages import calls_in
from gateway.dialects.openai_responses.models import reasons
from gateway.dialects.openai_responses.wire import (
    FIELDS,
    ITEMS,
    NAME,
    REASONING,
    TEXT,
    TYPED,
    UNREADABLE,
    dump,
    is_text,
    json,
    present,
    read,
)

ENCRYPTED = "reasoning.encrypted_content"
_STATE = ("previous_response_id", "conversation", "background", "background_options")
_SUSPECT = (b'"reasoning"', b'"item_reference"', SIGNATURE_MARK)


def splice(
    request: Request,
    *,
    model: str,
    system: Sequence[bytes] | None = None,
    messages: Sequence[bytes] | None = None,
    tools: bytes | None = None,
    told: Sequence[bytes] = (),  # noqa: ARG001 - no history is given as one here: each item is looked at
) -> bytes:
    """The body for a provider of the same dialect. Raises GatewayError (INVALID)."""
    fields = {name: raw for name, raw in request.fields.items() if name not in _STATE}
    fields["model"] = json(model)
    if system is not None:
        _put(fields, "instructions", _instructions(system))
    if tools is not None:
        _put(fields, "tools", tools)
    if messages is not None:
        fields["input"] = _input(_matched(messages), model)
    elif any(mark in bytes(fields.get("input", b"")) for mark in _SUSPECT) and not is_text(fields["input"]):
        own = read(ITEMS, fields["input"], "input")
        fields["input"] = _input(own, model)
    fields["store"] = Raw(b"false")
    if _wants_encrypted(fields, model):
        fields["include"] = _including(fields.get("include"))
    return dump(fields)


def _put(fields: dict[str, Raw], name: str, value: bytes) -> None:
    if value:
        fields[name] = Raw(value)
    else:
        fields.pop(name, None)


def _instructions(system: Sequence[bytes]) -> bytes:
    if len(system) < 2:  # noqa: PLR2004 - the usual case: the very bytes that came
        return bytes(system[0]) if system else b""
    return dump("\n\n".join(read(TEXT, one, "instructions") for one in system))


def _wants_encrypted(fields: dict[str, Raw], model: str) -> bool:
    known = reasons(model)
    return present(fields.get("reasoning")) if known is None else known


def _including(include: Raw | None) -> Raw:
    if include is None or not present(include):
        return json([ENCRYPTED])
    asked = read(ITEMS, include, "include")
    encrypted = dump(ENCRYPTED)
    return include if any(bytes(one) == encrypted for one in asked) else json([*asked, Raw(encrypted)])


def _matched(items: Sequence[bytes]) -> list[Raw]:
    """Results of the kind of their calls: a custom tool's call that another vendor made is a function's call."""
    raws = [Raw(item) for item in items]
    if not any(b'"custom_tool_call_output"' in item for item in items):
        return raws
    calls = calls_in(raws)
    return [_as_function(raw) if _of_function(raw, calls) else raw for raw in raws]


def _of_function(raw: Raw, calls: dict[str, bool]) -> bool:
    if b'"custom_tool_call_output"' not in bytes(raw):
        return False
    typed = read(TYPED, raw, "input")
    return typed.type == "custom_tool_call_output" and calls.get(typed.call_id or "") is False


def _as_function(raw: Raw) -> Raw:
    return json(read(FIELDS, raw, "input") | {"type": json("function_call_output")})


def _input(items: Sequence[Raw], model: str) -> Raw:
    """The items that a provider without a store will take."""
    there = _ids(items)
    return json([fit for raw in items if (fit := _fitting(raw, model, there)) is not None])


def _ids(items: Iterable[Raw]) -> frozenset[str]:
    items = list(items)
    if not any(b'"item_reference"' in bytes(raw) for raw in items):
        return frozenset()
    typed = [read(TYPED, raw, "input") for raw in items]
    return frozenset(one.id for one in typed if one.id and one.type != "item_reference")


def _fitting(raw: Raw, model: str, there: frozenset[str]) -> Raw | None:
    if not any(mark in bytes(raw) for mark in _SUSPECT):
        return raw
    typed = read(TYPED, raw, "input")
    match typed.type:
        case "item_reference":
            return None if typed.id in there else raw
        case "reasoning":
            return _fitting_reasoning(raw, model)
        case _:
            return raw


def _fitting_reasoning(raw: Raw, model: str) -> Raw | None:
    try:
        item = REASONING.decode(raw)
    except UNREADABLE:
        return raw  # the provider's own words say best what is wrong with it
    encrypted = item.encrypted_content or ""
    if not encrypted.startswith(SIGNATURE_MARK.decode()):
        return raw if encrypted or item.content else None
    signature = unwrap_signature(encrypted.removesuffix(PREVIOUS).removesuffix(REDACTED), NAME)
    ours = signature.dialect == NAME and signature.origin is not None and signature.origin.model == model
    if not ours or not signature.value:
        return None
    return json(read(FIELDS, raw, "input") | {"encrypted_content": json(signature.value)})
