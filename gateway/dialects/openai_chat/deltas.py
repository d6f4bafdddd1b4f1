"""The deltas of a stream to parts."""

import msgspec
from msgspec import Raw

from gateway.conversation import (
    AnyPart,
    Delta,
    Event,
    Opaque,
    Origin,
    PartBegin,
    PartEnd,
    Reasoning,
    Refusal,
    Signature,
    Signed,
    Stop,
    Text,
    ToolCall,
)
from gateway.dialects.openai_chat.parts import decode_image
from gateway.dialects.openai_chat.reasoning import PLAIN, decode_detail, decode_extra
from gateway.dialects.openai_chat.replies import decode_stop, made_id
from gateway.dialects.openai_chat.wire import (
    NAME,
    Call,
    ContentPart,
    arguments_of,
    encode,
    is_given,
    to_detail,
)
from gateway.dialects.openai_chat.wire import Delta as WireDelta

_to_parts = msgspec.json.Decoder(list[ContentPart])


class _Call:
    """A call on its way: `part` is its index among the parts, None until its name is known."""

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.held = ""
        self.custom = False
        self.part: int | None = None
        self.signature: Signature | None = None


class PartWriter:
    """Turns deltas into parts: one is open at a time, and a delta of another kind closes it.

    A piece of a call that another call has interrupted still becomes a Delta of its part.
    """

    def __init__(self, origin: Origin) -> None:
        self.fallback = ""
        self.any = False
        self._origin = origin
        self._count = 0
        self._calls: dict[int, _Call] = {}
        self._all: list[_Call] = []
        self._kinds: list[AnyPart] = []
        self._open: AnyPart | None = None
        self._plain: list[str] = []
        self._member = ""
        self._detail: dict[str, Raw] = {}
        self._audio = False

    def add(self, delta: WireDelta, out: list[Event]) -> None:
        """Take what one chunk adds."""
        if delta.reasoning_details:
            for item in delta.reasoning_details:
                self._add_detail(item, out)
        elif delta.reasoning_content:
            self._think("reasoning_content", delta.reasoning_content, out)
        elif delta.reasoning:
            self._think("reasoning", delta.reasoning, out)
        if delta.content:
            self._content(delta.content, out)
        if delta.refusal:
            self._say(Refusal(""), delta.refusal, out)
        for call in delta.tool_calls or ():
            self._call(call, out)
        if delta.function_call is not None:
            self._call(Call(index=0, function=delta.function_call), out)
        if delta.audio is not None or delta.images or delta.extra_content is not None:
            self._rare(delta, out)

    def stop(self, reason: str, met: str | int | None, out: list[Event]) -> tuple[Stop, str]:
        """Close what is open; why it ended."""
        for call in self._all:
            if call.part is None:  # its name never came
                self._begin_call(call, out)
        self._close(out)
        return decode_stop(reason, met, self._kinds)

    # -- text and thinking

    def _content(self, content: str | list[ContentPart], out: list[Event]) -> None:
        if isinstance(content, str):
            self._say(Text(""), content, out)
            return
        for part in content:  # Mistral's thinking models
            if part.type == "thinking":
                texts = _to_parts.decode(part.thinking) if is_given(part.thinking) else []
                self._say(Reasoning(), "".join(text.text or "" for text in texts), out)
            elif part.text:
                self._say(Text(""), part.text, out)

    def _say(self, part: AnyPart, text: str, out: list[Event]) -> None:
        if type(self._open) is not type(part) or self._member or self._detail:
            self._begin(part, out)
        out.append(Delta(self._count - 1, text))

    def _think(self, member: str, text: str, out: list[Event]) -> None:
        if not isinstance(self._open, Reasoning) or self._member != member:
            self._begin(Reasoning(), out)
            self._member = member
        self._plain.append(text)
        out.append(Delta(self._count - 1, text))

    def _add_detail(self, item: dict[str, Raw], out: list[Event]) -> None:
        part = decode_detail(item, self._origin)
        if self._member and part.text and part.text == "".join(self._plain):
            self._member, self._detail = "", item  # the text came before as plain text
            return
        if not self._detail or not self._continues(item):
            begun = Reasoning(redacted=part.redacted, summary=part.summary, id=part.id)
            self._begin(begun, out)
        self._detail |= {name: raw for name, raw in item.items() if bytes(raw) != b"null" or name not in self._detail}
        if part.text:
            out.append(Delta(self._count - 1, part.text))

    def _continues(self, item: dict[str, Raw]) -> bool:
        before, now = to_detail.decode(encode(self._detail)), to_detail.decode(encode(item))
        return (before.type, before.index) == (now.type, now.index) and (not now.id or now.id == before.id)

    # -- calls

    def _call(self, piece: Call, out: list[Event]) -> None:
        call = self._find(piece)
        if piece.custom is not None:
            call.custom = True
            name, text = piece.custom.name or "", piece.custom.input or ""
        elif piece.function is not None:
            name, text = piece.function.name or "", arguments_of(piece.function)
        else:
            name = text = ""
        signature = decode_extra(piece.extra_content, self._origin)
        if call.part is not None:
            if text:
                out.append(Delta(call.part, text))
            if signature is not None:
                out.append(Signed(call.part, signature))
            return
        call.name, call.held, call.signature = call.name or name, call.held + text, signature or call.signature
        if call.name:
            self._begin_call(call, out)

    def _find(self, piece: Call) -> _Call:
        """The call that a piece belongs to. Some servers number all calls 0, or none; a new id is a new call."""
        index = piece.index
        if index is None:
            starts = piece.id or (piece.function is not None and piece.function.name)
            index = len(self._all) if starts or not self._all else len(self._all) - 1
        known = self._calls.get(index)
        if known is None or (piece.id and known.id and piece.id != known.id):
            known = self._calls[index] = _Call(piece.id or "")
            self._all.append(known)
        known.id = known.id or piece.id or ""
        return known

    def _begin_call(self, call: _Call, out: list[Event]) -> None:
        call.id = call.id or made_id(self.fallback, self._all.index(call))
        part = ToolCall(id=call.id, name=call.name, arguments="", custom=call.custom, signature=call.signature)
        self._begin(part, out)
        call.part = self._count - 1
        if call.held:
            out.append(Delta(call.part, call.held))

    # -- what is rare

    def _rare(self, delta: WireDelta, out: list[Event]) -> None:
        if delta.audio is not None and delta.audio.id and not self._audio:
            self._audio = True
            self._begin(Opaque(dialect=NAME, kind="audio", raw=Raw(encode({"id": delta.audio.id}))), out)
        for image in delta.images or ():
            self._begin(decode_image(image.image_url), out)
        signature = decode_extra(delta.extra_content, self._origin)
        if signature is not None:
            if not isinstance(self._open, Text):
                self._begin(Text(""), out)
            out.append(Signed(self._count - 1, signature))

    # -- one part after another

    def _begin(self, part: AnyPart, out: list[Event]) -> None:
        self._close(out)
        self.any = True
        out.append(PartBegin(self._count, part))
        self._open = part
        self._kinds.append(part)
        self._count += 1

    def _close(self, out: list[Event]) -> None:
        if self._open is None:
            return
        index = self._count - 1
        if self._member in PLAIN:
            out.append(Signed(index, Signature(self._member, NAME, self._origin)))
        elif self._detail:
            signature = decode_detail(self._detail, self._origin).signature
            out += [Signed(index, signature)] if signature is not None else []
        out.append(PartEnd(index))
        self._open, self._member, self._detail = None, "", {}
        self._plain = []
