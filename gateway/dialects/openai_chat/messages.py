"""Messages, both ways.

Chat has one message for each tool result; here they are parts of one user message, with the user's words behind
them. Legacy `function` messages have no ids: a call gets one made of the function's name and of how often it was
called before in the same list, and its result finds it in the same way.
"""

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from msgspec import Raw

from gateway.conversation import (
    AnyPart,
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Origin,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    merged,
)
from gateway.dialects.dialect import EncodedMessages
from gateway.dialects.openai_chat.parts import decode_content, decode_image, encode_content
from gateway.dialects.openai_chat.reasoning import decode_extra, decode_reasoning, encode_extra, encode_reasoning
from gateway.dialects.openai_chat.wire import (
    NAME,
    UNREADABLE,
    Call,
    Function,
    WireMessage,
    arguments_of,
    encode,
    invalid,
    read,
    to_message,
    to_messages,
    to_raws,
)

_LONGEST_ID = 40
"""OpenAI refuses longer ids of tool calls."""


# ---------------------------------------------------------------- decoding


def decode_messages(messages: Sequence[bytes | Raw], origin: Origin | None = None) -> tuple[Message, ...]:
    """Messages from their JSON. Raises GatewayError (INVALID) with the message at fault."""
    try:
        wires = [to_message.decode(raw) for raw in messages]
    except UNREADABLE:
        wires = [read(to_message, raw, f"messages[{i}]") for i, raw in enumerate(messages)]
    if len(wires) == 1 and (wire := wires[0]).role == "user" and isinstance(wire.content, str) and wire.content:
        return (Message("user", (Text(wire.content),)),)  # what most requests of a session have
    return read_messages(wires, origin)


def read_wires(messages: Raw) -> list[WireMessage]:
    """The members of the messages of a request. Raises GatewayError (INVALID) with the message at fault."""
    try:
        return to_messages.decode(messages)
    except UNREADABLE:
        raws = read(to_raws, messages, "messages")
        return [read(to_message, raw, f"messages[{i}]") for i, raw in enumerate(raws)]


def read_messages(wires: Sequence[WireMessage], origin: Origin | None = None, skip: int = 0) -> tuple[Message, ...]:
    """Messages from their members; the first ones are not wanted. Raises GatewayError (INVALID)."""
    reader = MessageReader(origin)
    for i in range(skip, len(wires)):
        reader.add(wires[i], f"messages[{i}]")
    return tuple(reader.messages)


