"""F6, the short form of cut_streams.py."""

import asyncio
from itertools import count

from tests.chaos.cut_streams import cut_many, one_worker, settled

MANY = 400


def test_streams_that_are_cut_leave_nothing_in_memory() -> None:
    with one_worker("file") as gateway:
        numbers = count()
        asyncio.run(cut_many(gateway.url, numbers, MANY))
        before = settled(gateway)
        asyncio.run(cut_many(gateway.url, numbers, 2 * MANY))
        grown = settled(gateway) - before
        status, metrics = gateway.get("/metrics")
    assert status == 200
    assert grown < 6 << 20  # a stream and its session are about 10 kB: kept, they would be 8 MiB
    assert "gateway_active_requests 0.0" in metrics
    assert "gateway_session_active_turns 0.0" in metrics
