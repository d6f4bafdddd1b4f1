"""Where thinking and signatures live in Chat Completions, both ways.

OpenAI's own models keep their thinking; compatible servers show it in two styles:

- plain: the text in `reasoning_content` (DeepSeek, vLLM, llama.cpp, Moonshot) or `reasoning` (Groq, Ollama). Some
  refuse the next turn if it does not come back (DeepSeek in tool loops), others refuse it if it does (OpenAI, Groq for
  `reasoning_content`). So the text goes back to its maker only, in the member it came in: the signature's value is
  that member's name.
- `reasoning_details` (OpenRouter, MiniMax): a list of items with text, summary, or encrypted data, to be sent back
  unchanged. The signature's value is the item's JSON without its text.

A client of ours sees every provider's thinking as `reasoning_content`. A signature of another dialect is added as an
item of `reasoning_details`, complete with the text it signs, in the form in which OpenRouter's clients keep and
return it; where such a message comes back, the items win over the plain text. Signatures of tool calls and of
text are given as `extra_content.google.thought_signature`, which is where Gemini's OpenAI-compatible endpoint has them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gateway.conversation import (
    SIGNATURE_MARK,
    Origin,
    Reasoning,
    Signature,
    unwrap_signature,
    wrap_signature,
)
from gateway.dialects.openai_chat.wire import (
    NAME,
    Detail,
    Extra,
    WireMessage,
    encode,
    read,
    to_detail,
    to_fields,
    to_raws,
)

PLAIN = ("reasoning_content", "reasoning")
MARK = SIGNATURE_MARK.decode()

_TEXTS = {"reasoning.text": "text", "reasoning.summary": "summary"}


def decode_reasoning(message: WireMessage, origin: Origin | None) -> list[Reasoning]:
    """A message's thinking: its items, or else its plain text."""
    items = [read(to_fields, raw, "reasoning_details") for raw in message.reasoning_details or ()]
    found = [decode_detail(item, origin) for item in items]
    if found:
        return found
    for member in PLAIN:
        text = getattr(message, member)
        if text:
            return [Reasoning(text=text, signature=Signature(member, NAME, origin))]
    return []


def decode_detail(item: Mapping[str, Raw], origin: Origin | None) -> Reasoning:
    """One item of `reasoning_details`."""
    detail = read(to_detail, encode(item), "reasoning_details")
    text = detail.summary if detail.type == "reasoning.summary" else detail.text
    return Reasoning(
        text=text or "",
        signature=_signature_of(item, detail, origin),
        redacted=detail.type == "reasoning.encrypted",
        summary=detail.type == "reasoning.summary",
        id=detail.id or "",
    )


def _signature_of(item: Mapping[str, Raw], detail: Detail, origin: Origin | None) -> Signature:
    sealed = detail.data if detail.type == "reasoning.encrypted" else detail.signature
    if sealed and sealed.startswith(MARK):
        return unwrap_signature(sealed, NAME, origin)
    rest = {name: raw for name, raw in item.items() if name != _TEXTS.get(detail.type)}
    return Signature(encode(rest).decode(), NAME, origin)


def encode_reasoning(parts: Iterable[Reasoning], target: Origin) -> tuple[dict[str, Any], bool]:
    """The members of a message that carry thinking to its maker, and whether some was left out."""
    members: dict[str, Any] = {}
    complete = True
    for part in parts:
        if part.signature is None or not part.signature.fits(NAME, target):
            complete = False
        elif part.signature.value in PLAIN:
            members[part.signature.value] = members.get(part.signature.value, "") + part.text
        else:
            members.setdefault("reasoning_details", []).append(_own_detail(part, part.signature.value))
    return members, complete


def show_detail(part: Reasoning, index: int) -> dict[str, Any] | None:
    """The item that lets a client return `part`'s signature; None where plain text is enough.

    `index` is the item's place in the list: the SDK's accumulator goes by it.
    """
    signature = part.signature
    if signature is None:
        return None
    if signature.dialect == NAME:
        if signature.value in PLAIN:
            return None
        return _own_detail(part, signature.value) | {"index": index}
    item: dict[str, Any] = {"id": part.id} if part.id else {}
    if part.redacted:
        return {"type": "reasoning.encrypted", "data": wrap_signature(signature), **item, "index": index}
    kind = "reasoning.summary" if part.summary else "reasoning.text"
    return {"type": kind, _TEXTS[kind]: part.text, "signature": wrap_signature(signature), **item, "index": index}


def _own_detail(part: Reasoning, value: str) -> dict[str, Any]:
    try:
        item: dict[str, Any] = dict(to_fields.decode(value))
    except msgspec.MsgspecError:  # not an item: nothing to add the text to
        return {"type": "reasoning.text", "text": part.text}
    if part.text:
        item["summary" if part.summary else "text"] = part.text
    return item


# ---------------------------------------------------------------- signatures of calls and of text


def decode_extra(extra: Extra | None, origin: Origin | None) -> Signature | None:
    """The signature in `extra_content`."""
    if extra is None or extra.google is None or not extra.google.thought_signature:
        return None
    return unwrap_signature(extra.google.thought_signature, NAME, origin)


def encode_extra(signature: Signature | None, target: Origin) -> dict[str, Any]:
    """`extra_content` as a member of what is sent to `target`; no member if the signature is not the target's."""
    if signature is None or not signature.fits(NAME, target):
        return {}
    return _extra(signature.value)


def show_extra(signature: Signature | None) -> dict[str, Any]:
    """`extra_content` as a member of what a client is shown."""
    if signature is None:
        return {}
    return _extra(signature.value if signature.dialect == NAME else wrap_signature(signature))


def _extra(value: str) -> dict[str, Any]:
    return {"extra_content": {"google": {"thought_signature": value}}}


# ---------------------------------------------------------------- what is ours and must not reach a provider


def strip_wrapped(message: Raw | bytes) -> bytes:
    """A client's message without the signatures that we wrapped for it, and without the thinking they belong to.

    No provider of this dialect made them, and strict ones refuse members they do not know. A message without any
    is returned as it is.
    """
    raw = bytes(message)
    if SIGNATURE_MARK not in raw:
        return raw
    fields = read(to_fields, raw, "messages")
    _strip_details(fields)
    if SIGNATURE_MARK in bytes(fields.get("extra_content", b"")):
        del fields["extra_content"]
    if SIGNATURE_MARK in bytes(fields.get("tool_calls", b"")):
        calls = [read(to_fields, raw, "tool_calls") for raw in read(to_raws, fields["tool_calls"], "tool_calls")]
        for call in calls:
            if SIGNATURE_MARK in bytes(call.get("extra_content", b"")):
                del call["extra_content"]
        fields["tool_calls"] = Raw(encode(calls))
    return encode(fields)


def _strip_details(fields: dict[str, Raw]) -> None:
    details = fields.get("reasoning_details")
    if details is None or SIGNATURE_MARK not in bytes(details):
        return
    given = read(to_raws, details, "reasoning_details")
    kept = [raw for raw in given if SIGNATURE_MARK not in bytes(raw)]
    for member in PLAIN:
        fields.pop(member, None)
    if kept:
        fields["reasoning_details"] = Raw(encode(kept))
    else:
        del fields["reasoning_details"]
