"""Signatures of other vendors in a client's hands, inside blocks that it sends back untouched.

A client of this dialect keeps `thinking` and `redacted_thinking` blocks as they are, so that is where a foreign
signature travels (`conversation.wrap_signature`). A signed tool call or text has no place for its signature; it goes
beside it, in a `redacted_thinking` block that says whose it is. Thinking that nobody signed is given an empty
signature of ours. The vendor would refuse all of them: `without_foreign` takes them out of what it is sent.
"""

from collections.abc import Sequence

from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import (
    SIGNATURE_MARK,
    AnyPart,
    Origin,
    Reasoning,
    Signature,
    Text,
    ToolCall,
    unwrap_signature,
    wrap_signature,
)
from gateway.dialects.anthropic.wire import FIELDS, ITEMS, NAME, TEXT, UNREADABLE, encode

UNSIGNED = wrap_signature(Signature("", ""))
_CALL, _TEXT = "call:", "text:"


def shown(signature: Signature | None) -> str:
    """A signature as a client of this dialect is given it."""
    if signature is None:
        return UNSIGNED
    return signature.value if signature.dialect == NAME else wrap_signature(signature)


def beside(part: ToolCall | Text) -> str:
    """The `data` of the redacted block that carries the signature of a part which has no place for it, or ""."""
    if part.signature is None:
        return ""
    name = f"{_CALL}{part.id}:" if isinstance(part, ToolCall) else _TEXT
    return name + wrap_signature(part.signature)


def signature_from(text: str, origin: Origin | None) -> Signature | None:
    """The signature in a client's or a provider's block; None where there is none."""
    if not text:
        return None
    signature = unwrap_signature(text, NAME, origin)
    return signature if signature.value else None


def reunited(parts: list[AnyPart]) -> list[AnyPart]:
    """The parts with each signature that travelled beside its part put back into it."""
    if not [part for part in parts if isinstance(part, Reasoning) and _is_beside(part)]:
        return parts
    whole: list[AnyPart] = []
    calls: dict[str, Signature] = {}
    for part in parts:
        if not isinstance(part, Reasoning) or not _is_beside(part):
            whole.append(part)
            continue
        name, _, wrapped = (part.signature.value if part.signature else "").rpartition(":")
        signature = unwrap_signature(wrapped, NAME)
        last = whole[-1] if whole else None
        if name.startswith(_CALL):
            calls[name.removeprefix(_CALL)] = signature
        elif isinstance(last, Text):
            whole[-1] = replace(last, signature=signature)
    return [
        replace(part, signature=calls[part.id]) if isinstance(part, ToolCall) and part.id in calls else part
        for part in whole
    ]


def _is_beside(part: Reasoning) -> bool:
    value = part.signature.value if part.redacted and part.signature else ""
    return value.startswith((_CALL, _TEXT)) and SIGNATURE_MARK.decode() in value


def without_foreign(messages: Sequence[bytes]) -> list[bytes]:
    """The messages without blocks that only carry a foreign signature; all others are the bytes they were."""
    cleaned = (_clean(message) if SIGNATURE_MARK in message else message for message in messages)
    return [message for message in cleaned if message]


def _clean(message: bytes) -> bytes:
    try:
        fields = FIELDS.decode(message)
        blocks = ITEMS.decode(fields["content"])
        kept = [block for block in blocks if not _is_foreign(block)]
    except (KeyError, *UNREADABLE):
        return message  # not blocks, or not JSON: the vendor will say so
    if len(kept) == len(blocks):
        return message
    return encode({**fields, "content": kept}) if kept else b""


def _is_foreign(block: Raw) -> bool:
    if SIGNATURE_MARK not in bytes(block):
        return False
    fields = FIELDS.decode(block)
    if TEXT.decode(fields.get("type", b'""')) not in ("thinking", "redacted_thinking"):
        return False
    secret = bytes(fields.get("signature", b"")) + bytes(fields.get("data", b""))
    return SIGNATURE_MARK in secret
