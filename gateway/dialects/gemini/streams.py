"""Streamed replies, both directions.

With `alt=sse` a stream is server-sent events, each a whole GenerateContentResponse; without it, a JSON array of them.
Nothing marks its end: it is complete when a finishReason came and the connection closed.
Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
"""

from typing import Any

import msgspec
from msgspec import Raw

from gateway.conversation import (
    Begin,
    Delta,
    End,
    Event,
    Failed,
    Origin,
    PartBegin,
    PartEnd,
    Reasoning,
    Refusal,
    Signature,
    Signed,
    Spent,
    Stop,
    Stopped,
    Text,
    ToolCall,
    Usage,
)
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.gemini.errors import encode_error
from gateway.dialects.gemini.framing import SSE, Framing
from gateway.dialects.gemini.replies import (
    CHUNK,
    PartReader,
    candidate,
    counts_of,
    failure,
    first,
    note,
    shown,
    signed,
    stop_of,
    usage_of,
)
from gateway.dialects.gemini.wire import BROKEN, ENCODER, NAME, Chunk, Piece, compact
from gateway.dialects.sse import MAX_EVENT, EventParser
from gateway.errors import GatewayError, Kind, UpstreamError

_PIECE = msgspec.json.Decoder(Piece)
_CUT = "The provider's stream ended before it was complete."
_BROKEN = "The provider's stream holds an event that is no Gemini reply."


class StreamDecoder:
    """Decodes one streamed reply with `alt=sse`."""

    def __init__(self, origin: Origin, *, skim: bool = False) -> None:
        self._origin = origin
        self._skim = skim
        self._parser = EventParser()
        self._reader = PartReader(origin)
        self._index = 0
        self._open: type[Text | Reasoning] | None = None
        self._begun = False
        self._stopped = False
        self._failed = False
        self._ended = False
        self._bare: bytes | None = b""  # what came if it is no event stream; None once it is known to be one

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        if self._bare is not None:
            self._bare += data
            start = self._bare.lstrip()[:1]
            if not start or start in b"{[":  # an error, or an array, in place of events: whole at the end
                if len(self._bare) > MAX_EVENT:
                    raise UpstreamError(Kind.BAD_GATEWAY, _BROKEN)
                return []
            data, self._bare = self._bare, None
        return [event for _, block in self._parser.feed(data) for event in self._take(block)]

    def close(self) -> list[Event]:
        """The end. Raises UpstreamError if no finishReason came."""
        events: list[Event] = []
        for block in self._left():
            try:
                events += self._take(block)
            except UpstreamError:
                break  # half an event
        if self._stopped and not self._ended:
            self._ended = True
            events.append(End())
        if not self._stopped and not self._failed:
            raise UpstreamError(Kind.BAD_GATEWAY, _CUT)
        return events

    def _left(self) -> list[bytes]:
        if self._bare is None:
            return [block for _, block in self._parser.close()]
        bare, self._bare = self._bare, b""
        try:
            return [bytes(each) for each in msgspec.json.decode(bare, type=list[Raw])]
        except BROKEN:
            return [bare]

    def _take(self, block: bytes) -> list[Event]:
        if self._failed or not block.lstrip().startswith(b"{"):
            return []
        try:
            chunk = CHUNK.decode(block.decode())
        except BROKEN:
            raise UpstreamError(Kind.BAD_GATEWAY, _BROKEN) from None
        if (error := failure(chunk, block)) is not None:
            self._failed = True
            return [Failed(error)]
        return self._begin(chunk) + self._content(chunk, block) + self._spent(chunk)

    def _begin(self, chunk: Chunk) -> list[Event]:
        if self._begun:
            return []
        self._begun = True
        usage = None if chunk.usage_metadata is None else usage_of(chunk.usage_metadata)
        return [Begin(chunk.response_id or "", chunk.model_version or self._origin.model, usage)]

    def _content(self, chunk: Chunk, block: bytes) -> list[Event]:
        said = first(chunk)
        if self._stopped:
            return []
        if said is None:
            blocked = chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason
            return self._finish(Stop.FILTERED) if blocked else []
        events: list[Event] = []
        passed = self._skim and (self._index > 0 or self._open is not None)
        for raw in (said.content.parts if said.content and not passed else None) or ():
            events += self._part(raw, chunk.response_id or block.decode(errors="replace"))
        reason = said.finish_reason
        if reason and reason != "FINISH_REASON_UNSPECIFIED":
            events += self._finish(stop_of(reason, called=bool(self._reader.calls)))
        return events

    def _finish(self, stop: Stop) -> list[Event]:
        self._stopped = True
        return [*self._close_part(), Stopped(stop)]

    def _spent(self, chunk: Chunk) -> list[Event]:
        known = self._stopped and chunk.usage_metadata is not None
        return [Spent(usage_of(chunk.usage_metadata))] if known and chunk.usage_metadata else []

    def _part(self, raw: Raw, seed: str) -> list[Event]:
        try:
            piece = _PIECE.decode(raw)
        except BROKEN:
            return []
        if piece.text is not None:
            return self._text(piece.text, piece)
        part = self._reader.read(raw, seed)
        if part is None:
            return []
        if isinstance(part, Text | Reasoning):  # a signature alone
            return self._text("", piece)
        events, index = self._close_part(), self._index
        self._index += 1
        if isinstance(part, ToolCall):
            begun = ToolCall(part.id, part.name, "", part.custom, part.signature)
            return [*events, PartBegin(index, begun), Delta(index, part.arguments), PartEnd(index)]
        return [*events, PartBegin(index, part), PartEnd(index)]

    def _text(self, words: str, piece: Piece) -> list[Event]:
        if not words and not piece.thought_signature:
            return []
        events: list[Event] = []
        kind = Reasoning if piece.thought else Text
        if self._open is not kind:
            events = self._close_part()
            self._open = kind
            events.append(PartBegin(self._index, Reasoning(summary=True) if piece.thought else Text("")))
        if words:
            events.append(Delta(self._index, words))
        if piece.thought_signature:
            events.append(Signed(self._index, Signature(piece.thought_signature, NAME, self._origin)))
            events += self._close_part()
        return events

    def _close_part(self) -> list[Event]:
        if self._open is None:
            return []
        self._open = None
        self._index += 1
        return [PartEnd(self._index - 1)]


