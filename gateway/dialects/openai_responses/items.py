"""One input or output item, to neutral parts.

Who speaks follows from the type: calls, reasoning and whatever else a model puts out are the assistant's; what
answers a call is the user's.
"""

from hashlib import sha256

import msgspec
from msgspec import Raw, Struct

from gateway.conversation import (
    AnyPart,
    Opaque,
    Origin,
    Reasoning,
    Role,
    Signature,
    Text,
    ToolCall,
    ToolResult,
    unwrap_signature,
    wrap_signature,
)
from gateway.dialects.openai_responses.content import decode_content
from gateway.dialects.openai_responses.names import flat
from gateway.dialects.openai_responses.wire import (
    CALL_OUTPUT,
    CUSTOM_CALL,
    FUNCTION_CALL,
    MESSAGE,
    NAME,
    REASONING,
    TYPED,
    ReasoningItem,
    Typed,
)

PHASE = "phase="
"""How the signature of a text begins that stands for the message's `phase`, which the vendor wants back."""

REDACTED = "#redacted"
PREVIOUS = "#previous"
"""Endings of an `encrypted_content` that we made: reasoning that is withheld; a signature of the item before."""

_FROM_CLIENT = {
    "computer_call_output", "local_shell_call_output", "shell_call_output", "apply_patch_call_output",
    "mcp_approval_response", "additional_tools", "configuration_update", "compaction_trigger",
}  # fmt: skip


class Item(Struct, frozen=True):
    """An item's meaning. `whole`: a message, which ends a user's turn; else a result or something opaque.

    `carried` is a signature that belongs to the part before this item; there are no parts then. `mark` is the
    signature of each text in a message, known before its text is.
    """

    role: Role
    parts: tuple[AnyPart, ...] = ()
    whole: bool = False
    carried: Signature | None = None
    mark: Signature | None = None


def decode_item(raw: Raw | bytes, origin: Origin | None) -> Item:
    """What an item means. Raises one of UNREADABLE."""
    typed = TYPED.decode(raw)
    match _kind(typed):
        case "message":
            return _message(raw, origin)
        case "function_call":
            call = FUNCTION_CALL.decode(raw)
            name = flat(call.namespace, call.name) if call.namespace else call.name
            return Item("assistant", (ToolCall(call.call_id, name, call.arguments),))
        case "custom_tool_call":
            custom = CUSTOM_CALL.decode(raw)
            name = flat(custom.namespace, custom.name) if custom.namespace else custom.name
            return Item("assistant", (ToolCall(custom.call_id, name, custom.input, custom=True),))
        case "function_call_output" | "custom_tool_call_output" as kind if typed.call_id:
            output = CALL_OUTPUT.decode(raw)
            custom_tool = kind == "custom_tool_call_output"
            return Item("user", (ToolResult(output.call_id, decode_content(output.output), custom=custom_tool),))
        case "reasoning":
            return _reasoning(REASONING.decode(raw), origin)
        case kind:
            return Item(_role(kind, typed), (Opaque(NAME, kind, Raw(bytes(raw))),))


def _kind(typed: Typed) -> str:
    if typed.type:
        return typed.type
    if typed.role:
        return "message"
    if typed.id:
        return "item_reference"
    raise msgspec.ValidationError("it has neither `type` nor `role`")


def _role(kind: str, typed: Typed) -> Role:
    client = kind in _FROM_CLIENT or (kind == "tool_search_output" and typed.execution == "client")
    return "user" if client else "assistant"


def _message(raw: Raw | bytes, origin: Origin | None) -> Item:
    message = MESSAGE.decode(raw)
    parts = decode_content(message.content)
    if message.role == "developer":
        return Item("system", parts, whole=True)
    if message.phase and message.role == "assistant":
        mark = Signature(PHASE + message.phase, NAME, origin)
        parts = tuple(Text(part.text, mark) if isinstance(part, Text) else part for part in parts)
        return Item("assistant", parts, whole=True, mark=mark)
    return Item(message.role, parts, whole=True)


def _reasoning(item: ReasoningItem, origin: Origin | None) -> Item:
    encrypted = item.encrypted_content or ""
    if encrypted.endswith(PREVIOUS):
        carried = unwrap_signature(encrypted.removesuffix(PREVIOUS), NAME, origin)
        return Item("assistant", carried=carried)
    return Item("assistant", (reasoning_part(item, origin),))


def reasoning_part(item: ReasoningItem, origin: Origin | None) -> Reasoning:
    """Reasoning with its text, or the summaries of it; plain text without encryption is signed with nothing.

    The empty signature says who wrote the text: a server without encryption takes its own text back.
    """
    encrypted = item.encrypted_content or ""
    content = "\n\n".join(part.text for part in item.content or ())
    summary = "\n\n".join(part.text for part in item.summary or ())
    signature = None
    if encrypted or content:
        signature = unwrap_signature(encrypted.removesuffix(REDACTED), NAME, origin)
    return Reasoning(
        text=content or summary,
        signature=signature,
        redacted=encrypted.endswith(REDACTED),
        summary=not content,
        id=item.id or "",
    )


def shown(signature: Signature) -> str:
    """A signature as a client is given it."""
    return signature.value if signature.dialect == NAME else wrap_signature(signature)


def reasoning_item(id: str, part: Reasoning, *, as_summary: bool, encrypted: str) -> dict[str, object]:
    """A reasoning item, with what there is to show."""
    item: dict[str, object] = {"type": "reasoning", "id": id, "summary": []}
    if part.text and as_summary:
        item["summary"] = [{"type": "summary_text", "text": part.text}]
    elif part.text:
        item["content"] = [{"type": "reasoning_text", "text": part.text}]
    if encrypted:
        item["encrypted_content"] = encrypted
    return item


def made_id(prefix: str, value: str) -> str:
    """An id where the vendor wants one and there is none; the same for the same value."""
    return f"{prefix}_{sha256(value.encode()).hexdigest()[:40]}"
