"""The neutral conversation: what every dialect is decoded into and encoded from.

A message is a role and parts. Tool results are parts of a user message, in front of its other
parts; system text in mid-conversation is a message of role `system`. Nothing here does I/O.

Values that hold nothing but values are `gc=False`: there are no cycles in them for the collector to look for.
"""

from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.errors import UpstreamError

Role: TypeAlias = Literal["system", "user", "assistant"]


class Origin(Struct, frozen=True, gc=False):
    """Who makes or made a reply: a configured provider's name and the upstream model's name."""

    provider: str
    model: str


class Signature(Struct, frozen=True, gc=False):
    """An opaque proof that a provider wants back: thinking and thought signatures, encrypted reasoning.

    Only the origin that made it understands it; `origin` is None where that is not known.
    """

    value: str
    dialect: str
    origin: Origin | None = None

    def fits(self, dialect: str, target: Origin) -> bool:
        """Whether this may be sent to `target`: never to anyone but its maker."""
        return self.dialect == dialect and self.origin == target


# ---------------------------------------------------------------- parts


class Part(Struct, frozen=True, gc=False, tag_field="type", kw_only=True, omit_defaults=True):
    """One piece of a message."""


class Text(Part, frozen=True, tag="text"):
    """Plain text. Gemini may sign it."""

    text: str
    signature: Signature | None = None


class Blob(Part, frozen=True, kw_only=True):
    """Content that is not text: exactly one of `data` (base64), `url` and `file_id` is set."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""


class Image(Blob, frozen=True, tag="image"):
    """An image; `detail` is OpenAI's low, high or auto."""

    detail: str = ""


class File(Blob, frozen=True, tag="file"):
    """A document such as a PDF or a text file."""

    name: str = ""


class Audio(Blob, frozen=True, tag="audio"):
    """Sound; `media_type` is audio/wav, audio/mp3 and so on."""


class ToolCall(Part, frozen=True, tag="tool_call"):
    """The model wants a tool run. `arguments` is the JSON text as the model wrote it.

    A `custom` tool (OpenAI) takes free text instead of JSON: then `arguments` is that text.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    signature: Signature | None = None


class ToolResult(Part, frozen=True, tag="tool_result"):
    """What a tool answered. `name` is the tool's, where the dialect says it (Gemini must)."""

    call_id: str
    content: tuple["AnyPart", ...]
    name: str = ""
    is_error: bool = False
    custom: bool = False


class Reasoning(Part, frozen=True, tag="reasoning"):
    """Thinking. `text` may be empty where the provider shows none and only `signature` counts.

    `redacted`: the text is withheld and `signature` carries it encrypted (Anthropic's redacted_thinking).
    `summary`: the text is a summary (OpenAI Responses, Gemini), not the thinking itself.
    """

    text: str = ""
    signature: Signature | None = None
    redacted: bool = False
    summary: bool = False
    id: str = ""


class Refusal(Part, frozen=True, tag="refusal"):
    """The model declines, in a field of its own (OpenAI)."""

    text: str


class Opaque(Part, frozen=True, tag="opaque"):
    """Content that only its own dialect knows, kept as the JSON it came in: web searches, citations' hosts."""

    dialect: str
    kind: str
    raw: Raw


AnyPart: TypeAlias = Text | Image | File | Audio | ToolCall | ToolResult | Reasoning | Refusal | Opaque


class Message(Struct, frozen=True, gc=False):
    """Who speaks, and what."""

    role: Role
    parts: tuple[AnyPart, ...]


