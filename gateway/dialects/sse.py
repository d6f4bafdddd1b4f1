"""Server-sent events, incrementally.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from gateway.errors import Kind, UpstreamError

MAX_EVENT = 32 * 1024 * 1024
COMMENT = b": keep-alive\n\n"


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
        *blocks, self._rest = data.split(b"\n\n")
        if len(self._rest) > MAX_EVENT:
            raise UpstreamError(Kind.BAD_GATEWAY, "The provider sent an event that is too large.")
        return [event for block in blocks if (event := _parse(block)) is not None]

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


def _parse(block: bytes) -> tuple[bytes, bytes] | None:
    if block.startswith(b"data: ") and b"\n" not in block:  # the usual case
        return b"", block[6:]
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