def reply_decoder(origin: Origin, *, skim: bool = False) -> StreamDecoder:
    """For one streamed reply of a provider. `skim`: content after the first may be left out."""
    return StreamDecoder(origin, skim=skim)


# ---------------------------------------------------------------- encoding


class StreamEncoder:
    """Encodes one streamed reply as events, or as a JSON array where the client did not ask for events."""

    def __init__(self, head: ReplyHead) -> None:
        self._framing = Framing(array=head.request.query != SSE)
        self._foot: dict[str, Any] = {"modelVersion": head.request.model, "responseId": head.id}
        self._request_id = head.id
        self._parts: dict[int, Any] = {}
        self._arguments: dict[int, list[str]] = {}
        self._stop = Stop.END
        self._usage = Usage()
        self._said = False

    def encode(self, event: Event) -> bytes:
        """The bytes for one event."""
        match event:
            case Delta(index, text):
                return self._delta(index, text)
            case PartBegin(index, part):
                return self._begin(index, part)
            case Signed(index, signature):
                return self._sign(index, signature)
            case PartEnd(index):
                return self._end(index)
            case Begin(_, model, usage):
                self._foot["modelVersion"] = model or self._foot["modelVersion"]
                self._usage = usage or self._usage
            case Stopped(stop):
                self._stop = stop
            case Spent(usage):
                self._usage = usage
            case End():
                return self._finish()
            case Failed():
                pass  # error() writes it
        return b""

    def error(self, error: GatewayError) -> bytes:
        """An event with the error in the reply's place, which Google's SDK raises."""
        return self._framing.write(compact(encode_error(error, self._request_id)), last=True)

    def _begin(self, index: int, part: Any) -> bytes:  # noqa: ANN401 - a part
        self._parts[index] = part
        self._arguments[index] = []
        match part:
            case Text(text=text) | Refusal(text=text) | Reasoning(text=text) if text:
                return self._delta(index, text)
        return b""

    def _delta(self, index: int, text: str) -> bytes:
        if not text:
            return b""
        match self._parts.get(index):
            case ToolCall():
                self._arguments[index].append(text)
                return b""
            case Reasoning():
                return self._chunk({"text": text, "thought": True})
            case Text() | Refusal():
                return self._chunk({"text": text})
        return b""

    def _sign(self, index: int, signature: Signature) -> bytes:
        match self._parts.get(index):
            case ToolCall() as call:
                self._parts[index] = msgspec.structs.replace(call, signature=signature)
            case Text():
                return self._chunk({"text": ""} | signed(signature))
            case Reasoning() as thought:
                whole = msgspec.structs.replace(thought, signature=signature)
                return self._chunk({"text": "", "thought": True} | signed(signature) | note(whole))
        return b""

    def _end(self, index: int) -> bytes:
        part = self._parts.pop(index, None)
        match part:
            case Text(signature=signature) | Reasoning(signature=signature):
                if signature is None:
                    return b""
                self._parts[index] = part
                return self._sign(index, signature)
            case Refusal() | None:
                return b""
            case ToolCall():
                arguments = part.arguments + "".join(self._arguments.pop(index))
                part = msgspec.structs.replace(part, arguments=arguments)
        encoded = shown(part)
        return b"" if encoded is None else self._chunk(encoded)

    def _chunk(self, part: dict[str, Any]) -> bytes:
        self._said = True
        return self._framing.write(ENCODER.encode({"candidates": [candidate([part], None, said=True)], **self._foot}))

    def _finish(self) -> bytes:
        last = candidate([], self._stop, said=self._said)
        whole = {"candidates": [last], "usageMetadata": counts_of(self._usage), **self._foot}
        return self._framing.write(ENCODER.encode(whole), last=True)


def reply_encoder(head: ReplyHead) -> StreamEncoder:
    """For one streamed reply to a client."""
    return StreamEncoder(head)
