"""Ten thousand sessions over three targets: placed by weight, at home while that is well, and home again afterwards."""

import sys
from collections import Counter

import pytest

from gateway.errors import Kind, UpstreamError
from gateway.routing.health import Health, after, failing, place_of
from gateway.routing.load import Load
from gateway.routing.plan import State, Wish, plan, seat_after
from gateway.routing.table import Route, Target

Seat = tuple[str, str]


def target(name: str, weight: int) -> Target:
    return Target(provider=name, credential=f"{name}-1", model="m", dialect="anthropic", weight=weight)


A, B, C, D = target("a", 3), target("b", 2), target("c", 1), target("d", 2)
SESSIONS, TURNS = 10_000, 20
COOLING = range(8, 11)
"""Turns in which B is cooling down."""
GROWN = 15
"""From this turn on there is a fourth target."""


def cooled(error: UpstreamError) -> Health:
    health, place = Health(), place_of(B, error)
    health.put(place, after(None, failing(error), 0, 0))
    return health


def test_ten_thousand_sessions_stay_put_move_only_when_their_target_fails_and_come_home() -> None:
    three, four = Route("r", (A, B, C)), Route("r", (A, B, C, D))
    well, ill = Health(), cooled(UpstreamError(Kind.RATE_LIMITED, "no", retry_after=60))
    homes: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for number in range(SESSIONS):
        pin: Seat | None = None
        served: list[str] = []
        for turn in range(TURNS):
            route, health = four if turn >= GROWN else three, ill if turn in COOLING else well
            first = plan(route, Wish(pin, f"session-{number}", turn), State(health, Load(), 1))[0]
            moved, outcome = seat_after(route, pin, first, health)
            pin = moved or pin
            outcomes[outcome] += 1
            served.append(first.provider)
        home = served[0]
        homes[home] += 1
        stand_in = served[COOLING.start : COOLING.stop]
        assert set(served[: COOLING.start] + served[COOLING.stop :]) == {home}
        assert len(set(stand_in)) == 1
        assert (stand_in[0] == home) == (home != "b")
    for name, share in (("a", 3 / 6), ("b", 2 / 6), ("c", 1 / 6)):
        assert homes[name] == pytest.approx(share * SESSIONS, rel=0.05)
    total = SESSIONS * TURNS
    at_home = (outcomes["home"] + outcomes["new"]) / total
    assert outcomes["moved"] == 0
    assert at_home == 1 - homes["b"] * len(COOLING) / total
    sys.stdout.write(f"{dict(homes)}: {at_home:.1%} of {total} turns at home, the rest with one stand-in each\n")


def test_a_terminal_failure_moves_the_sessions_of_that_target_for_good() -> None:
    route, refused, well = Route("r", (A, B, C)), cooled(UpstreamError(Kind.FORBIDDEN, "no")), Health()
    for number in range(500):
        wish = Wish(B.seat, f"session-{number}")
        stand_in = plan(route, wish, State(refused, Load(), 1))[0]
        pin, outcome = seat_after(route, B.seat, stand_in, refused)
        assert (pin, outcome) == (stand_in.seat, "moved")
        assert plan(route, Wish(pin, f"session-{number}"), State(well, Load(), 1))[0] == stand_in