def merged(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The same conversation with neighbours of one role made one message; within a user's, tool results first."""
    groups: list[Message] = []
    role = ""
    for message in messages:
        if message.role == role:
            parts = groups[-1].parts + message.parts
            if message.role == "user":
                parts = tuple(sorted(parts, key=lambda part: not isinstance(part, ToolResult)))
            groups[-1] = Message(message.role, parts)
        else:
            groups.append(message)
            role = message.role
    return tuple(groups)


class Said(Struct, frozen=True, gc=False, array_like=True):
    """Messages as they were said: each the JSON of `dialect` (rule S4).

    `origin` is the provider and model of a reply, None for what a client said.
    """

    dialect: str
    messages: tuple[bytes, ...]
    origin: Origin | None = None


# ---------------------------------------------------------------- a prompt


class Tool(Struct, frozen=True, kw_only=True):
    """A tool the model may call.

    `parameters` is the JSON schema as sent. A `custom` tool has `parameters` empty and its `format` as sent.
    A tool that only one dialect knows (web search, computer use) has its JSON in `raw` and `dialect` set.
    """

    name: str
    description: str = ""
    parameters: Raw = Raw(b"")
    strict: bool | None = None
    custom: bool = False
    format: Raw = Raw(b"")
    dialect: str = ""
    raw: Raw = Raw(b"")


class ToolChoice(Struct, frozen=True):
    """`auto`, `none`, `required`, or one tool by name (`mode` is then `tool`)."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str = ""


Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Thinking(Struct, frozen=True, kw_only=True):
    """How much to reason. `effort` and `budget` (tokens) are what the client said; both may be absent.

    `adaptive`: the model decides. `visible`: the client wants to see the thinking or its summary.
    """

    effort: Effort | None = None
    budget: int | None = None
    adaptive: bool = False
    visible: bool | None = None


class Format(Struct, frozen=True, kw_only=True):
    """Structured output: any JSON object, or JSON that fits `schema`."""

    kind: Literal["json", "schema"]
    name: str = ""
    description: str = ""
    schema: Raw = Raw(b"")
    strict: bool | None = None


class Prompt(Struct, frozen=True, kw_only=True):
    """A request in neutral form. `extras` are members that only the client's dialect knows, for the report."""

    model: str
    messages: tuple[Message, ...] = ()
    system: tuple[AnyPart, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    thinking: Thinking | None = None
    format: Format | None = None
    user: str = ""
    cache_key: str = ""
    stream: bool = False
    extras: tuple[str, ...] = ()


# ---------------------------------------------------------------- a reply


class Stop(StrEnum):
    """Why a reply ended."""

    END = "end"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    STOP_SEQUENCE = "stop_sequence"
    FILTERED = "filtered"
    REFUSED = "refused"
    PAUSED = "paused"
    CONTEXT = "context"


class Usage(Struct, frozen=True, gc=False, array_like=True):
    """Tokens. `input` is the whole prompt, with `cached` and `cache_write`; `output` includes `reasoning`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


class Reply(Struct, frozen=True, gc=False, kw_only=True):
    """A whole reply. `said` is its message in the provider's own JSON, fit for a history; empty: to be made."""

    id: str = ""
    model: str = ""
    parts: tuple[AnyPart, ...] = ()
    stop: Stop | None = None
    stop_sequence: str = ""
    usage: Usage | None = None
    said: tuple[bytes, ...] = ()


# ---------------------------------------------------------------- a reply, as it comes


class Begin(Struct, frozen=True, gc=False):
    """The stream has started; nothing of the content is known yet."""

    id: str = ""
    model: str = ""
    usage: Usage | None = None


class PartBegin(Struct, frozen=True, gc=False):
    """Part `index` begins in this state: usually empty, complete where a dialect sends it at once."""

    index: int
    part: AnyPart


class Delta(Struct, frozen=True, gc=False):
    """More of part `index`: text of a text, reasoning or refusal; arguments of a tool call."""

    index: int
    text: str


class Signed(Struct, frozen=True, gc=False):
    """Part `index` is signed."""

    index: int
    signature: Signature


class PartEnd(Struct, frozen=True, gc=False):
    """Part `index` is complete."""

    index: int


class Stopped(Struct, frozen=True, gc=False):
    """Why the reply ends; no content follows."""

    stop: Stop
    sequence: str = ""


class Spent(Struct, frozen=True, gc=False):
    """Token counts so far; a later one replaces an earlier one."""

    usage: Usage


class End(Struct, frozen=True, gc=False):
    """The reply is complete; exactly one, and nothing after it."""


class Failed(Struct, frozen=True):
    """The provider reported an error inside the stream; nothing follows."""

    error: UpstreamError


Event: TypeAlias = Begin | PartBegin | Delta | Signed | PartEnd | Stopped | Spent | End | Failed


class ReplyBuilder:
    """Collects the events of one stream into a Reply, up to `limit` characters; beyond it is `overflown`."""

    def __init__(self, limit: int = 1 << 62) -> None:
        self._limit = self._room = limit
        self.overflown = False
        self._parts: dict[int, AnyPart] = {}
        self._deltas: dict[int, list[str]] = {}
        self._open: set[int] = set()
        self._head = Begin()
        self.stopped: Stopped | None = None
        self.usage: Usage | None = None
        self.ended = False

    def add(self, event: Event) -> None:  # noqa: C901 - one case an event
        """Take the next event."""
        match event:
            case Delta(index, text):
                self._room -= len(text)
                if self._room >= 0:
                    self._deltas[index].append(text)
                else:
                    self.overflown = True
            case PartBegin(index, part):
                self._parts[index] = part
                self._deltas[index] = []
                self._open.add(index)
            case PartEnd(index):
                self._open.discard(index)
            case Signed(index, signature):
                part = self._parts[index]
                if isinstance(part, Text | ToolCall | Reasoning):
                    self._parts[index] = replace(part, signature=signature)
            case Stopped():
                self.stopped = event
            case Spent(usage):
                self.usage = usage
            case Begin():
                self._head = event
                self.usage = event.usage or self.usage
            case End():
                self.ended = True
            case Failed():
                pass

    @property
    def said(self) -> int:
        """Characters of text so far, also of what was not collected."""
        return self._limit - self._room

    @property
    def has_content(self) -> bool:
        """Whether anything was said yet."""
        return bool(self._parts)

    def reply(self) -> Reply:
        """Everything so far, finished or not."""
        return self._reply(sorted(self._parts))

    def cut(self) -> Reply:
        """What of an unfinished reply may be kept (rule S8): no half tool call, no unsigned thinking, no empty part."""
        keep = [index for index in sorted(self._parts) if self._survives_cut(index)]
        return self._reply(keep)

    def _survives_cut(self, index: int) -> bool:
        match self._whole(index):
            case ToolCall() | Opaque():
                return index not in self._open
            case Reasoning(signature=signature):
                return signature is not None and index not in self._open
            case Text(text=text) | Refusal(text=text):
                return bool(text)
            case _:
                return True

    def _whole(self, index: int) -> AnyPart:
        part = self._parts[index]
        more = "".join(self._deltas[index])
        if not more:
            return part
        match part:
            case Text() | Reasoning() | Refusal():
                return replace(part, text=part.text + more)
            case ToolCall():
                return replace(part, arguments=part.arguments + more)
            case _:
                return part

    def _reply(self, indexes: list[int]) -> Reply:
        return Reply(
            id=self._head.id,
            model=self._head.model,
            parts=tuple(self._whole(index) for index in indexes),
            stop=self.stopped.stop if self.stopped else None,
            stop_sequence=self.stopped.sequence if self.stopped else "",
            usage=self.usage,
        )


def events_of(reply: Reply) -> list[Event]:
    """A whole reply as a stream: what a replay, or a provider that cannot stream, is sent as."""
    events: list[Event] = [Begin(reply.id, reply.model, reply.usage)]
    for index, part in enumerate(reply.parts):
        events += _part_events(index, part)
    events.append(Stopped(reply.stop or Stop.END, reply.stop_sequence))
    if reply.usage is not None:
        events.append(Spent(reply.usage))
    events.append(End())
    return events


def _part_events(index: int, part: AnyPart) -> list[Event]:
    match part:
        case Text(text=text) | Refusal(text=text):
            whole: list[Event] = [PartBegin(index, replace(part, text="")), Delta(index, text)]
        case Reasoning(text=text, signature=signature):
            whole = [PartBegin(index, replace(part, text="", signature=None)), Delta(index, text)]
            whole += [Signed(index, signature)] if signature else []
        case ToolCall(arguments=arguments):
            whole = [PartBegin(index, replace(part, arguments="")), Delta(index, arguments)]
        case _:
            whole = [PartBegin(index, part)]
    return [*whole, PartEnd(index)]


# ---------------------------------------------------------------- signatures that travel

# A client of another dialect keeps a signature for us without knowing whose it is. So it is
# wrapped, in base64 (Gemini's SDK insists on it), with its dialect and origin; the prefix is a
# multiple of three bytes long, so that its own base64 can be searched for.
_PREFIX = b"gateway1:"
SIGNATURE_MARK = b64encode(_PREFIX)


def wrap_signature(signature: Signature) -> str:
    """A signature as a client of another dialect is given it."""
    return b64encode(_PREFIX + msgspec.json.encode(signature)).decode()


def unwrap_signature(text: str, dialect: str, origin: Origin | None = None) -> Signature:
    """A signature as it came: one that was wrapped, or the `dialect`'s own, from `origin`."""
    if text.startswith(SIGNATURE_MARK.decode()):
        try:
            return msgspec.json.decode(b64decode(text)[len(_PREFIX) :], type=Signature)
        except (BadBase64, msgspec.MsgspecError, ValueError):
            pass
    return Signature(text, dialect, origin)
