"""F4, the short form of redis_faults.py: Redis stands still, or is killed, under load."""

import pytest

from tests.chaos import redis_faults
from tests.chaos.redis_load import BUDGET, DEADLINE

SECONDS = 1.0
SLACK = 2.0
"""Seconds that a busy machine may add. What is guarded against are waits for a socket's own time limits."""


@pytest.mark.parametrize("fault", ["paused", "killed"])
async def test_nothing_acknowledged_is_lost_and_nobody_waits_for_redis(fault: str) -> None:
    run = await getattr(redis_faults, fault)(SECONDS)
    assert not run.lost()
    assert not run.doubled()
    assert not run.astray()
    assert {one.status for one in run.told} == {200}
    assert run.states()["stateless"]
    assert not run.untold()
    assert run.longest() < DEADLINE
    assert run.beyond() < BUDGET + SLACK
