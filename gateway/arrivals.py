"""A provider's stream as it arrives: up to its first content, then piece by piece."""

import asyncio
from collections.abc import AsyncGenerator

from gateway.ask import Answer, Open
from gateway.conversation import Begin, Event, Failed, Reply, events_of
from gateway.dialects.registry import DIALECTS
from gateway.upstream import pieces


async def prime(answer: Answer) -> None:
    """Read a stream up to its first content, so that a failure before it is one of the attempt."""
    answer.decoder = DIALECTS[answer.target.dialect].reply_decoder(answer.target.origin)
    answer.pieces = pieces(answer.response)
    async for piece in answer.pieces:
        answer.data += piece
        answer.events += answer.decoder.feed(piece)
        if any(not isinstance(event, Begin) for event in answer.events):
            break
    else:
        answer.events += answer.decoder.close()
    raise_failure(answer.events)


async def arrivals(turn: Open) -> AsyncGenerator[tuple[bytes, list[Event]]]:
    """A stream's pieces with the events in them: those that were read ahead, then what comes."""
    answer, watch = turn.answer, turn.watch
    if answer.decoder is None or answer.pieces is None:  # a provider that does not stream
        yield b"", events_of(answer.reply or Reply())
        return
    idle = turn.gateway.upstream.timeouts(answer.target).idle
    yield answer.data, answer.events
    try:
        while True:
            watch.expect(idle, "the rest of its reply")
            piece = await anext(answer.pieces, None)
            watch.done()
            if piece is None:
                break
            yield piece, answer.decoder.feed(piece)
        yield b"", answer.decoder.close()
    except asyncio.CancelledError:
        raise watch.why() from None


def raise_failure(events: list[Event]) -> None:
    """An error frame of the provider is a failure like any other."""
    for event in events:
        if isinstance(event, Failed):
            raise event.error