class MessageReader:
    """Reads messages in order; knows the calls it has seen."""

    def __init__(self, origin: Origin | None) -> None:
        self.messages: list[Message] = []
        self._origin = origin
        self._custom: set[str] = set()
        self._called: dict[str, int] = {}
        self._answered: dict[str, int] = {}
        self._after_results = False

    def add(self, message: WireMessage, param: str) -> None:
        """Take the next message."""
        match message.role:
            case "tool" | "function":
                self._append("user", [self._result(message, param)], joins=self._after_results)
                self._after_results = True
                return
            case "user":
                self._append("user", decode_content(message.content, param), joins=self._after_results)
            case "system" | "developer":
                self._append("system", decode_content(message.content, param), joins=False)
            case "assistant":
                self._append("assistant", self.reply_parts(message, param), joins=False)
            case role:
                raise invalid(f"{param}.role: there is no role {role!r}.", f"{param}.role")
        self._after_results = False

    def _append(self, role: Any, parts: list[AnyPart], *, joins: bool) -> None:  # noqa: ANN401 - a Role
        if joins:
            parts = [*self.messages.pop().parts, *parts]
        self.messages.append(Message(role, tuple(parts)))

    def reply_parts(self, message: WireMessage, param: str) -> list[AnyPart]:
        """What an assistant said: thinking first, then words, then calls."""
        parts: list[AnyPart] = [*decode_reasoning(message, self._origin)]
        parts += decode_content(message.content, param)
        parts = _sign_text(parts, message, self._origin)
        if message.refusal:
            parts.append(Refusal(message.refusal))
        if message.audio is not None and message.audio.id:
            parts.append(Opaque(dialect=NAME, kind="audio", raw=Raw(encode({"id": message.audio.id}))))
        parts += [decode_image(image.image_url) for image in message.images or ()]
        parts += [self._call(call, f"{param}.tool_calls[{i}]") for i, call in enumerate(message.tool_calls or ())]
        if message.function_call is not None and not message.tool_calls:
            parts.append(self._legacy_call(message.function_call))
        return parts

    def _call(self, call: Call, param: str) -> ToolCall:
        signature = decode_extra(call.extra_content, self._origin)
        call_id = call.id or ""
        if call.custom is not None:
            self._custom.add(call_id)
            name, text = call.custom.name or "", call.custom.input or ""
            return ToolCall(id=call_id, name=name, arguments=text, custom=True, signature=signature)
        if call.function is None or not call.function.name:
            raise invalid(f"{param}: a call has a function with a name, or a custom tool.", param)
        return ToolCall(id=call_id, name=call.function.name, arguments=arguments_of(call.function), signature=signature)

    def _legacy_call(self, function: Function) -> ToolCall:
        name = function.name or ""
        number = self._called[name] = self._called.get(name, 0) + 1
        return ToolCall(id=_legacy_id(name, number), name=name, arguments=arguments_of(function))

    def _result(self, message: WireMessage, param: str) -> ToolResult:
        content = tuple(decode_content(message.content, param))
        if message.role == "function":
            name = message.name or ""
            number = self._answered[name] = self._answered.get(name, 0) + 1
            return ToolResult(call_id=_legacy_id(name, number), content=content, name=name)
        if not message.tool_call_id:
            raise invalid(f"{param}.tool_call_id is missing.", f"{param}.tool_call_id")
        call_id = message.tool_call_id
        return ToolResult(call_id=call_id, content=content, name=message.name or "", custom=call_id in self._custom)


def _legacy_id(name: str, number: int) -> str:
    return f"call_{name}" if number == 1 else f"call_{name}_{number}"


def _sign_text(parts: list[AnyPart], message: WireMessage, origin: Origin | None) -> list[AnyPart]:
    signature = decode_extra(message.extra_content, origin)
    if signature is None:
        return parts
    if parts and isinstance(parts[-1], Text):
        return [*parts[:-1], Text(parts[-1].text, signature=signature)]
    return [*parts, Text("", signature=signature)]


def decode_system(system: Sequence[bytes | Raw]) -> tuple[AnyPart, ...]:
    """Leading system and developer messages, as parts."""
    return tuple(part for message in decode_messages(system) for part in message.parts) if system else ()


# ---------------------------------------------------------------- encoding


def encode_messages(messages: Sequence[Message], target: Origin) -> EncodedMessages:
    """Messages to JSON, each tool result directly behind its call, wherever it was said."""
    writer = _Writer(merged(messages), target)
    return EncodedMessages(tuple(writer.run()), tuple(sorted(writer.dropped)))


def encode_system(system: Sequence[AnyPart]) -> tuple[bytes, ...]:
    """A system prompt as one message; none if it is empty.

    The role is `system`: OpenAI takes it for `developer` where a model wants that, compatible servers know no other.
    """
    content = _content(system, set())
    return (encode({"role": "system", "content": content}),) if content else ()


