"""Workers of one fleet: what one learns all know, one probe at a time, and each goes on alone without the board."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.errors import Kind, StoreUnavailable, UpstreamError
from gateway.fleet.board import Board
from gateway.fleet.fleet import Fleet
from gateway.routing.plan import Wish, plan
from gateway.routing.table import Route, Target

A = Target(provider="a", credential="a-1", model="m", dialect="openai_chat")

Boards = Callable[[], Board]


def limited(seconds: float) -> UpstreamError:
    return UpstreamError(Kind.RATE_LIMITED, "slow down", retry_after=seconds)


async def attempt(fleet: Fleet, error: BaseException | None = None) -> bool:
    """One attempt that ends so; whether it was made."""
    trial = await fleet.enter(A)
    if trial is None:
        return False
    if error is None:
        with trial:
            pass
    else:
        with pytest.raises(type(error)), trial:
            raise error
    trial.close()
    return True


async def told(*fleets: Fleet) -> None:
    """Everything under way has reached the board, and every worker has looked."""
    for fleet in fleets:
        while fleet._tasks:
            await asyncio.wait(fleet._tasks)
    for fleet in fleets:
        await fleet.refresh()


async def test_what_one_worker_meets_all_know_at_their_next_look(boards: Boards) -> None:
    one, two = Fleet(boards(), monotonic), Fleet(boards(), monotonic)
    assert await attempt(two)
    assert await attempt(one, limited(60))
    assert not one.state().ready(A)
    await told(one, two)
    assert not two.state().ready(A)
    assert not await attempt(two)
    await one.reset()
    await told(one, two)
    assert two.state().ready(A)


async def test_the_fleet_sends_one_probe_at_a_time(boards: Boards) -> None:
    fleets = [Fleet(boards(), monotonic) for _ in range(3)]
    await attempt(fleets[0], limited(0.4))
    await told(*fleets)
    await asyncio.sleep(0.6)
    trials = await asyncio.gather(*(fleet.enter(A) for fleet in fleets for _ in range(10)))
    probes = [trial for trial in trials if trial is not None]
    assert len(probes) == 1
    with pytest.raises(UpstreamError), probes[0]:
        raise limited(0.4)
    await told(*fleets)
    assert [fleet.state().ready(A) for fleet in fleets] == [False] * 3
    await asyncio.sleep(0.6)
    assert await attempt(fleets[1])
    await told(*fleets)
    assert all([await attempt(fleet) for fleet in fleets for _ in range(3)])


async def test_a_probe_that_is_given_up_leaves_room_for_another(boards: Boards) -> None:
    one, two = Fleet(boards(), monotonic), Fleet(boards(), monotonic)
    await attempt(one, limited(0.2))
    await told(one, two)
    await asyncio.sleep(0.4)
    assert await attempt(one, asyncio.CancelledError())
    await told(one, two)
    assert await attempt(two)


async def test_a_reply_that_was_under_way_does_not_end_a_cool_down(boards: Boards) -> None:
    fleet = Fleet(boards(), monotonic)
    early = await fleet.enter(A)
    assert early is not None
    await attempt(fleet, limited(60))
    with early:
        pass
    early.close()
    await told(fleet)
    assert not fleet.state().ready(A)


async def test_a_worker_that_listens_hears_within_a_second(boards: Boards) -> None:
    one, two = Fleet(boards(), monotonic), Fleet(boards(), monotonic)
    one.start()
    two.start()
    await asyncio.sleep(0.1)
    failed = monotonic()
    await attempt(one, limited(60))
    for _ in range(200):
        if not two.state().ready(A):
            break
        await asyncio.sleep(0.02)
    assert not two.state().ready(A)
    assert monotonic() - failed < 3
    await one.close()
    await two.close()


async def test_the_least_busy_is_that_of_the_whole_fleet(boards: Boards) -> None:
    b, wish = replace(A, provider="b", credential="b-1"), Wish()
    route = Route("r", (A, b), "least-busy")
    one, two = Fleet(boards(), monotonic), Fleet(boards(), monotonic)
    one.shares_load = two.shares_load = True
    trials = [await one.enter(A) for _ in range(3)]
    assert plan(route, wish, two.state())[0] == A
    await told(one, two)
    assert plan(route, wish, two.state())[0] == b
    for trial in trials:
        assert trial is not None
        trial.close()
    await told(one, two)
    assert plan(route, wish, two.state())[0] == A


async def test_without_the_board_the_least_busy_is_that_of_the_worker() -> None:
    b, fleet = replace(A, provider="b", credential="b-1"), Fleet(Down(), monotonic)
    fleet.shares_load = True
    await fleet.enter(A)
    await told(fleet)
    assert plan(Route("r", (A, b), "least-busy"), Wish(), fleet.state())[0] == b


class Down:
    """A board that cannot be reached."""

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: Any) -> None:
            raise StoreUnavailable("down")

        return fail

    async def close(self) -> None:
        """Nothing is open."""


async def test_without_the_board_a_worker_goes_by_what_it_knows() -> None:
    fleet = Fleet(Down(), monotonic)
    await attempt(fleet, limited(0.2))
    await told(fleet)
    assert not await attempt(fleet)
    await asyncio.sleep(0.3)
    first, second = await fleet.enter(A), await fleet.enter(A)
    assert first is not None
    assert second is None
    with first:
        pass
    assert await attempt(fleet)


async def test_a_full_credential_takes_no_more_until_a_reply_has_ended() -> None:
    fleet, one = Fleet(None, monotonic), replace(A, concurrency=1)
    trial = await fleet.enter(one)
    assert trial is not None
    with trial:
        pass
    assert await fleet.enter(one) is None
    trial.close()
    assert await fleet.enter(one) is not None


async def test_a_request_at_fault_proves_that_its_target_is_well() -> None:
    fleet = Fleet(None, monotonic)
    await attempt(fleet, limited(0.1))
    await asyncio.sleep(0.2)
    await attempt(fleet, UpstreamError(Kind.INVALID, "no"))
    assert fleet.health.places() == {}
