"""What the tests of every dialect do with a provider's stream."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.conversation import Event, Origin, Reply, ReplyBuilder
from gateway.dialects.dialect import Dialect


@dataclass(frozen=True)
class Streams:
    """Streams in `dialect`, made by `origin`."""

    dialect: Dialect
    origin: Origin

    def decoded(self, *pieces: bytes) -> list[Event]:
        """The events of a stream that comes in these pieces."""
        decoder = self.dialect.reply_decoder(self.origin)
        return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()

    def in_pieces(self, stream: bytes, size: int) -> list[Event]:
        """The events of a stream that comes in pieces of this size."""
        return self.decoded(*(stream[i : i + size] for i in range(0, len(stream), size)))

    def must_not_depend_on_the_split(self, stream: bytes, *, step: int = 1) -> None:
        """Byte by byte, in small pieces and cut in two at every `step`th byte, it has the same events as at once."""
        whole = self.decoded(stream)
        assert whole
        assert all(self.in_pieces(stream, size) == whole for size in (1, 2, 3, 7, 64))
        for cut in range(0, len(stream), step):
            assert self.decoded(stream[:cut], stream[cut:]) == whole


def built(events: Iterable[Event]) -> Reply:
    """What the events come to."""
    builder = ReplyBuilder()
    for event in events:
        builder.add(event)
    return builder.reply()
