"""Items of `input` to neutral messages, and the way back.

Consecutive items of the assistant are one message. Results of tools are one message with the user's words that
follow them; other messages stay apart as they were sent.
"""

from collections.abc import Iterable, Sequence

from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import (
    AnyPart,
    Message,
    Opaque,
    Origin,
    Reasoning,
    Refusal,
    Role,
    Signature,
    Text,
    ToolCall,
    ToolResult,
)
from gateway.dialects.dialect import EncodedMessages
from gateway.dialects.openai_responses.content import INNER, encode_output, encode_parts
from gateway.dialects.openai_responses.items import PHASE, Item, decode_item, made_id, reasoning_item
from gateway.dialects.openai_responses.names import shortened, split
from gateway.dialects.openai_responses.wire import NAME, TYPED, UNREADABLE, invalid, json


def decode_messages(messages: Sequence[bytes], origin: Origin | None = None) -> tuple[Message, ...]:
    """Messages from items. Raises GatewayError (INVALID) that names the item."""
    gatherer = _Gatherer()
    for number, raw in enumerate(messages):
        try:
            gatherer.add(decode_item(raw, origin))
        except UNREADABLE as exc:
            raise invalid(exc, f"input[{number}]") from None
    return gatherer.messages()


class _Gatherer:
    """Puts together what belongs to one message."""

    def __init__(self) -> None:
        self._done: list[Message] = []
        self._role: Role = "system"
        self._parts: list[AnyPart] = []
        self._open = False

    def add(self, item: Item) -> None:
        if item.carried is not None:
            self._sign(item.carried)
            return
        if not (self._open and item.role == self._role):
            self._close()
        self._role = item.role
        self._parts += item.parts
        self._open = item.role == "assistant" or not item.whole

    def _sign(self, signature: Signature) -> None:
        last = self._parts[-1] if self._parts and self._role == "assistant" else None
        if isinstance(last, Text | ToolCall):
            self._parts[-1] = replace(last, signature=signature)

    def _close(self) -> None:
        if self._parts:
            self._done.append(Message(self._role, tuple(self._parts)))
        self._parts = []

    def messages(self) -> tuple[Message, ...]:
        self._close()
        return tuple(self._done)


def encode_messages(messages: Sequence[Message], target: Origin) -> EncodedMessages:
    """Messages to items."""
    dropped: set[str] = set()
    items = encode_items(messages, target, dropped)
    return EncodedMessages(tuple(bytes(item) for item in items), tuple(sorted(dropped)))


def encode_items(
    messages: Iterable[Message], target: Origin, dropped: set[str], calls: dict[str, bool] | None = None
) -> list[Raw]:
    """Messages to items. `calls` are earlier calls by id: whether each is of a custom tool."""
    writer = _Writer(target, dropped, dict(calls or {}))
    for message in messages:
        writer.write(message)
    return writer.items


def calls_in(items: Iterable[Raw | bytes]) -> dict[str, bool]:
    """The tool calls among items by id: whether each is of a custom tool. What cannot be read is no call."""
    calls: dict[str, bool] = {}
    for raw in items:
        if b"tool_call" not in bytes(raw) and b"function_call" not in bytes(raw):
            continue
        try:
            typed = TYPED.decode(raw)
        except UNREADABLE:
            continue
        if typed.type in ("function_call", "custom_tool_call") and typed.call_id:
            calls[typed.call_id] = typed.type == "custom_tool_call"
    return calls


class _Writer:
    """Writes messages as items, in order."""

    def __init__(self, target: Origin, dropped: set[str], calls: dict[str, bool]) -> None:
        self.items: list[Raw] = []
        self._target = target
        self._dropped = dropped
        self._calls = calls

    def write(self, message: Message) -> None:
        if message.role == "assistant":
            for part in message.parts:
                self._assistant(part)
            return
        content: list[AnyPart] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                self._result(part)
            elif isinstance(part, Opaque) and part.dialect == NAME and not part.kind.startswith(INNER):
                self.items.append(part.raw)
            else:
                content.append(part)
        self._content(message.role, content)

    def _content(self, role: Role, content: list[AnyPart]) -> None:
        match content:
            case [Text(text=text)] if text:
                self._put({"type": "message", "role": role, "content": text})
            case _:
                if inner := encode_parts(content, self._dropped):
                    self._put({"type": "message", "role": role, "content": inner})

    def _put(self, item: dict[str, object]) -> None:
        self.items.append(json(item))

    def _assistant(self, part: AnyPart) -> None:
        # Each text is a message of its own with a string: the one form of an assistant's words that needs no id,
        # and so is the same wherever it stands.
        match part:
            case Text(text=text):
                self._words(text, part.signature)
            case Refusal(text=text):
                self._words([{"type": "refusal", "refusal": text}])
            case ToolCall():
                self._call(part)
            case Reasoning():
                self._reasoning(part)
            case Opaque(dialect=dialect, kind=kind, raw=raw) if dialect == NAME:
                if kind.startswith(INNER):
                    self._words([raw])
                else:
                    self.items.append(raw)
            case Opaque(kind=kind):
                self._dropped.add(f"content.opaque:{kind}")
            case _:
                self._dropped.add(f"content.{type(part).__struct_config__.tag}")

    def _words(self, content: object, signature: Signature | None = None) -> None:
        item: dict[str, object] = {"type": "message", "role": "assistant", "content": content}
        if signature and signature.fits(NAME, self._target) and signature.value.startswith(PHASE):
            item["phase"] = signature.value.removeprefix(PHASE)
        if content:
            self._put(item)

    def _call(self, call: ToolCall) -> None:
        self._calls[call.id] = call.custom
        namespace, name = split(call.name)
        kind = "custom_tool_call" if call.custom else "function_call"
        item: dict[str, object] = {"type": kind, "call_id": shortened(call.id), "name": name}
        if namespace:
            item["namespace"] = namespace
        if call.custom:
            item["input"] = call.arguments
        else:
            item["arguments"] = call.arguments or "{}"
        self._put(item)

    def _result(self, result: ToolResult) -> None:
        custom = self._calls.get(result.call_id, result.custom)  # the vendor insists that both be of one kind
        kind = "custom_tool_call_output" if custom else "function_call_output"
        if result.is_error:
            self._dropped.add("tool_result.is_error")
        output = encode_output(result.content, self._dropped)
        self._put({"type": kind, "call_id": shortened(result.call_id), "output": output})

    def _reasoning(self, part: Reasoning) -> None:
        # Without its own proof the vendor refuses reasoning: it is not kept there, so an id alone says nothing.
        signature = part.signature
        if signature is not None and signature.fits(NAME, self._target):
            id = part.id or made_id("rs", signature.value + part.text)
            self._put(reasoning_item(id, part, as_summary=part.summary, encrypted=signature.value))