class _Writer:
    def __init__(self, messages: Sequence[Message], target: Origin) -> None:
        self.dropped: set[str] = set()
        self._messages = messages
        self._target = target
        self._results: dict[str, deque[ToolResult]] = {}
        for message in messages:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    self._results.setdefault(part.call_id, deque()).append(part)
        self._written: set[int] = set()
        self._shown: list[AnyPart] = []  # images and files that tools answered: Chat's tool messages hold text alone

    def run(self) -> list[bytes]:
        out: list[bytes] = []
        for message in self._messages:
            if message.role == "assistant":
                out += self._flush()
                out += self._assistant(message)
            elif message.role == "system":
                content = _content(message.parts, self.dropped)
                out += [encode({"role": "system", "content": content})] if content else []
            else:
                out += self._user(message)
        return out + self._flush()

    def _user(self, message: Message) -> list[bytes]:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        out = [self._tool(result) for result in results if id(result) not in self._written]
        said = [part for part in message.parts if not isinstance(part, ToolResult)]
        return out + self._flush(said)

    def _flush(self, said: Sequence[AnyPart] = ()) -> list[bytes]:
        if not said and not self._shown:
            return []
        content = _content([*self._shown, *said], self.dropped)
        self._shown = []
        return [encode({"role": "user", "content": content})] if content else []

    def _assistant(self, message: Message) -> list[bytes]:
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        members = self._said(message, calls=bool(calls))
        if calls:
            members["tool_calls"] = [self._call(call) for call in calls]
        if len(members) == 1:  # nothing of it can be said here
            return []
        # DeepSeek refuses a message without the member, even where it only calls tools.
        members.setdefault("content", None)
        out = [encode(members)]
        for call in calls:
            waiting = self._results.get(call.id, deque())
            while waiting:  # one that was written before answers an earlier call of that id
                result = waiting.popleft()
                if id(result) not in self._written:
                    out.append(self._tool(result))
                    break
        return out

    def _said(self, message: Message, *, calls: bool) -> dict[str, Any]:
        text = refusal = ""
        thoughts: list[Reasoning] = []
        items: list[Raw] = []
        extra: dict[str, Any] = {}
        for part in message.parts:
            match part:
                case Text():
                    text += part.text
                    extra |= encode_extra(part.signature, self._target)
                case Refusal():
                    refusal += part.text
                case Reasoning():
                    thoughts.append(part)
                case Opaque(dialect=dialect, kind="audio", raw=raw) if dialect == NAME:
                    extra["audio"] = raw
                case _:
                    items += self._item(part)
        members: dict[str, Any] = {"role": "assistant"}
        if items or text:
            members["content"] = _with_items(text, items) if items else text
        if refusal:
            members["refusal"] = refusal
        members |= extra
        if thoughts:
            members |= self._thinking(thoughts, alone=len(members) == 1 and not calls)
        return members

    def _item(self, part: AnyPart) -> list[Raw]:
        match part:
            case Opaque(dialect=dialect, raw=raw) if dialect == NAME:
                return [raw]
            case Opaque(kind=kind):
                self.dropped.add(f"content.opaque:{kind}")
            case Image() | File() | Audio():
                self.dropped.add(f"content.{type(part).__name__.lower()}")
        return []

    def _thinking(self, thoughts: list[Reasoning], *, alone: bool) -> dict[str, Any]:
        thinking, complete = encode_reasoning(thoughts, self._target)
        if not complete:
            self.dropped.add("reasoning")
        return {} if alone else thinking

    def _call(self, call: ToolCall) -> dict[str, Any]:
        extra = encode_extra(call.signature, self._target)
        if call.custom:
            custom = {"name": call.name, "input": call.arguments}
            return {"id": short_id(call.id), "type": "custom", "custom": custom, **extra}
        function = {"name": call.name, "arguments": call.arguments if call.arguments.strip() else "{}"}
        return {"id": short_id(call.id), "type": "function", "function": function, **extra}

    def _tool(self, result: ToolResult) -> bytes:
        self._written.add(id(result))
        if result.is_error:
            self.dropped.add("tool_result.is_error")
        words = [part for part in result.content if isinstance(part, Text)]
        shown = [part for part in result.content if not isinstance(part, Text)]
        self._shown += shown
        content = _content(words, self.dropped)
        if shown and not content:
            content = "The result is in the next message of the user."
        return encode({"role": "tool", "tool_call_id": short_id(result.call_id), "content": content})


def short_id(call_id: str) -> str:
    """An id that OpenAI accepts: a longer one becomes its digest, in the call and in its result alike."""
    if len(call_id) <= _LONGEST_ID:
        return call_id
    return f"call_{sha256(call_id.encode()).hexdigest()[:32]}"


def _with_items(text: str, items: list[Raw]) -> list[Any]:
    return [{"type": "text", "text": text}, *items] if text else items


def _content(parts: Sequence[AnyPart], dropped: set[str]) -> str | list[Any]:
    """One text as a string, which every server takes; anything else as a list."""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    match encode_content(list(parts), dropped):
        case []:
            return ""
        case [{"type": "text", "text": str(text), **rest}] if not rest:
            return text
        case items:
            return items
