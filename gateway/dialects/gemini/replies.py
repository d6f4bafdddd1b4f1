"""Whole replies, both directions, and what streams share with them: stop reasons, token counts, parts for a client.

Source: https://ai.google.dev/api/generate-content#generatecontentresponse
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import (
    AnyPart,
    Audio,
    File,
    Image,
    Opaque,
    Origin,
    Reasoning,
    Refusal,
    Reply,
    Signature,
    Stop,
    Text,
    ToolCall,
    Usage,
    wrap_signature,
)
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.gemini.calls import call_id
from gateway.dialects.gemini.errors import decode_error, status_in
from gateway.dialects.gemini.messages import Mine, decode_part, fold
from gateway.dialects.gemini.tools import function_call
from gateway.dialects.gemini.wire import BROKEN, ENCODER, NAME, Candidate, Chunk, Counts, compact, is_null, members
from gateway.dialects.gemini.writing import blob, opaque_members
from gateway.errors import GatewayError, Kind, UpstreamError

CHUNK = msgspec.json.Decoder(Chunk)

_STOPS = {
    "STOP": Stop.END,
    "MAX_TOKENS": Stop.LENGTH,
    "CONTINUATION": Stop.LENGTH,  # another limit; going on takes a token that only Gemini's clients know
    "SAFETY": Stop.FILTERED,
    "RECITATION": Stop.FILTERED,
    "LANGUAGE": Stop.FILTERED,
    "BLOCKLIST": Stop.FILTERED,
    "PROHIBITED_CONTENT": Stop.FILTERED,
    "SPII": Stop.FILTERED,
    "IMAGE_SAFETY": Stop.FILTERED,
    "IMAGE_PROHIBITED_CONTENT": Stop.FILTERED,
    "IMAGE_RECITATION": Stop.FILTERED,
    "MODEL_ARMOR": Stop.FILTERED,
    "ESCALATION": Stop.FILTERED,
    "PUP_LIMITED_DISABLED": Stop.FILTERED,
    # The model broke off, and what it said is not its answer: no client may take it for one.
    "OTHER": Stop.FILTERED,
    "IMAGE_OTHER": Stop.FILTERED,
    "NO_IMAGE": Stop.FILTERED,
    "MALFORMED_FUNCTION_CALL": Stop.FILTERED,
    "MALFORMED_RESPONSE": Stop.FILTERED,
    "UNEXPECTED_TOOL_CALL": Stop.FILTERED,
    "TOO_MANY_TOOL_CALLS": Stop.FILTERED,
    "MISSING_THOUGHT_SIGNATURE": Stop.FILTERED,
}
_REASONS = {
    Stop.END: "STOP",
    Stop.TOOL_CALLS: "STOP",
    Stop.STOP_SEQUENCE: "STOP",
    Stop.LENGTH: "MAX_TOKENS",
    Stop.CONTEXT: "MAX_TOKENS",
    Stop.FILTERED: "SAFETY",
    Stop.REFUSED: "SAFETY",
    Stop.PAUSED: "OTHER",
}
_NOT_SAID = {"audioTranscription"}  # output only


def stop_of(reason: str, *, called: bool) -> Stop:
    """What a finishReason means; Gemini says STOP after tool calls too."""
    stop = _STOPS.get(reason, Stop.END)
    return Stop.TOOL_CALLS if called and stop is Stop.END else stop


def usage_of(counts: Counts) -> Usage:
    """Token counts, normalised: thoughts are output, what tools returned to the model on the server is input."""
    thoughts = counts.thoughts_token_count or 0
    return Usage(
        input=(counts.prompt_token_count or 0) + (counts.tool_use_prompt_token_count or 0),
        output=(counts.candidates_token_count or 0) + thoughts,
        cached=counts.cached_content_token_count or 0,
        reasoning=thoughts,
    )


def counts_of(usage: Usage) -> dict[str, int]:
    """The way back, as the usageMetadata member."""
    counts = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": usage.input + usage.output,
    }
    if usage.cached:
        counts["cachedContentTokenCount"] = usage.cached
    if usage.reasoning:
        counts["thoughtsTokenCount"] = usage.reasoning
    return counts


def first(chunk: Chunk) -> Candidate | None:
    """The candidate that counts."""
    return next((each for each in chunk.candidates or () if not each.index), None)


def failure(chunk: Chunk, body: bytes) -> UpstreamError | None:
    """The error in a reply's place, if it is one."""
    if not memoryview(chunk.error).nbytes or is_null(chunk.error):
        return None
    return decode_error(status_in(chunk.error), body)


# ---------------------------------------------------------------- decoding


