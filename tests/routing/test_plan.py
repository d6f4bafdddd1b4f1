"""Which target serves: priority, health, pin, rendezvous, rotation."""

from collections import Counter

import pytest
from msgspec.structs import replace

from gateway.config import parse
from gateway.errors import GatewayError, Kind, UpstreamError
from gateway.routing.affinity import score
from gateway.routing.health import Health, is_fault_of_request, more_useful, told
from gateway.routing.plan import Wish, plan, seat_after
from gateway.routing.table import Route, Table, Target, may_use

A = Target(provider="a", credential="a-1", model="m", dialect="openai_chat")
B = Target(provider="b", credential="b-1", model="m", dialect="anthropic")
C = Target(provider="c", credential="c-1", model="m", dialect="anthropic", priority=1)
ROUTE = Route("smart", (A, B, C))


def failure(kind: Kind, retry_after: float | None = None) -> UpstreamError:
    return UpstreamError(kind, "no", retry_after=retry_after)


def test_a_better_priority_comes_first() -> None:
    assert [t.provider for t in plan(ROUTE, Wish(), Health(), 0)][-1] == "c"


def test_the_pin_comes_first_within_its_priority() -> None:
    assert plan(ROUTE, Wish(pin=B.seat, session="s"), Health(), 0)[0] == B
    assert plan(ROUTE, Wish(pin=A.seat, session="s"), Health(), 0)[0] == A


def test_a_pin_never_overrides_priority() -> None:
    assert plan(ROUTE, Wish(pin=C.seat, session="s"), Health(), 0)[0] != C


def test_a_cooling_target_is_left_out_until_its_time() -> None:
    health = Health()
    health.failed(A, failure(Kind.RATE_LIMITED, 2), 10)
    assert A not in plan(ROUTE, Wish(pin=A.seat), health, 11.9)
    assert plan(ROUTE, Wish(pin=A.seat), health, 12)[0] == A


def test_only_one_probe_goes_out_after_a_cool_down() -> None:
    health = Health()
    health.failed(A, failure(Kind.UNAVAILABLE), 0)
    assert A in plan(ROUTE, Wish(), health, 6)
    health.trying(A, 6, 30)
    assert A not in plan(ROUTE, Wish(), health, 7)
    health.served(A)
    assert A in plan(ROUTE, Wish(), health, 7)


def test_cool_downs_escalate_and_are_capped() -> None:
    health, waits = Health(), []
    for _ in range(8):
        health.failed(A, failure(Kind.BAD_GATEWAY), 0)
        waits.append(health.until(A))
    assert waits == [5, 10, 20, 40, 60, 60, 60, 60]


def test_a_retry_after_of_days_is_capped_at_five_minutes() -> None:
    health = Health()
    health.failed(A, failure(Kind.RATE_LIMITED, 86400), 0)
    assert health.until(A) == 300


def test_a_refused_credential_cools_down_for_all_models() -> None:
    health = Health()
    health.failed(A, failure(Kind.UNAUTHENTICATED), 0)
    assert health.until(replace(A, model="other")) == 1800
    health.reset()
    health.failed(A, failure(Kind.NOT_FOUND), 0)
    assert health.until(replace(A, model="other")) == 0
    assert health.until(A) == 60


def test_faults_of_the_request_cool_nothing_down() -> None:
    health = Health()
    health.failed(A, failure(Kind.INVALID), 0)
    assert health.until(A) == 0
    assert is_fault_of_request(failure(Kind.TOO_LARGE))


def test_all_cooling_says_when_to_come_back() -> None:
    health = Health()
    for target in ROUTE.targets:
        health.failed(target, failure(Kind.RATE_LIMITED, 7), 0)
    with pytest.raises(GatewayError) as caught:
        plan(ROUTE, Wish(), health, 2)
    assert (caught.value.kind, caught.value.retry_after) == (Kind.RATE_LIMITED, 5)


