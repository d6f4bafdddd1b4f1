"""The ordered list of targets for one request; whoever walks it makes no choices."""

from collections.abc import Sequence

from msgspec import Struct

from gateway.errors import GatewayError, Kind
from gateway.routing.affinity import score
from gateway.routing.health import TERMINAL, Health
from gateway.routing.table import Route, Target

GOLDEN = 0.6180339887498949


class Wish(Struct, frozen=True):
    """What a request would like: the session's pinned seat, and the name by which a session is placed without one.

    `turn` counts the requests of a route, for the rotation of those that belong to no session.
    """

    pin: tuple[str, str] | None = None
    session: str = ""
    turn: int = 0


def plan(route: Route, wish: Wish, health: Health, now: float) -> list[Target]:
    """Healthy targets, best priority first; within one priority as the session or the rotation wants.

    Raises GatewayError (RATE_LIMITED or UNAVAILABLE, with `retry_after`) if every target is cooling down.
    """
    healthy = [target for target in route.targets if health.until(target) <= now]
    if not healthy:
        raise _all_cooling(route, health, now)
    if len(healthy) == 1:
        return healthy
    ordered: list[Target] = []
    for priority in sorted({target.priority for target in healthy}):
        ordered += _tier([target for target in healthy if target.priority == priority], wish)
    return ordered


def _tier(targets: list[Target], wish: Wish) -> list[Target]:
    if len(targets) == 1:
        return targets
    if wish.session:
        targets.sort(key=lambda target: score(wish.session, target), reverse=True)
    else:
        targets = _rotated(targets, wish.turn)
    if wish.pin:
        targets.sort(key=lambda target: target.seat != wish.pin)
    return targets


def _rotated(targets: Sequence[Target], turn: int) -> list[Target]:
    """Round robin by weight: the golden ratio spreads turns evenly over the weights laid end to end."""
    total = sum(target.weight for target in targets)
    point = turn * GOLDEN % 1 * total
    for first, target in enumerate(targets):
        point -= target.weight
        if point < 0:
            return [*targets[first:], *targets[:first]]
    return list(targets)


def _all_cooling(route: Route, health: Health, now: float) -> GatewayError:
    wait = max(min(health.until(target) for target in route.targets) - now, 1.0)
    kinds = {cooling.kind for target in route.targets if (cooling := health.cooling(target, now))}
    kind = Kind.RATE_LIMITED if kinds == {Kind.RATE_LIMITED} else Kind.UNAVAILABLE
    message = f"Every provider of {route.name!r} is cooling down; try again in {wait:.0f} s."
    return GatewayError(kind, message, code="model_cooldown", retry_after=wait)


def seat_after(
    route: Route, pin: tuple[str, str] | None, served: Target, health: Health, now: float
) -> tuple[tuple[str, str] | None, str]:
    """The seat a session is pinned to after a served turn (None: as it was), and what happened, for the metric.

    A stand-in keeps the pin while its target merely cools down; a target that is gone or refuses for good loses it.
    """
    if pin is None:
        return served.seat, "new"
    if pin == served.seat:
        return None, "home"
    for target in route.targets:
        cooling = health.cooling(target, now) if target.seat == pin else None
        if cooling is not None and cooling.kind not in TERMINAL:
            return None, "stand_in"
    return served.seat, "moved"
