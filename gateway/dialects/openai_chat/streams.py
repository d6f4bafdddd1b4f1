"""Streamed replies to events.

Source: https://platform.openai.com/docs/api-reference/chat-streaming.
"""

import msgspec
from msgspec import Struct

from gateway.conversation import (
    Begin,
    End,
    Event,
    Failed,
    Origin,
    Spent,
    Stop,
    Stopped,
    Usage,
)
from gateway.dialects.openai_chat.deltas import PartWriter
from gateway.dialects.openai_chat.errors import decode_error
from gateway.dialects.openai_chat.replies import decode_usage, fallback_id, is_broken
from gateway.dialects.openai_chat.wire import (
    Chunk,
    ChunkChoice,
    WireUsage,
    encode,
    is_given,
    to_chunk,
)
from gateway.dialects.sse import EventParser
from gateway.errors import GatewayError, Kind, UpstreamError


class _GlanceChoice(Struct):
    finish_reason: object = None
    usage: object = None
    error: object = None


class _Glance(Struct):
    """What of a chunk is no content."""

    choices: list[_GlanceChoice] | None = None
    usage: object = None
    error: object = None
    x_groq: object = None


_to_glance = msgspec.json.Decoder(_Glance)


class ReplyDecoder:
    """Decodes one streamed reply. Choice 0 is the reply; others are passed over."""

    def __init__(self, origin: Origin, *, skim: bool = False) -> None:
        self._skim = skim
        self._parser = EventParser()
        self._parts = PartWriter(origin)
        self._begun = self._over = False
        self._usage: Usage | None = None
        self._told: Usage | None = None
        self._stopped = False

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        for event in self._parser.feed(data):
            self._take(event, out)
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        for event in self._parser.close():
            self._take(event, out)
        if self._over:
            return out
        if not self._stopped:
            raise UpstreamError(Kind.BAD_GATEWAY, "The provider's stream ended before it was complete.")
        self._over = True
        return [*out, End()]

    def _take(self, event: tuple[bytes, bytes], out: list[Event]) -> None:
        name, data = event
        if self._over or (self._skim and self._parts.any and not name and _is_plain(data)):
            return
        if data.startswith(b"[DONE]"):
            self._done(out)
            return
        try:
            chunk = to_chunk.decode(data)
        except msgspec.ValidationError as error:
            if b'"choices"' in data or b'"error"' in data or name == b"error":
                self._fail(_unreadable(error) if b'"choices"' in data else decode_error(200, data), out)
            return
        except (msgspec.DecodeError, RecursionError) as error:
            self._fail(_unreadable(error), out)
            return
        if _is_error(chunk, name):
            self._fail(decode_error(200, data), out)
            return
        try:
            self._chunk(chunk, out)
        except (msgspec.MsgspecError, GatewayError) as error:  # inside members that are decoded apart
            self._fail(_unreadable(error), out)

    def _chunk(self, chunk: Chunk, out: list[Event]) -> None:
        if not self._begun and (chunk.choices or chunk.id):
            self._begun = True
            self._parts.fallback = fallback_id(chunk)
            out.append(Begin(chunk.id or "", chunk.model or ""))
        for choice in chunk.choices or ():
            if choice.index == 0 and not self._over:
                self._choice(choice, out)
        self._count(chunk.usage or (chunk.x_groq.usage if chunk.x_groq else None), out)

    def _choice(self, choice: ChunkChoice, out: list[Event]) -> None:
        if is_given(choice.error):
            self._fail(decode_error(200, encode({"error": choice.error})), out)
            return
        if choice.delta is not None and not self._stopped:
            self._parts.add(choice.delta, out)
        if is_broken(choice.finish_reason):
            broken = UpstreamError(Kind.UNAVAILABLE, "The provider broke off its reply.", code=choice.finish_reason)
            self._fail(broken, out)
        elif choice.finish_reason and not self._stopped:
            self._stop(*self._parts.stop(choice.finish_reason, choice.stop_reason, out), out)
        self._count(choice.usage, out)

    def _stop(self, stop: Stop, sequence: str, out: list[Event]) -> None:
        self._stopped = True
        out.append(Stopped(stop, sequence))
        self._tell(out)

    def _count(self, usage: WireUsage | None, out: list[Event]) -> None:
        if usage is None:
            return
        self._usage = decode_usage(usage)
        if self._stopped:  # some servers count in every chunk
            self._tell(out)

    def _tell(self, out: list[Event]) -> None:
        if self._usage is not None and self._usage != self._told:
            self._told = self._usage
            out.append(Spent(self._usage))

    def _done(self, out: list[Event]) -> None:
        if not self._stopped:
            if not self._parts.any:
                self._fail(UpstreamError(Kind.BAD_GATEWAY, "The provider's stream ended without a reply."), out)
                return
            self._stop(*self._parts.stop("stop", None, out), out)  # the marker says that it is complete
        self._over = True
        out.append(End())

    def _fail(self, error: UpstreamError, out: list[Event]) -> None:
        self._over = True
        out.append(Failed(error))


def _unreadable(error: Exception) -> UpstreamError:
    return UpstreamError(Kind.BAD_GATEWAY, f"The provider sent an event that cannot be read: {error}.")


def _is_plain(data: bytes) -> bool:
    """Whether a chunk holds content and nothing else."""
    try:
        glance = _to_glance.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return False
    if not glance.choices or glance.usage or glance.error or glance.x_groq:
        return False
    for choice in glance.choices:  # noqa: SIM110 - a loop costs a third of all() over one choice
        if choice.finish_reason or choice.usage or choice.error:
            return False
    return True


def _is_error(chunk: Chunk, name: bytes) -> bool:
    if is_given(chunk.error):
        return True
    return chunk.choices is None and (name == b"error" or chunk.object == "error")