class PartReader:
    """Reads the parts of one reply, and gives ids to calls that come without."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.calls = 0

    def read(self, raw: Raw, seed: str) -> AnyPart | None:
        """One part; None for one that says nothing, or nothing that makes sense."""
        try:
            part = decode_part(raw, "parts", self._origin, set())
        except GatewayError:
            return None
        if isinstance(part, ToolCall):
            part = replace(part, id=part.id or call_id(seed, self.calls, part.name, part.arguments))
            self.calls += 1
        return part


def decode_reply(body: bytes, origin: Origin, *, skim: bool = False, keep: bool = True) -> Reply:
    """A whole reply; of several candidates the first."""
    try:
        chunk = CHUNK.decode(body.decode())
    except BROKEN:
        raise UpstreamError(Kind.BAD_GATEWAY, "The provider's reply is no Gemini reply.") from None
    if (error := failure(chunk, body)) is not None:
        raise error
    candidate, blocked = first(chunk), chunk.prompt_feedback and chunk.prompt_feedback.block_reason
    if candidate is None and not blocked:
        raise UpstreamError(Kind.BAD_GATEWAY, "The provider's reply holds no candidate.")
    usage = None if chunk.usage_metadata is None else usage_of(chunk.usage_metadata)
    if skim:
        return Reply(usage=usage)
    reader = PartReader(origin)
    seed = chunk.response_id or body.decode(errors="replace")
    raws = (candidate.content.parts if candidate and candidate.content else None) or []
    read = [(raw, part) for raw in raws if (part := reader.read(raw, seed)) is not None]
    reason = "SAFETY" if candidate is None else candidate.finish_reason or "STOP"
    return Reply(
        id=chunk.response_id or "",
        model=chunk.model_version or origin.model,
        parts=fold([part for _, part in read]),
        stop=stop_of(reason, called=bool(reader.calls)),
        usage=usage,
        said=_said(read) if keep else (),
    )


def _said(read: Sequence[tuple[Raw, AnyPart]]) -> tuple[bytes, ...]:
    """The reply as a content for a history: as it came, with ids on calls and without thoughts that are not signed."""
    parts = [said for raw, part in read for said in _said_part(raw, part)]
    return (ENCODER.encode({"role": "model", "parts": parts}),) if parts else ()


def _said_part(raw: Raw, part: AnyPart) -> Iterator[dict[str, Any]]:
    if isinstance(part, Reasoning) and part.signature is None:
        return
    found = {name: Raw(compact(each)) for name, each in members(raw, "part").items() if name not in _NOT_SAID}
    if isinstance(part, ToolCall):
        call = members(found["functionCall"], "functionCall")
        found["functionCall"] = Raw(ENCODER.encode({"id": part.id} | {k: v for k, v in call.items() if k != "id"}))
    yield found


# ---------------------------------------------------------------- encoding


def encode_reply(reply: Reply, head: ReplyHead) -> bytes:
    """A whole reply for a client."""
    parts = [part for each in reply.parts if (part := shown(each)) is not None]
    stop = reply.stop or Stop.END
    return ENCODER.encode(
        {
            "candidates": [candidate(parts, stop, said=bool(parts))],
            "usageMetadata": counts_of(reply.usage or Usage()),
            "modelVersion": reply.model or head.request.model,
            "responseId": head.id,
        }
    )


def candidate(parts: list[dict[str, Any]], stop: Stop | None, *, said: bool) -> dict[str, Any]:
    """The only candidate of an answer. Google's chat discards a turn without parts, so an empty answer has one."""
    found: dict[str, Any] = {"index": 0}
    if said or stop not in (Stop.FILTERED, Stop.REFUSED):
        found = {"content": {"parts": parts or [{"text": ""}], "role": "model"}, **found}
    return found if stop is None else found | {"finishReason": _REASONS[stop]}


def shown(part: AnyPart) -> dict[str, Any] | None:
    """A part for a client; None for what Gemini cannot say."""
    found: dict[str, Any] = {}
    match part:
        case Text(text=text, signature=signature) if text or signature:
            found = {"text": text} | signed(signature)
        case Refusal(text=text) if text:
            found = {"text": text}
        case Reasoning():
            found = {"text": part.text, "thought": True} | signed(part.signature) | note(part)
        case ToolCall():
            found = {"functionCall": function_call(part)} | signed(part.signature)
        case Image() | File() | Audio():
            found = blob(part)
        case Opaque(dialect=dialect) if dialect == NAME:
            found = opaque_members(part, None)
    return found or None


def signed(signature: Signature | None) -> dict[str, Any]:
    """A signature for a client to keep: ours as it is, another dialect's wrapped."""
    if signature is None:
        return {}
    return {"thoughtSignature": signature.value if signature.dialect == NAME else wrap_signature(signature)}


def note(part: Reasoning) -> dict[str, Any]:
    """What foreign thinking is beyond its text, for the day it goes back to its maker."""
    if part.signature is None or part.signature.dialect == NAME:
        return {}
    mine = Mine(part.redacted, part.summary, part.id)
    return {} if mine == Mine() else {"partMetadata": {"gateway": mine}}
