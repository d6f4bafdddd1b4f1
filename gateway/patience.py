"""Waiting for a target that is about to be well again, instead of refusing at once: some clients never ask twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.ask import Ask, Gateway
from gateway.errors import GatewayError, Kind
from gateway.metrics import Record
from gateway.sessions.memory import Recall
from gateway.watch import Watch

T = TypeVar("T")

PASSING: Final = (Kind.RATE_LIMITED, Kind.UNAVAILABLE, Kind.BAD_GATEWAY, Kind.TIMEOUT)
_SLACK: Final = 30.0
"""Seconds by which the watch may fire late, since the pause ends by itself."""


async def patiently(
    answer: Callable[[Gateway, Ask, Recall | None, Watch, Record], Awaitable[T]],
    gateway: Gateway,
    ask: Ask,
    recall: Recall | None,
    watch: Watch,
    record: Record,
) -> T:  # fmt: skip
    """What `answer` gives for the rest; after a failure that passes once more, as long as `routing.wait` allows."""
    left = gateway.wait
    while True:
        try:
            return await answer(gateway, ask, recall, watch, record)
        except GatewayError as error:
            pause = error.retry_after
            passes = error.kind in PASSING and pause is not None and pause <= left
            if pause is None or not passes or watch.now + pause >= watch.deadline:
                raise
        left -= pause
        record.outside += pause
        await _rest(watch, pause)


async def _rest(watch: Watch, seconds: float) -> None:
    """Raises GatewayError if the client leaves meanwhile, or the gateway stops."""
    watch.expect(seconds + _SLACK, "an answer")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        raise watch.why() from None
    finally:
        watch.done()
