"""Events to a client's stream; the way back is in `decoding.py`.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from typing import Any

from msgspec.structs import replace

from gateway.conversation import (
    AnyPart,
    Begin,
    Delta,
    End,
    Event,
    Failed,
    Opaque,
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
from gateway.dialects.anthropic.blocks import ATTACHED, Block, object_text
from gateway.dialects.anthropic.errors import encode_error
from gateway.dialects.anthropic.marks import beside, shown
from gateway.dialects.anthropic.replies import blocks_for_client, message_head, reason_of, redacted_block, usage_to
from gateway.dialects.anthropic.wire import FIELDS, ITEMS, NAME, encode, one_line
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.sse import frame
from gateway.errors import GatewayError


class StreamEncoder:
    """One reply as the vendor's events.

    A text begins with its first letter, since clients send blocks back and the vendor refuses empty text. The end of
    a text waits for what comes next, since its citations come behind it.
    """

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._begun = False
        self._index = -1
        self._part: AnyPart | None = None
        self._is_open = False
        self._held: list[str] = []
        self._stopped = Stopped(Stop.END)
        self._usage = Usage()

    def encode(self, event: Event) -> bytes:
        """The bytes for one event; may be empty."""
        match event:
            case Delta(_, text):
                return self._delta(text)
            case PartBegin(_, part):
                return self._start() + self._part_begin(part)
            case PartEnd():
                return self._part_end()
            case Signed(_, signature):
                return self._signed(signature)
            case _:
                return self._control(event)

    def _control(self, event: Begin | Stopped | Spent | End | Failed) -> bytes:
        match event:
            case Begin():
                self._usage = event.usage or self._usage
                return self._start(event.model)
            case Stopped():
                self._stopped = event
                return self._start() + self._finish_text()
            case Spent(usage):
                self._usage = usage
                return b""
            case End():
                return self._start() + self._finish_text() + self._end()
            case Failed(error):
                return self.error(error)

    def error(self, error: GatewayError) -> bytes:
        """The error event: how a stream ends that cannot be completed."""
        return frame(one_line(encode_error(error, "")), "error")

    def _start(self, model: str = "") -> bytes:
        if self._begun:
            return b""
        self._begun = True
        message = message_head(self._head, model, self._usage)
        return _event("message_start", message=message)

    def _part_begin(self, part: AnyPart) -> bytes:
        if isinstance(part, Opaque) and part.dialect == NAME and part.kind in ATTACHED:
            return self._cited(part)
        before = self._finish_text()
        self._part, self._held = part, []
        match part:
            case ToolCall():
                return before + self._beside() + self._open(_bare_call(part)) + self._delta(part.arguments)
            case Reasoning(text=text):
                return before + self._delta(text)
            case Text(text=text) | Refusal(text=text):
                return before + self._delta(text)
            case _:
                return before + self._whole(blocks_for_client(part))

    def _delta(self, text: str) -> bytes:
        match self._part:
            case Text() | Refusal() if text:
                return self._opened({"type": "text", "text": "", "citations": None}) + self._piece(
                    {"type": "text_delta", "text": text}
                )
            case Reasoning(redacted=False) if text:
                return self._opened(_BARE_THINKING) + self._piece({"type": "thinking_delta", "thinking": text})
            case ToolCall(custom=True):
                self._held.append(text)  # free text becomes JSON, which needs all of it
                return b""
            case ToolCall() if text:
                self._held.append("")
                return self._piece({"type": "input_json_delta", "partial_json": text})
            case _:
                return b""

    def _signed(self, signature: Signature) -> bytes:
        if isinstance(self._part, Text | ToolCall | Reasoning):
            self._part = replace(self._part, signature=signature)
        return b""

    def _part_end(self) -> bytes:
        match self._part:
            case Reasoning(redacted=False) as part if self._is_open or part.signature:
                opened = self._opened(_BARE_THINKING)
                signed = self._piece({"type": "signature_delta", "signature": shown(part.signature)})
                return opened + signed + self._close()
            case Reasoning(redacted=True) as part:
                return self._whole(blocks_for_client(part))
            case ToolCall() as part:
                return self._call_end(part) + self._close() + self._beside()
            case Text():
                return b""  # its citations may follow
            case _:
                return self._close()

    def _call_end(self, part: ToolCall) -> bytes:
        if part.custom:
            whole = object_text(replace(part, arguments="".join(self._held)))
        elif not self._held:
            whole = "{}"
        else:
            return b""
        return self._piece({"type": "input_json_delta", "partial_json": whole})

    def _cited(self, part: Opaque) -> bytes:
        """Citations of the text that is still open; what else is attached matters to the vendor alone."""
        if part.kind != "citations" or not self._is_open:
            return b""
        pieces = [
            self._piece({"type": "citations_delta", "citation": citation})
            for citation in ITEMS.decode(FIELDS.decode(part.raw)["citations"])
        ]
        return b"".join(pieces)

    def _beside(self) -> bytes:
        """Once, the block that carries the signature of a part which has no place for it."""
        part = self._part
        if not isinstance(part, Text | ToolCall) or part.signature is None:
            return b""
        self._part = replace(part, signature=None)
        return self._whole([redacted_block(beside(part))])

    def _whole(self, blocks: list[Block]) -> bytes:
        return b"".join(self._open(block) + self._close() for block in blocks)

    def _opened(self, block: Block) -> bytes:
        return b"" if self._is_open else self._open(block)

    def _open(self, block: Block) -> bytes:
        self._index += 1
        self._is_open = True
        return _event("content_block_start", index=self._index, content_block=block)

    def _piece(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> bytes:
        if not self._is_open:
            return b""
        self._is_open = False
        return _event("content_block_stop", index=self._index)

    def _finish_text(self) -> bytes:
        """The end of a text that waited, or of a part that was never ended."""
        return self._close() + self._beside()

    def _end(self) -> bytes:
        delta = {
            "stop_reason": reason_of(self._stopped.stop),
            "stop_sequence": self._stopped.sequence or None,
            "stop_details": None,
            "container": None,
        }
        usage = usage_to(self._usage)
        return _event("message_delta", delta=delta, usage=usage) + _event("message_stop")


_BARE_THINKING = {"type": "thinking", "thinking": "", "signature": ""}


def _bare_call(part: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}


def _event(name: str, **members: object) -> bytes:
    return frame(one_line(encode({"type": name, **members})), name)
