"""Takes the chunk with token counts out of a verbatim stream whose client did not ask for it."""

import msgspec
from msgspec import Raw, Struct

from gateway.dialects.dialect import Request
from gateway.dialects.openai_chat.requests import wants_usage
from gateway.dialects.openai_chat.wire import is_given
from gateway.dialects.sse import BLANK_LINE, end_of_events

_COUNTS = b'"prompt_tokens"'


class _Chunk(Struct):
    choices: list[Raw] | None = None
    usage: Raw = Raw(b"")
    error: Raw = Raw(b"")
    moderation: Raw = Raw(b"")


_to_chunk = msgspec.json.Decoder(_Chunk)


def relay_filter(request: Request) -> "UsageFilter | None":
    """A filter where `splice` has asked for counts that the client did not want."""
    return UsageFilter() if request.stream and not wants_usage(request) else None


class UsageFilter:
    """Passes everything on byte for byte but events with token counts and no choices.

    Only complete events are passed on; those without counts are not looked at.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What of `data` the client gets."""
        if self._rest:
            data = self._rest + data
        end = end_of_events(data)
        if end < len(data):
            data, self._rest = data[:end], data[end:]
        elif self._rest:
            self._rest = b""
        return data if _COUNTS not in data else b"".join(_kept(data))

    def close(self) -> bytes:
        """What was held back, unless it is the chunk with the counts."""
        data, self._rest = self._rest, b""
        return b"" if _is_count(data) else data

    def fail(self, error: bytes) -> bytes:
        """The error alone: half an event is nothing to anyone."""
        self._rest = b""
        return error


def _kept(data: bytes) -> list[bytes]:
    kept, start = [], 0
    for match in BLANK_LINE.finditer(data):
        event = data[start : match.end()]
        start = match.end()
        if not _is_count(event):
            kept.append(event)
    return [*kept, data[start:]]


def _is_count(event: bytes) -> bool:
    if _COUNTS not in event:
        return False
    lines = event.replace(b"\r", b"\n").split(b"\n")
    data = b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))
    try:
        chunk = _to_chunk.decode(data)
    except msgspec.MsgspecError:
        return False
    return (
        chunk.choices == [] and is_given(chunk.usage) and not is_given(chunk.error) and not is_given(chunk.moderation)
    )
