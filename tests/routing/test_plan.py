"""Which target serves: priority, health, pin, rendezvous, rotation."""

from collections import Counter

import pytest
from msgspec.structs import replace

from gateway.config import parse
from gateway.errors import GatewayError, Kind, UpstreamError
from gateway.routing.affinity import score
from gateway.routing.health import Health, after, failing, is_fault_of_request, model_of, more_useful, place_of, told
from gateway.routing.load import Load
from gateway.routing.plan import State, Wish, plan, refused, seat_after
from gateway.routing.table import Route, Table, Target, may_use

A = Target(provider="a", credential="a-1", model="m", dialect="openai_chat")
B = Target(provider="b", credential="b-1", model="m", dialect="anthropic")
C = Target(provider="c", credential="c-1", model="m", dialect="anthropic", priority=1)
ROUTE = Route("smart", (A, B, C))


def failure(kind: Kind, retry_after: float | None = None) -> UpstreamError:
    return UpstreamError(kind, "no", retry_after=retry_after)


def fail(health: Health, target: Target, error: UpstreamError, now: float, began: float | None = None) -> None:
    place = place_of(target, error)
    health.put(place, after(health.get(place), failing(error), now, now if began is None else began))


def at(now: float = 0, health: Health | None = None, load: Load | None = None) -> State:
    return State(health or Health(), load or Load(), now)


def test_a_better_priority_comes_first() -> None:
    assert [t.provider for t in plan(ROUTE, Wish(), at())][-1] == "c"


def test_the_pin_comes_first_within_its_priority() -> None:
    assert plan(ROUTE, Wish(pin=B.seat, session="s"), at())[0] == B
    assert plan(ROUTE, Wish(pin=A.seat, session="s"), at())[0] == A


def test_a_pin_never_overrides_priority() -> None:
    assert plan(ROUTE, Wish(pin=C.seat, session="s"), at())[0] != C


def test_a_cooling_target_is_left_out_until_its_time() -> None:
    health = Health()
    fail(health, A, failure(Kind.RATE_LIMITED, 2), 10)
    assert A not in plan(ROUTE, Wish(pin=A.seat), at(11.9, health))
    assert plan(ROUTE, Wish(pin=A.seat), at(12, health))[0] == A


def test_a_target_that_is_probed_is_left_out() -> None:
    health = Health()
    fail(health, A, failure(Kind.UNAVAILABLE), 0)
    assert A in plan(ROUTE, Wish(), at(6, health))
    place, cooling = next(health.known(A))
    health.put(place, replace(cooling, probing=16))
    assert A not in plan(ROUTE, Wish(), at(7, health))
    health.put(place, None)
    assert A in plan(ROUTE, Wish(), at(7, health))


def test_failures_of_one_incident_do_not_make_it_worse() -> None:
    health = Health()
    for finished in (10, 10.2, 10.4):
        fail(health, A, failure(Kind.BAD_GATEWAY), finished, began=9)
    ((_, cooling),) = health.known(A)
    assert (cooling.level, cooling.until) == (0, 15.4)
    fail(health, A, failure(Kind.BAD_GATEWAY), 16, began=15.5)
    assert health.until(A) == 26


def test_cool_downs_escalate_and_are_capped() -> None:
    health, waits, now = Health(), [], 0.0
    for _ in range(8):
        fail(health, A, failure(Kind.BAD_GATEWAY), now)
        waits.append(health.until(A) - now)
        now = health.until(A)
    assert waits == [5, 10, 20, 40, 60, 60, 60, 60]


def test_what_a_client_may_name_is_not_kept_without_limit() -> None:
    health = Health()
    for n in range(5000):
        fail(health, replace(A, model=f"m-{n}"), failure(Kind.NOT_FOUND), n)
    assert len(health.places()) == 4096
    assert health.until(replace(A, model="m-4999")) == 5059
    health.forget(10_000)
    assert health.places() == {}


def test_a_retry_after_of_days_is_capped_at_five_minutes() -> None:
    health = Health()
    fail(health, A, failure(Kind.RATE_LIMITED, 86400), 0)
    assert health.until(A) == 300


def test_a_refused_credential_cools_down_for_all_models() -> None:
    health = Health()
    fail(health, A, failure(Kind.UNAUTHENTICATED), 0)
    assert health.until(replace(A, model="other")) == 1800
    health = Health()
    fail(health, A, failure(Kind.NOT_FOUND), 0)
    assert health.until(replace(A, model="other")) == 0
    assert health.until(A) == 60


def test_a_request_that_is_too_large_is_so_for_every_target() -> None:
    assert is_fault_of_request(failure(Kind.TOO_LARGE))


def test_all_cooling_says_when_to_come_back() -> None:
    health = Health()
    for target in ROUTE.targets:
        fail(health, target, failure(Kind.RATE_LIMITED, 7), 0)
    with pytest.raises(GatewayError) as caught:
        plan(ROUTE, Wish(), at(2, health))
    assert (caught.value.kind, caught.value.retry_after) == (Kind.RATE_LIMITED, 5)


def test_rotation_follows_the_weights() -> None:
    route = Route("r", (replace(A, weight=3), B))
    firsts = Counter(plan(route, Wish(turn=i), at())[0].provider for i in range(4000))
    assert firsts["a"] == pytest.approx(3000, abs=5)


def test_a_session_stays_where_its_hash_puts_it() -> None:
    firsts = {plan(ROUTE, Wish(session="s-1", turn=i), at())[0].provider for i in range(20)}
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
    assert seat_after(ROUTE, None, A, health) == (A.seat, "new")
    assert seat_after(ROUTE, A.seat, A, health) == (None, "home")
    fail(health, A, failure(Kind.RATE_LIMITED, 9), 0)
    assert seat_after(ROUTE, A.seat, B, health) == (None, "stand_in")
    health = Health()
    fail(health, A, failure(Kind.FORBIDDEN), 0)
    assert seat_after(ROUTE, A.seat, B, health) == (B.seat, "moved")
    assert seat_after(ROUTE, ("gone", "gone-1"), B, Health()) == (B.seat, "moved")


