"""Events to a streamed reply.

Source: https://platform.openai.com/docs/api-reference/chat-streaming.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.conversation import (
    AnyPart,
    Begin,
    Delta,
    End,
    Event,
    Failed,
    Image,
    PartBegin,
    PartEnd,
    Reasoning,
    Refusal,
    Signature,
    Signed,
    Spent,
    Stopped,
    Text,
    ToolCall,
    Usage,
)
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.openai_chat.errors import encode_error
from gateway.dialects.openai_chat.reasoning import show_detail, show_extra
from gateway.dialects.openai_chat.replies import encode_stop, encode_usage, show_image
from gateway.dialects.openai_chat.requests import wants_usage
from gateway.dialects.openai_chat.tools import as_custom, custom_names, is_legacy
from gateway.dialects.openai_chat.wire import encode
from gateway.dialects.sse import frame
from gateway.errors import GatewayError

_DONE = frame(b"[DONE]")


class ReplyEncoder:
    """Encodes one streamed reply as chunks. The chunk with token counts goes only to a client that asked for it."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._legacy = is_legacy(head.request.fields)
        self._custom = custom_names(head.request.fields)
        self._whole: dict[int, ToolCall] = {}
        self._counts = wants_usage(head.request)
        self._before = self._after = b""
        self._model = head.request.model
        self._parts: dict[int, AnyPart] = {}
        self._calls: dict[int, int] = {}
        self._silent: set[int] = set()
        self._thought: dict[int, list[str]] = {}
        self._details = self._images = 0
        self._refused = False
        self._usage: Usage | None = None
        self._over = False

    def encode(self, event: Event) -> bytes:
        if self._over:
            return b""
        match event:
            case Delta(index, text):
                return self._delta(index, text)
            case PartBegin(index, part):
                return self._begin(index, part)
            case PartEnd(index):
                return self._end(index)
            case Signed(index, signature):
                return self._signed(index, signature)
        return self._frame_of(event)

    def _frame_of(self, event: Begin | Spent | Stopped | End | Failed) -> bytes:
        match event:
            case Begin():
                self._usage = event.usage
                self._model = event.model or self._model
                return self._chunk({"role": "assistant", "content": None, "refusal": None})
            case Spent(usage):
                self._usage = usage
                return b""
            case Stopped(stop):
                reason = encode_stop(stop, legacy=self._legacy, refusal=self._refused)
                return self._frame({"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason})
            case End():
                self._over = True
                return self._count() + _DONE
            case Failed(error):
                return self.error(error)

    def error(self, error: GatewayError) -> bytes:
        self._over = True
        # A provider's own error body is passed on, and OpenAI writes it on several lines.
        return frame(msgspec.json.format(encode_error(error, ""), indent=-1))

    # -- parts

    def _begin(self, index: int, part: AnyPart) -> bytes:
        self._parts[index] = part
        match part:
            case ToolCall(name=name, custom=False) if name in self._custom:
                self._whole[index] = part  # its input comes as JSON from elsewhere: it is read when it is whole
            case ToolCall():
                return self._begin_call(index, part)
            case Image():
                self._images += 1
                return self._chunk({"images": [show_image(part, self._images - 1)]})
            case Reasoning(text=text):
                self._thought[index] = []
                shown = self._delta(index, text) if text else b""
                return shown + (self._signed(index, part.signature) if part.signature else b"")
            case Text(text=text):
                shown = self._delta(index, text) if text else b""
                return shown + (self._signed(index, part.signature) if part.signature else b"")
            case Refusal(text=text):
                self._refused = True
                return self._delta(index, text) if text else b""
        return b""

    def _begin_call(self, index: int, call: ToolCall) -> bytes:
        number = self._calls[index] = len(self._calls)
        if not call.arguments and not call.custom:
            self._silent.add(index)
        if self._legacy:  # which knows one call a message
            function = {"name": call.name, "arguments": call.arguments}
            return self._chunk({"function_call": function}) if number == 0 else b""
        members: dict[str, Any] = {"index": number, "id": call.id}
        if call.custom:
            members |= {"type": "custom", "custom": {"name": call.name, "input": call.arguments}}
        else:
            members |= {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        return self._chunk({"tool_calls": [members | show_extra(call.signature)]})

    def _delta(self, index: int, text: str) -> bytes:
        if index in self._whole:
            self._whole[index] = replace(self._whole[index], arguments=self._whole[index].arguments + text)
            return b""
        match self._parts.get(index):
            case Text():
                return self._chunk({"content": text})
            case ToolCall(custom=custom):
                return self._arguments(index, text, custom=custom)
            case Reasoning():
                self._thought[index].append(text)
                return self._chunk({"reasoning_content": text}) if text else b""
            case Refusal():
                return self._chunk({"refusal": text})
        return b""

    def _arguments(self, index: int, text: str, *, custom: bool) -> bytes:
        if text:
            self._silent.discard(index)
        number = self._calls[index]
        if self._legacy:
            return self._chunk({"function_call": {"arguments": text}}) if number == 0 else b""
        piece = {"custom": {"input": text}} if custom else {"function": {"arguments": text}}
        return self._chunk({"tool_calls": [{"index": number, **piece}]})

    def _signed(self, index: int, signature: Signature) -> bytes:
        if index in self._whole:
            self._whole[index] = replace(self._whole[index], signature=signature)
            return b""
        match self._parts.get(index):
            case Text():
                return self._chunk(show_extra(signature))
            case ToolCall(custom=custom) if not self._legacy:
                # The SDK's helper reads the called function in every piece of a call.
                piece = {"custom": {"input": ""}} if custom else {"function": {"arguments": ""}}
                return self._chunk({"tool_calls": [{"index": self._calls[index], **piece, **show_extra(signature)}]})
            case Reasoning() as part:
                whole = Reasoning(
                    text="".join(self._thought[index]),
                    signature=signature,
                    redacted=part.redacted,
                    summary=part.summary,
                    id=part.id,
                )
                detail = show_detail(whole, self._details)
                if detail is not None:
                    self._details += 1
                    return self._chunk({"reasoning_details": [detail]})
        return b""

    def _end(self, index: int) -> bytes:
        if index in self._whole:
            return self._begin_call(index, as_custom(self._whole.pop(index), self._custom))
        self._thought.pop(index, None)
        if index in self._silent:  # clients parse what they get, and no text is no JSON
            return self._arguments(index, "{}", custom=False)
        return b""

    # -- chunks

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        if not self._before:
            self._before, self._after = self._around()
        return self._before + encode(delta) + self._after

    def _around(self) -> tuple[bytes, bytes]:
        """Everything of a chunk but its delta, which is all that changes."""
        mark = "\0delta\0"
        whole = self._frame({"index": 0, "delta": mark, "logprobs": None, "finish_reason": None})
        before, _, after = whole.partition(encode(mark))
        return before, after

    def _frame(self, choice: dict[str, Any] | None) -> bytes:
        body: dict[str, Any] = {
            "id": f"chatcmpl-{self._head.id}",
            "object": "chat.completion.chunk",
            "created": self._head.created,
            "model": self._model,
            "choices": [] if choice is None else [choice],
        }
        if choice is None and self._usage is not None:
            body["usage"] = encode_usage(self._usage)
        elif self._counts:
            body["usage"] = None
        return frame(encode(body))

    def _count(self) -> bytes:
        return self._frame(None) if self._counts and self._usage is not None else b""
