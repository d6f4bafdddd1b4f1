"""The ordered list of targets for one request; whoever walks it makes no choices."""

from collections.abc import Sequence
from hashlib import blake2b

from msgspec import Struct

from gateway.errors import GatewayError, Kind, UpstreamError
from gateway.routing.affinity import score
from gateway.routing.health import Health, told
from gateway.routing.load import Load
from gateway.routing.table import Route, Target

GOLDEN = 0.6180339887498949
_PASSING = (Kind.RATE_LIMITED, Kind.UNAVAILABLE, Kind.BAD_GATEWAY, Kind.TIMEOUT)


class Wish(Struct, frozen=True):
    """What a request would like: the session's pinned seat, and the name by which a session is placed without one.

    `turn` counts the requests of a worker, for the rotation of those that belong to no session.
    """

    pin: tuple[str, str] | None = None
    session: str = ""
    turn: int = 0


class State(Struct, frozen=True):
    """What is known about all targets at the time `now`."""

    health: Health
    load: Load
    now: float
    disabled: frozenset[str] = frozenset()

    def ready(self, target: Target) -> bool:
        """Whether a request may be sent to the target."""
        well = self.health.until(target) <= self.now and not self.load.full(target)
        return well and target.provider not in self.disabled


def plan(route: Route, wish: Wish, state: State) -> list[Target]:
    """Targets that may be tried, best priority first; within one priority as the session or the strategy wants.

    Raises GatewayError (RATE_LIMITED, NOT_FOUND or UNAVAILABLE, with `retry_after`) if there is none.
    """
    ready = [target for target in route.targets if state.ready(target)]
    if not ready:
        raise nobody(route, state)
    if len(ready) == 1:
        return ready
    ordered: list[Target] = []
    for priority in sorted({target.priority for target in ready}):
        tier = [target for target in ready if target.priority == priority]
        ordered += tier if len(tier) == 1 else _tier(route, tier, wish, state.load)
    return ordered


def _tier(route: Route, targets: list[Target], wish: Wish, load: Load) -> list[Target]:
    if wish.session:
        targets.sort(key=lambda target: score(wish.session, target), reverse=True)
    elif route.strategy == "least-busy":
        targets = _rotated(targets, wish.turn * GOLDEN % 1)
        targets.sort(key=lambda target: (load.of_all(target) + 1) / target.weight)
    else:
        targets = _rotated(targets, _drawn(wish.turn) if route.strategy == "weighted" else wish.turn * GOLDEN % 1)
    if wish.pin:
        targets.sort(key=lambda target: target.seat != wish.pin)
    return targets


def _rotated(targets: Sequence[Target], share: float) -> list[Target]:
    """The weights laid end to end, begun at `share` of their length; the golden ratio spreads turns evenly."""
    point = share * sum(target.weight for target in targets)
    for first, target in enumerate(targets):
        point -= target.weight
        if point < 0:
            return [*targets[first:], *targets[:first]]
    return list(targets)


def _drawn(turn: int) -> float:
    """A draw for each turn, from 0 to 1, that has nothing to do with the one before."""
    return int.from_bytes(blake2b(turn.to_bytes(8), digest_size=6).digest()) / 2**48


def nobody(route: Route, state: State) -> GatewayError:
    """Why no target can be tried, and when one can."""
    health, now = state.health, state.now
    enabled = tuple(target for target in route.targets if target.provider not in state.disabled)
    if not enabled:
        message = f"Every provider of {route.name!r} is disabled by the operator."
        return GatewayError(Kind.UNAVAILABLE, message, code="provider_disabled")
    route = Route(route.name, enabled)
    wait = soonest(route, state)
    if any(health.until(target) <= now for target in route.targets):
        message = f"Every provider of {route.name!r} has as many requests as it takes; try again."
        return GatewayError(Kind.UNAVAILABLE, message, code="provider_busy", retry_after=1.0)
    kinds = {cooling.kind for target in route.targets if (cooling := health.cooling(target, now))}
    if kinds == {Kind.NOT_FOUND}:
        message = f"No provider of {route.name!r} has this model; the next look is in {wait:.0f} s."
        return GatewayError(Kind.NOT_FOUND, message, param="model", code="model_not_found", retry_after=wait)
    kind = Kind.RATE_LIMITED if kinds == {Kind.RATE_LIMITED} else Kind.UNAVAILABLE
    message = f"Every provider of {route.name!r} is cooling down; try again in {wait:.0f} s."
    return GatewayError(kind, message, code="model_cooldown", retry_after=wait)


def refused(refusal: UpstreamError | None, route: Route, state: State) -> GatewayError:
    """What the client is told when no target has served; `refusal` is the most useful failure, if any was tried."""
    if refusal is None:
        return nobody(route, state)
    error = told(refusal)
    if error.kind in _PASSING:  # one provider's Retry-After says nothing of the others
        error.retry_after = soonest(route, state)
    return error


def soonest(route: Route, state: State) -> float:
    """Seconds until a target may be tried again, at least one."""
    return max(min(state.health.again(target, state.now) for target in route.targets) - state.now, 1.0)


def seat_after(
    route: Route, pin: tuple[str, str] | None, served: Target, health: Health
) -> tuple[tuple[str, str] | None, str]:
    """The seat a session is pinned to after a served turn (None: as it was), and what happened, for the metric.

    A stand-in serves while the pinned target cools down, is busy or is being probed, and the session goes home
    afterwards. The pin is lost if its target is not configured any more, refuses for good, or has a worse priority.
    """
    if pin is None:
        return served.seat, "new"
    if pin == served.seat:
        return None, "home"
    for target in route.targets:
        if target.seat == pin and target.priority <= served.priority and not health.terminal(target):
            return None, "stand_in"
    return served.seat, "moved"