def test_a_session_leaves_a_fallback_for_a_better_priority() -> None:
    assert seat_after(ROUTE, C.seat, A, Health()) == (A.seat, "moved")


def test_a_stand_in_is_the_same_one_every_time() -> None:
    route, health = Route("r", tuple(replace(A, provider=p, credential=p) for p in "abcde")), Health()
    home = plan(route, Wish(session="s"), at())[0]
    fail(health, home, failure(Kind.RATE_LIMITED, 60), 0)
    firsts = {plan(route, Wish(home.seat, "s", turn), at(1, health))[0].seat for turn in range(20)}
    assert len(firsts) == 1
    assert plan(route, Wish(home.seat, "s"), at(60, health))[0] == home


def test_a_full_credential_is_left_out_until_a_request_ends() -> None:
    one, load = replace(A, concurrency=2), Load()
    route = Route("r", (one, B))
    load.begin(one)
    assert one in plan(route, Wish(), at(load=load))
    load.begin(one)
    assert plan(route, Wish(pin=one.seat), at(load=load)) == [B]
    with pytest.raises(GatewayError, match="as many requests") as caught:
        plan(Route("r", (one,)), Wish(), at(load=load))
    assert (caught.value.kind, caught.value.retry_after) == (Kind.UNAVAILABLE, 1)
    load.end(one)
    assert one in plan(route, Wish(), at(load=load))


def test_least_busy_takes_the_one_with_the_fewest_for_its_weight() -> None:
    two, load = replace(A, weight=2), Load()
    route = Route("r", (two, B), "least-busy")
    served = Counter[str]()
    for turn in range(30):
        first = plan(route, Wish(turn=turn), at(load=load))[0]
        load.begin(first)
        served[first.provider] += 1
    assert served == {"a": 20, "b": 10}


def test_weighted_draws_by_weight_and_in_no_order() -> None:
    route = Route("r", (replace(A, weight=3), B), "weighted")
    firsts = [plan(route, Wish(turn=i), at())[0].provider for i in range(4000)]
    assert firsts.count("a") == pytest.approx(3000, rel=0.03)
    assert "bbb" in "".join(firsts)


def test_a_model_that_no_provider_has_is_still_a_404_while_they_cool_down() -> None:
    health = Health()
    for target in ROUTE.targets:
        fail(health, target, failure(Kind.NOT_FOUND), 0)
    with pytest.raises(GatewayError) as caught:
        plan(ROUTE, Wish(), at(1, health))
    assert caught.value.kind is Kind.NOT_FOUND


def test_a_refusal_says_when_to_come_back() -> None:
    health = Health()
    for target in ROUTE.targets:
        fail(health, target, failure(Kind.RATE_LIMITED, 30), 0)
    error = refused(failure(Kind.RATE_LIMITED), ROUTE, at(10, health))
    assert (error.kind, error.retry_after) == (Kind.RATE_LIMITED, 20)


def test_of_several_targets_the_soonest_says_when_to_come_back() -> None:
    health = Health()
    fail(health, A, failure(Kind.RATE_LIMITED, 3600), 0)
    fail(health, B, failure(Kind.BAD_GATEWAY), 0)
    route = Route("r", (A, B))
    assert refused(failure(Kind.RATE_LIMITED, 3600), route, at(1, health)).retry_after == 4
    fail(health, B, failure(Kind.RATE_LIMITED, 3600), 6)
    assert refused(failure(Kind.RATE_LIMITED, 3600), route, at(7, health)).retry_after == 293


def test_a_client_may_come_back_at_once_for_what_another_request_tries_now() -> None:
    health = Health()
    fail(health, A, failure(Kind.BAD_GATEWAY), 0)
    cooling = health.get(place_of(A, failure(Kind.BAD_GATEWAY)))
    assert cooling is not None
    health.put(place_of(A, failure(Kind.BAD_GATEWAY)), replace(cooling, probing=16))
    with pytest.raises(GatewayError) as caught:
        plan(Route("r", (A,)), Wish(), at(6, health))
    assert (caught.value.code, caught.value.retry_after) == ("model_cooldown", 1)


def test_a_new_key_is_not_held_responsible_for_the_old_one() -> None:
    health = Health()
    old, new = replace(A, account="account:1"), replace(A, account="account:2")
    fail(health, old, failure(Kind.UNAUTHENTICATED), 0)
    fail(health, old, failure(Kind.RATE_LIMITED, 60), 0)
    assert health.until(replace(old, model="other")) == 1800
    assert health.until(replace(new, model="other")) == 0
    assert health.until(new) == 60
    assert [model_of(place) for place in health.places()] == [None, "m"]


def test_the_most_useful_failure_is_told_and_the_gateways_credential_is_not() -> None:
    limited, broken = failure(Kind.RATE_LIMITED, 3), failure(Kind.BAD_GATEWAY)
    assert more_useful(limited, broken) is limited
    assert more_useful(None, broken) is broken
    sooner, invalid = failure(Kind.RATE_LIMITED, 1), failure(Kind.INVALID)
    assert more_useful(limited, sooner) is sooner
    assert more_useful(failure(Kind.NOT_FOUND), broken) is broken
    assert more_useful(limited, invalid) is invalid
    newer = failure(Kind.BAD_GATEWAY)
    assert more_useful(broken, newer) is newer
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
