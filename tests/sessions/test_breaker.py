"""The breaker: what is down is asked once in a while, not by everybody."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.errors import SessionGone, StoreUnavailable
from gateway.sessions.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, failures=3, pause=1.0, longest=5.0)


@contextmanager
def attempt(breaker: Breaker) -> Iterator[None]:
    begun = breaker.begin()
    failed: bool | None = None
    try:
        yield
        failed = False
    except Exception as exc:
        failed = isinstance(exc, StoreUnavailable)
        raise
    finally:
        breaker.end(begun, failed=failed)


def fail(breaker: Breaker) -> None:
    with pytest.raises(StoreUnavailable, match="down"), attempt(breaker):
        raise StoreUnavailable("down")


def succeed(breaker: Breaker) -> None:
    with attempt(breaker):
        pass


def refused(breaker: Breaker) -> StoreUnavailable:
    entered = False
    with pytest.raises(StoreUnavailable) as caught, attempt(breaker):
        entered = True
    assert not entered
    return caught.value


def trip(breaker: Breaker) -> None:
    for _ in range(3):
        fail(breaker)


def test_it_opens_after_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker)
    fail(breaker)
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"
    assert breaker.openings == 1
    assert refused(breaker).retry_after == pytest.approx(1.0)


def test_a_success_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    fail(breaker)
    fail(breaker)
    succeed(breaker)
    fail(breaker)
    fail(breaker)
    assert breaker.state == "closed"


def test_only_an_unavailable_store_is_a_failure(breaker: Breaker) -> None:
    for _ in range(9):
        with pytest.raises(SessionGone), attempt(breaker):
            raise SessionGone("gone")
    assert breaker.state == "closed"


def test_an_answer_of_any_kind_closes_it(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 1
    with pytest.raises(SessionGone), attempt(breaker):
        raise SessionGone("gone")
    assert breaker.state == "closed"


def test_after_a_pause_one_probe_at_a_time_is_let_through(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 1
    assert breaker.state == "half-open"
    with attempt(breaker):
        assert breaker.state == "half-open"
        assert refused(breaker).retry_after == pytest.approx(1.0)
    assert breaker.state == "closed"
    succeed(breaker)


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 1
    for pause in (2, 4, 5, 5):
        fail(breaker)
        assert refused(breaker).retry_after == pytest.approx(pause)
        clock.now += pause - 0.01
        refused(breaker)
        clock.now += 0.01
    succeed(breaker)
    assert breaker.state == "closed"


def test_the_pause_is_short_again_after_a_success(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 1
    fail(breaker)
    clock.now += 2
    succeed(breaker)
    trip(breaker)
    assert refused(breaker).retry_after == pytest.approx(1.0)


def test_a_probe_that_is_cancelled_leaves_room_for_the_next(breaker: Breaker, clock: Clock) -> None:
    trip(breaker)
    clock.now += 1
    with pytest.raises(asyncio.CancelledError), attempt(breaker):
        raise asyncio.CancelledError
    assert breaker.state == "half-open"
    succeed(breaker)
    assert breaker.state == "closed"


def test_attempts_from_before_it_opened_change_nothing(breaker: Breaker, clock: Clock) -> None:
    early, late = breaker.begin(), breaker.begin()
    trip(breaker)
    breaker.end(early, failed=False)
    assert breaker.state == "open"
    clock.now += 1
    probe = breaker.begin()
    breaker.end(late, failed=True)
    assert breaker.state == "half-open"
    breaker.end(probe, failed=False)
    assert breaker.state == "closed"