def test_rotation_follows_the_weights() -> None:
    route = Route("r", (replace(A, weight=3), B))
    firsts = Counter(plan(route, Wish(turn=i), Health(), 0)[0].provider for i in range(4000))
    assert firsts["a"] == pytest.approx(3000, abs=5)


def test_a_session_stays_where_its_hash_puts_it() -> None:
    firsts = {plan(ROUTE, Wish(session="s-1", turn=i), Health(), 0)[0].provider for i in range(20)}
    assert len(firsts) == 1


def test_rendezvous_shares_sessions_by_weight_and_moves_few_when_a_target_is_added() -> None:
    three = [replace(A, weight=3), replace(B, weight=2), replace(C, weight=1)]
    before = [max(three, key=lambda t, s=i: score(f"session-{s}", t)).provider for i in range(10_000)]
    shares = Counter(before)
    assert shares["a"] == pytest.approx(5000, rel=0.05)
    assert shares["b"] == pytest.approx(3333, rel=0.05)
    assert shares["c"] == pytest.approx(1667, rel=0.05)
    four = [*three, replace(A, provider="d", weight=1)]
    after = [max(four, key=lambda t, s=i: score(f"session-{s}", t)).provider for i in range(10_000)]
    assert all(new in (old, "d") for old, new in zip(before, after, strict=True))


def test_a_stand_in_keeps_the_pin_and_a_terminal_failure_drops_it() -> None:
    health = Health()
    assert seat_after(ROUTE, None, A, health, 0) == (A.seat, "new")
    assert seat_after(ROUTE, A.seat, A, health, 0) == (None, "home")
    health.failed(A, failure(Kind.RATE_LIMITED, 9), 0)
    assert seat_after(ROUTE, A.seat, B, health, 1) == (None, "stand_in")
    health.reset()
    health.failed(A, failure(Kind.FORBIDDEN), 0)
    assert seat_after(ROUTE, A.seat, B, health, 1) == (B.seat, "moved")
    assert seat_after(ROUTE, ("gone", "gone-1"), B, Health(), 0) == (B.seat, "moved")


def test_the_most_useful_failure_is_told_and_the_gateways_credential_is_not() -> None:
    limited, broken = failure(Kind.RATE_LIMITED, 3), failure(Kind.BAD_GATEWAY)
    assert more_useful(limited, broken) is limited
    assert more_useful(None, broken) is broken
    assert told(failure(Kind.UNAUTHENTICATED)).kind is Kind.BAD_GATEWAY
    assert told(limited) is limited


def test_keys_use_only_the_models_that_their_patterns_admit() -> None:
    assert may_use(("*",), "anything")
    assert may_use(("openai/*",), "openai/gpt-5")
    assert not may_use(("openai/*", "smart"), "claude")


def test_wildcards_resolve_by_the_longest_prefix() -> None:
    config = parse(
        """
        providers: {p: {kind: openai, base_url: "http://x/v1", keys: [k, {key: l, id: second, weight: 2}]}}
        models:
          "openai/*": {targets: [{provider: p, model: "*"}]}
          "openai/gpt-*": {targets: [{provider: p, model: "prefixed-*"}]}
          "gpt-*": {targets: [{provider: p, model: "*"}]}
          exact: {context_tokens: 5, targets: [{provider: p, model: up}]}
        """,
        {},
    )
    table = Table(config)
    found = {name: table.find(name) for name in ("openai/o4", "openai/gpt-5", "gpt-5", "exact", "none")}
    models = {name: route and route.targets[0].model for name, route in found.items()}
    assert models == {
        "openai/o4": "o4",
        "openai/gpt-5": "prefixed-gpt-5",
        "gpt-5": "gpt-5",
        "exact": "up",
        "none": None,
    }
    exact = found["exact"]
    assert exact is not None
    assert [(t.credential, t.weight) for t in exact.targets] == [("p-1", 1), ("second", 2)]
    assert list(table.names()) == ["exact"]
