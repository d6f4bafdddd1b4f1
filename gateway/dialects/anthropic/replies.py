"""Whole replies, both directions, and what they have in common with streamed ones.

Source: https://platform.claude.com/docs/en/api/messages
"""

from typing import Any

from msgspec import Raw
from msgspec.json import Decoder

from gateway.conversation import (
    AnyPart,
    Opaque,
    Origin,
    Reasoning,
    Refusal,
    Reply,
    Stop,
    Text,
    ToolCall,
    Usage,
)
from gateway.dialects.anthropic.blocks import ATTACHED, Block, BlockReader, attach, object_text, reasoning_block
from gateway.dialects.anthropic.errors import decode_error
from gateway.dialects.anthropic.marks import beside, shown
from gateway.dialects.anthropic.wire import FIELDS, NAME, NULL, UNREADABLE, MessageWire, UsageWire, encode
from gateway.dialects.dialect import ReplyHead
from gateway.errors import GatewayError, Kind, UpstreamError

_MESSAGE = Decoder(MessageWire)

STOPS = {
    "end_turn": Stop.END,
    "max_tokens": Stop.LENGTH,
    "stop_sequence": Stop.STOP_SEQUENCE,
    "tool_use": Stop.TOOL_CALLS,
    "pause_turn": Stop.PAUSED,
    "refusal": Stop.REFUSED,
    "model_context_window_exceeded": Stop.CONTEXT,
}
"""A reason that is not here is an end."""
_REASONS = {stop: reason for reason, stop in STOPS.items()} | {Stop.FILTERED: "refusal"}


# ---------------------------------------------------------------- usage


def usage_from(wire: UsageWire) -> Usage:
    """Counts as the whole prompt and the whole output.

    The vendor's `input_tokens` are only those that were neither read from its cache nor written to it.
    """
    cached, written = wire.cache_read_input_tokens or 0, wire.cache_creation_input_tokens or 0
    details = wire.output_tokens_details
    return Usage(
        input=(wire.input_tokens or 0) + cached + written,
        output=wire.output_tokens or 0,
        cached=cached,
        cache_write=written,
        reasoning=(details.thinking_tokens if details else 0) or 0,
    )


def usage_to(usage: Usage) -> dict[str, Any]:
    """The way back, with every member that the vendor's clients know."""
    return {
        "input_tokens": max(usage.input - usage.cached - usage.cache_write, 0),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": None,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning} if usage.reasoning else None,
        "server_tool_use": None,
        "service_tier": None,
        "inference_geo": None,
    }


# ---------------------------------------------------------------- from a provider


def decode_reply(body: bytes, origin: Origin, *, skim: bool = False, keep: bool = True) -> Reply:
    """A whole reply, with `said` set: its message without empty text and null members, else byte for byte."""
    try:
        wire = _MESSAGE.decode(body)
        if wire.type == "error":
            raise decode_error(200, body)
        usage = usage_from(wire.usage) if wire.usage else None
        if skim:
            return Reply(usage=usage)
        parts = BlockReader(origin).blocks(wire.content, "content")
        said = _said(wire.content) if keep else ()
    except UpstreamError:
        raise
    except (GatewayError, *UNREADABLE):
        raise UpstreamError(Kind.BAD_GATEWAY, "The provider sent a reply that cannot be read.") from None
    return Reply(
        id=wire.id,
        model=wire.model,
        parts=tuple(parts),
        stop=STOPS.get(wire.stop_reason or "", Stop.END),
        stop_sequence=wire.stop_sequence or "",
        usage=usage,
        said=said,
    )


def _said(content: list[Raw]) -> tuple[bytes, ...]:
    blocks = [said for block in content if (said := _without_nulls(block)) is not None]
    return (encode({"role": "assistant", "content": blocks}),) if blocks else ()


def _without_nulls(block: Raw) -> Raw | dict[str, Raw] | None:
    """A block as the vendor takes it back; None for an empty text, which it refuses."""
    fields = FIELDS.decode(block)
    if bytes(fields.get("type", b"")) == b'"text"' and bytes(fields.get("text", b"")) == b'""':
        return None
    kept = {name: value for name, value in fields.items() if value != NULL}
    return block if len(kept) == len(fields) else kept


# ---------------------------------------------------------------- to a client


def encode_reply(reply: Reply, head: ReplyHead) -> bytes:
    """A whole reply for a client; parts that this dialect cannot say (images, audio) are left out."""
    message = message_head(head, reply.model, reply.usage)
    message["content"] = _blocks(reply.parts)
    message["stop_reason"] = reason_of(reply.stop or Stop.END)
    message["stop_sequence"] = reply.stop_sequence or None
    return encode(message)


def message_head(head: ReplyHead, model: str, usage: Usage | None) -> dict[str, Any]:
    """A message with nothing in it yet."""
    return {
        "id": f"msg_{head.id}",
        "type": "message",
        "role": "assistant",
        "model": model or head.request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": usage_to(usage or Usage()),
    }


def reason_of(stop: Stop) -> str:
    """The vendor's name for why a reply ended."""
    return _REASONS[stop]


def _blocks(parts: tuple[AnyPart, ...]) -> list[Block]:
    blocks: list[Block] = []
    for part in parts:
        if isinstance(part, Opaque) and part.dialect == NAME and part.kind in ATTACHED:
            attach(blocks, part)
        else:
            blocks += blocks_for_client(part)
    return blocks


def blocks_for_client(part: AnyPart) -> list[Block]:
    """The blocks of one part as a client is given them; empty text and what cannot be said gives none."""
    match part:
        case Text(text=text) | Refusal(text=text):
            block: list[Block] = [{"type": "text", "text": text, "citations": None}] if text else []
            data = beside(part) if isinstance(part, Text) else ""
            return block + ([redacted_block(data)] if data else [])
        case Reasoning():
            return [reasoning_block(part, shown(part.signature))] if part.text or part.signature else []
        case ToolCall():
            data = beside(part)
            call: Block = {
                "type": "tool_use",
                "id": part.id,
                "name": part.name,
                "input": Raw(object_text(part).encode()),
            }
            return [*([redacted_block(data)] if data else []), call]
        case Opaque() if part.dialect == NAME:
            return [part.raw]
        case _:
            return []


def redacted_block(data: str) -> Block:
    """A block that clients keep and send back untouched."""
    return {"type": "redacted_thinking", "data": data}
