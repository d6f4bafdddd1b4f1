"""How a stream is framed: as server-sent events with `alt=sse`, as one JSON array without it."""

from gateway.dialects.dialect import Request
from gateway.dialects.sse import EventParser, frame

SSE = "sse"


class Framing:
    """Puts one response after another into the stream."""

    def __init__(self, *, array: bool) -> None:
        self._array = array
        self._before = b"["

    def write(self, data: bytes, *, last: bool = False) -> bytes:
        """One response, as JSON of one line."""
        if not self._array:
            return frame(data)
        before, self._before = self._before, b",\r\n"
        return before + data + (b"]" if last else b"\n")

    def end(self) -> bytes:
        """The end, where no last response was written as such."""
        return b"" if not self._array else b"[]" if self._before == b"[" else b"]"


class ArrayFilter:
    """Makes the provider's events the JSON array that a client without `alt=sse` reads."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._framing = Framing(array=True)

    def feed(self, data: bytes) -> bytes:
        """The items that `data` completes."""
        return b"".join(self._framing.write(block) for _, block in self._parser.feed(data))

    def close(self) -> bytes:
        """The last item, if it was held back, and the end of the array."""
        held = b"".join(self._framing.write(block) for _, block in self._parser.close())
        return held + self._framing.end()

    def fail(self, error: bytes) -> bytes:
        """The error, itself an array of one, as the last item."""
        return self._framing.write(error.strip().removeprefix(b"[").removesuffix(b"]"), last=True)


def relay_filter(request: Request) -> ArrayFilter | None:
    """A provider is always asked for events; a client that was not is given an array."""
    return ArrayFilter() if request.stream and request.query != SSE else None
