"""Neutral events, to the stream of events that a client gets.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import (
    AnyPart,
    Begin,
    Delta,
    End,
    Event,
    Failed,
    Image,
    Opaque,
    PartBegin,
    PartEnd,
    Reasoning,
    Refusal,
    Signed,
    Spent,
    Stopped,
    Text,
    ToolCall,
    Usage,
)
from gateway.dialects.custom import custom_input
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.openai_responses.content import INNER
from gateway.dialects.openai_responses.errors import error_members, failed_code
from gateway.dialects.openai_responses.outputs import (
    Maker,
    encode_usage,
    ending,
    phase_of,
    response_object,
)
from gateway.dialects.openai_responses.replies import content_of
from gateway.dialects.openai_responses.tools import known_tools
from gateway.dialects.openai_responses.wire import NAME, dump, json
from gateway.dialects.sse import frame
from gateway.errors import GatewayError


class _Message:
    """The message that is open: neighbouring texts go into one."""

    def __init__(self, number: int, phase: str) -> None:
        self.number = number
        self.phase = phase
        self.content: list[dict[str, object]] = []
        self.last: Text | None = None


class _Open:
    """A part that is open: the item at `number`, at `at` in its content."""

    def __init__(self, part: AnyPart, number: int, at: int = 0) -> None:
        self.part = part
        self.number = number
        self.at = at
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ResponsesEncoder:
    """Encodes one streamed reply. Each event has the next `sequence_number`, from 0 on."""

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._make = Maker(head, known_tools(head.request.fields.get("tools")))
        self._response = response_object(head)
        self._sequence = 0
        self._output: list[Raw] = []
        self._open: dict[int, _Open] = {}
        self._message: _Message | None = None
        self._stopped: Stopped | None = None
        self._usage: Usage | None = None
        self._refused = False
        self._begun = False
        self._over = False

    def encode(self, event: Event) -> bytes:
        """The bytes for one event."""
        if self._over:
            return b""
        match event:
            case Delta(index, text):
                return self._more(self._open[index], text) if index in self._open else b""
            case PartBegin(index, part):
                return self._start() + self._begin(index, part)
            case PartEnd(index):
                return self._finish(self._open.pop(index)) if index in self._open else b""
            case Signed(index, signature):
                if index in self._open and isinstance(part := self._open[index].part, Text | ToolCall | Reasoning):
                    self._open[index].part = replace(part, signature=signature)
                return b""
            case _:
                return self._life(event)

    def error(self, error: GatewayError) -> bytes:
        """An `error` event and, since clients differ in which of the two they read, `response.failed`."""
        if self._over:
            return b""
        self._over = True
        members = error_members(error)
        problem = {name: members[name] for name in ("code", "message", "param")}
        self._response |= {
            "status": "failed",
            "error": {"code": failed_code(error), "message": error.message},
            "output": self._done_items(),
            "usage": encode_usage(self._usage),
        }
        return self._event("error", **problem, error=members) + self._event("response.failed", response=self._response)

    def _event(self, type: str, **members: object) -> bytes:  # noqa: A002 - the member's own name
        data = {"type": type, "sequence_number": self._sequence, **members}
        self._sequence += 1
        return frame(dump(data), type)

    # ------------------------------------------------------------ the life of a response

    def _life(self, event: Event) -> bytes:
        match event:
            case Begin(model=model, usage=usage):
                self._usage = usage or self._usage
                return self._start(model)
            case Stopped():
                self._stopped = event
            case Spent(usage):
                self._usage = usage
            case End():
                return self._end()
            case Failed(error):
                return self.error(error)
        return b""

    def _start(self, model: str = "") -> bytes:
        if self._begun:
            return b""
        self._begun = True
        if model:
            self._response["model"] = model
        created = self._event("response.created", response=self._response)
        return created + self._event("response.in_progress", response=self._response)

    def _end(self) -> bytes:
        status, incomplete = ending(self._stopped.stop if self._stopped else None, refused=self._refused)
        frames = [self._start(), *(self._finish(part) for part in self._open.values())]
        self._open = {}
        frames.append(self._close_message(status))
        self._response |= {
            "status": status,
            "incomplete_details": incomplete,
            "output": self._done_items(),
            "usage": encode_usage(self._usage),
        }
        frames.append(self._event(f"response.{status}", response=self._response))
        self._over = True
        return b"".join(frames)

    def _done_items(self) -> list[Raw]:
        return [item for item in self._output if bytes(item)]

    # ------------------------------------------------------------ items

    def _reserve(self) -> int:
        self._output.append(Raw(b""))
        return len(self._output) - 1

    def _added(self, number: int, item: object) -> bytes:
        return self._event("response.output_item.added", output_index=number, item=item)

    def _done(self, number: int, item: object) -> bytes:
        self._output[number] = json(item)
        return self._event("response.output_item.done", output_index=number, item=self._output[number])

    def _whole_item(self, item: dict[str, object] | Raw | None) -> bytes:
        if item is None:
            return b""
        number = self._reserve()
        return self._added(number, item) + self._done(number, item)

    def _open_message(self, phase: str) -> bytes:
        number = self._reserve()
        self._message = _Message(number, phase)
        return self._added(number, self._make.message(number, [], "in_progress", phase))

    def _close_message(self, status: str = "completed") -> bytes:
        message, self._message = self._message, None
        if message is None:
            return b""
        item = self._make.message(message.number, message.content, status, message.phase)
        frames = self._done(message.number, item)
        return frames + (self._carry(message.last) if message.last is not None else b"")

    def _carry(self, part: Text | ToolCall) -> bytes:
        return self._whole_item(self._make.carrier(len(self._output), part))

    # ------------------------------------------------------------ parts

    def _begin(self, index: int, part: AnyPart) -> bytes:
        if isinstance(part, Text | Refusal):
            return self._begin_text(index, part)
        before = self._close_message()
        match part:
            case ToolCall(arguments=arguments):
                opened = self._open[index] = _Open(replace(part, arguments=""), self._reserve())
                added = self._added(opened.number, self._make.call(opened.number, part, "", "in_progress"))
                return before + added + self._more(opened, arguments)
            case Reasoning(text=text):
                opened = self._open[index] = _Open(replace(part, text=""), self._reserve())
                added = self._added(opened.number, self._make.reasoning(opened.number, replace(part, text="")))
                return before + added + self._more(opened, text)
            case Image():
                return before + self._whole_item(self._make.image(len(self._output), part))
            case Opaque(dialect=dialect, kind=kind, raw=raw) if dialect == NAME and not kind.startswith(INNER):
                return before + self._whole_item(raw)
            case _:
                return before  # what another vendor alone can say has no place in a reply

    def _begin_text(self, index: int, part: Text | Refusal) -> bytes:
        self._refused = self._refused or isinstance(part, Refusal)
        frames = b""
        phase = phase_of(part) if isinstance(part, Text) or self._message is None else self._message.phase
        if self._message is not None and self._message.phase != phase:
            frames = self._close_message()
        if self._message is None:
            frames += self._open_message(phase)
        message = self._message
        assert message is not None  # noqa: S101 - it was just opened
        empty = content_of(replace(part, text=""))
        opened = self._open[index] = _Open(part, message.number, len(message.content))
        message.content.append(empty)
        frames += self._at(opened, "response.content_part.added", "msg", part=empty)
        return frames + self._more(opened, part.text)

    def _at(self, opened: _Open, type: str, prefix: str, **members: object) -> bytes:  # noqa: A002 - the member's name
        """An event about a place in an item."""
        place: dict[str, object] = {"item_id": self._make.id(prefix, opened.number), "output_index": opened.number}
        if prefix == "rs":
            place["item_id"] = self._reasoning_id(opened)
            place["summary_index" if self._summary(opened) else "content_index"] = 0
        elif prefix == "msg":
            place["content_index"] = opened.at
        return self._event(type, **place, **members)

    def _reasoning_id(self, opened: _Open) -> str:
        return (
            opened.part.id
            if isinstance(opened.part, Reasoning) and opened.part.id
            else self._make.id("rs", opened.number)
        )

    def _summary(self, opened: _Open) -> bool:
        return isinstance(opened.part, Reasoning) and self._make.as_summary(opened.part)

    def _more(self, opened: _Open, text: str) -> bytes:
        if not text:
            return b""
        first = not opened.pieces
        opened.pieces.append(text)
        match opened.part:
            case Text():
                return self._at(opened, "response.output_text.delta", "msg", delta=text, logprobs=[])
            case Refusal():
                return self._at(opened, "response.refusal.delta", "msg", delta=text)
            case ToolCall() as call:
                return self._more_arguments(opened, call, text)
            case _:
                return self._more_reasoning(opened, text, first=first)

    def _more_arguments(self, opened: _Open, call: ToolCall, text: str) -> bytes:
        if call.custom:
            return self._at(opened, "response.custom_tool_call_input.delta", "ctc", delta=text)
        if self._make.is_custom(call):
            return b""  # a custom tool's input comes as JSON from elsewhere: it is read when it is whole
        return self._at(opened, "response.function_call_arguments.delta", "fc", delta=text)

    def _more_reasoning(self, opened: _Open, text: str, *, first: bool) -> bytes:
        if self._summary(opened):
            part = {"type": "summary_text", "text": ""}
            before = self._at(opened, "response.reasoning_summary_part.added", "rs", part=part) if first else b""
            return before + self._at(opened, "response.reasoning_summary_text.delta", "rs", delta=text)
        part = {"type": "reasoning_text", "text": ""}
        before = self._at(opened, "response.content_part.added", "rs", part=part) if first else b""
        return before + self._at(opened, "response.reasoning_text.delta", "rs", delta=text)

    def _finish(self, opened: _Open) -> bytes:
        match opened.part:
            case Text() | Refusal() as part:
                return self._finish_text(opened, replace(part, text=opened.text))
            case ToolCall() as call:
                return self._finish_call(opened, call)
            case Reasoning() as part:
                return self._finish_reasoning(opened, replace(part, text=opened.text))
            case _:
                return b""

    def _finish_text(self, opened: _Open, part: Text | Refusal) -> bytes:
        content = content_of(part)
        if self._message is not None and self._message.number == opened.number:
            self._message.content[opened.at] = content
            self._message.last = part if isinstance(part, Text) else None
        if isinstance(part, Text):
            done = self._at(opened, "response.output_text.done", "msg", text=part.text, logprobs=[])
        else:
            done = self._at(opened, "response.refusal.done", "msg", refusal=part.text)
        return done + self._at(opened, "response.content_part.done", "msg", part=content)

    def _finish_call(self, opened: _Open, call: ToolCall) -> bytes:
        text = opened.text
        if not self._make.is_custom(call):
            frames = b"" if text else self._more(opened, "{}")
            text = text or "{}"
            frames += self._at(opened, "response.function_call_arguments.done", "fc", arguments=text)
        else:
            frames = b""
            if not call.custom:
                text = custom_input(text)
                frames = self._at(opened, "response.custom_tool_call_input.delta", "ctc", delta=text)
            frames += self._at(opened, "response.custom_tool_call_input.done", "ctc", input=text)
        frames += self._done(opened.number, self._make.call(opened.number, call, text, "completed"))
        return frames + self._carry(call)

    def _finish_reasoning(self, opened: _Open, part: Reasoning) -> bytes:
        frames = b""
        if part.text and self._summary(opened):
            frames = self._at(opened, "response.reasoning_summary_text.done", "rs", text=part.text)
            wire = {"type": "summary_text", "text": part.text}
            frames += self._at(opened, "response.reasoning_summary_part.done", "rs", part=wire)
        elif part.text:
            frames = self._at(opened, "response.reasoning_text.done", "rs", text=part.text)
            wire = {"type": "reasoning_text", "text": part.text}
            frames += self._at(opened, "response.content_part.done", "rs", part=wire)
        return frames + self._done(opened.number, self._make.reasoning(opened.number, part))
