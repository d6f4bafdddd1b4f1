"""Server-sent events, incrementally.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re

from gateway.errors import Kind, UpstreamError

MAX_EVENT = 32 * 1024 * 1024
COMMENT = b": keep-alive\n\n"

BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")


class EventParser:
    """Bytes in pieces of any size to `(event name, data)` pairs; the name is b"" where none is given."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The events that `data` completes. Raises UpstreamError if one grows beyond MAX_EVENT."""
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            data = self._plain_newlines(data)
        blocks = data.split(b"\n\n")
        self._rest = blocks.pop()
        if len(self._rest) > MAX_EVENT:
            raise UpstreamError(Kind.BAD_GATEWAY, "The provider sent an event that is too large.")
        events = []
        for block in blocks:
            name, line = b"", block
            if block.startswith(b"event: "):
                name, _, line = block[7:].partition(b"\n")
            if line.startswith(b"data: ") and b"\n" not in line:  # the usual case
                events.append((name, line[6:]))
            elif (event := _parse(block)) is not None:
                events.append(event)
        return events

    def close(self) -> list[tuple[bytes, bytes]]:
        """A last event that no blank line ended. The standard drops it; providers do send it."""
        block, self._rest = self._rest, b""
        event = _parse(block.replace(b"\r", b"\n").strip(b"\n"))
        return [] if event is None else [event]

    @staticmethod
    def _plain_newlines(data: bytes) -> bytes:
        held = b"\r" if data.endswith(b"\r") else b""  # its \n may be in the next piece
        data = data[:-1] if held else data
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held


class WholeEvents:
    """Passes a stream on byte for byte, whole events only: what is incomplete waits for the rest of it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What of `data` makes whole events, with what was held back."""
        if self._rest:
            data = self._rest + data
        end = end_of_events(data)
        if end == len(data):
            self._rest = b""
            return data
        self._rest = data[end:]
        return data[:end]

    def close(self) -> bytes:
        """What was held back."""
        data, self._rest = self._rest, b""
        return data

    def fail(self, error: bytes) -> bytes:
        """The error alone: half an event is nothing to anyone."""
        self._rest = b""
        return error


def end_of_events(data: bytes) -> int:
    """How many bytes of `data` are whole events."""
    if data.endswith((b"\n\n", b"\r\n\r\n")):
        return len(data)
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    # The \n that belongs to a last \r may be in the next piece.
    ready = len(data) - 1 if data.endswith(b"\r") else len(data)
    ends = [match.end() for match in BLANK_LINE.finditer(data, 0, ready)]
    return ends[-1] if ends else 0


def _parse(block: bytes) -> tuple[bytes, bytes] | None:
    name, lines = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    return (name, b"\n".join(lines)) if lines else None


def frame(data: bytes, event: str = "") -> bytes:
    """One event as bytes; `data` is one line of JSON."""
    if event:
        return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"
