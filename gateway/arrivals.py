"""A provider's stream as it arrives: up to its first content, then piece by piece."""

import asyncio

from gateway.ask import Answer, Arrival, Open
from gateway.conversation import Begin, Event, Failed
from gateway.dialects.registry import DIALECTS
from gateway.upstream import Pieces


async def prime(answer: Answer, *, skim: bool) -> None:
    """Read a stream up to its first content, so that a failure before it is one of the attempt.

    `skim`: what follows is passed on and not kept.
    """
    answer.decoder = DIALECTS[answer.target.dialect].reply_decoder(answer.target.origin, skim=skim)
    answer.pieces = Pieces(answer.response)
    while True:
        piece = await answer.pieces.next()
        if piece is None:
            answer.events += answer.decoder.close()
            break
        answer.data += piece
        answer.events += answer.decoder.feed(piece)
        if any(not isinstance(event, Begin) for event in answer.events):
            break
    raise_failure(answer.events)


async def following(turn: Open) -> Arrival | None:
    """The next piece of a stream with the events in it, b"" with those that only its end tells; then None."""
    answer, watch = turn.answer, turn.watch
    if answer.decoder is None or answer.pieces is None or answer.pieces.over:
        return None
    watch.expect(answer.idle, "the rest of its reply")
    try:
        piece = await answer.pieces.next()
    except asyncio.CancelledError:
        raise watch.why() from None
    watch.done()
    return (b"", answer.decoder.close()) if piece is None else (piece, answer.decoder.feed(piece))


def raise_failure(events: list[Event]) -> None:
    """An error frame of the provider is a failure like any other."""
    for event in events:
        if isinstance(event, Failed):
            raise event.error
