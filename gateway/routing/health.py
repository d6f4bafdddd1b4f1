"""What is known about targets that failed: cool-downs, their escalation and the way out of them (feature C5).

A value in, a value out; the clock is the caller's, in seconds that only grow.
"""

from msgspec import Struct

from gateway.errors import GatewayError, Kind, UpstreamError
from gateway.routing.table import Target

HALF_HOUR = 1800.0
RETRY_AFTER_CAP = 300.0

TERMINAL = (Kind.UNAUTHENTICATED, Kind.PAYMENT_REQUIRED, Kind.FORBIDDEN, Kind.NOT_FOUND)
"""A session's pin to a target that fails so is worth nothing any more."""

Place = tuple[str, str, str]
"""Provider, credential, and the model, or "" for all models of the credential."""


class CoolDown(Struct, frozen=True):
    """A place is left alone `until` then; `level` counts failures in a row; a probe runs until `probing`."""

    until: float
    level: int
    kind: Kind
    probing: float = 0.0


class Health:
    """The cool-downs as one worker sees them."""

    def __init__(self) -> None:
        self._cooling: dict[Place, CoolDown] = {}

    def until(self, target: Target) -> float:
        """When the target may be tried again; in the past if it may be now."""
        if not self._cooling:
            return 0.0
        return max((max(c.until, c.probing) for c in self._of(target)), default=0.0)

    def cooling(self, target: Target, now: float) -> CoolDown | None:
        """The cool-down that keeps the target away, if one does."""
        keeping = [c for c in self._of(target) if max(c.until, c.probing) > now]
        return max(keeping, key=lambda c: c.until, default=None)

    def trying(self, target: Target, now: float, limit: float) -> None:
        """A target that comes out of a cool-down is being tried: for `limit` seconds nobody else does."""
        if self._cooling:
            for place in _places(target):
                if (cooling := self._cooling.get(place)) is not None:
                    self._cooling[place] = CoolDown(cooling.until, cooling.level, cooling.kind, now + limit)

    def served(self, target: Target) -> None:
        """The target served: all is forgotten."""
        if self._cooling:
            for place in _places(target):
                self._cooling.pop(place, None)

    def failed(self, target: Target, error: UpstreamError, now: float) -> None:
        """The target failed: it cools down, longer each time."""
        place = _place(target, error)
        if place is None:
            for place in _places(target):
                self._cooling.pop(place, None)
            return
        before = self._cooling.get(place)
        self._cooling[place] = after(before, error, now)

    def reset(self) -> None:
        """Forget every cool-down."""
        self._cooling.clear()

    def places(self) -> dict[Place, CoolDown]:
        """All that is known, for operators."""
        return dict(self._cooling)

    def _of(self, target: Target) -> list[CoolDown]:
        return [cooling for place in _places(target) if (cooling := self._cooling.get(place)) is not None]


def after(before: CoolDown | None, error: UpstreamError, now: float) -> CoolDown:
    """The cool-down after one more failure."""
    level = min(before.level + 1, 16) if before else 0
    return CoolDown(now + _seconds(error, level), level, error.kind)


def is_fault_of_request(error: UpstreamError) -> bool:
    """Whether any other target would refuse the request too: then it is not tried, and nothing cools down."""
    return error.kind in (Kind.INVALID, Kind.TOO_LARGE, Kind.UNPROCESSABLE, Kind.CONFLICT)


def more_useful(before: UpstreamError | None, error: UpstreamError) -> UpstreamError:
    """Of two failures the one that helps the client more: its own fault, then when to come back, then the newest."""
    if before is None or is_fault_of_request(error):
        return error
    return before if before.kind is Kind.RATE_LIMITED else error


def told(error: UpstreamError) -> GatewayError:
    """A failure as the client may see it: that the gateway's own credential was refused is not the client's affair."""
    if error.kind in (Kind.UNAUTHENTICATED, Kind.PAYMENT_REQUIRED):
        return GatewayError(
            Kind.BAD_GATEWAY, "The provider refused the gateway's credential.", code="upstream_credential"
        )
    return error


def _seconds(error: UpstreamError, level: int) -> float:
    match error.kind:
        case Kind.UNAUTHENTICATED | Kind.PAYMENT_REQUIRED:
            return HALF_HOUR
        case Kind.FORBIDDEN | Kind.NOT_FOUND:
            return min(60.0 * 2.0**level, HALF_HOUR)
        case Kind.RATE_LIMITED:
            return min(error.retry_after or 2.0**level, RETRY_AFTER_CAP)
        case _:
            return min(max(5.0 * 2.0**level, error.retry_after or 0.0), 60.0)


def _place(target: Target, error: UpstreamError) -> Place | None:
    if is_fault_of_request(error):
        return None
    whole = error.kind in (Kind.UNAUTHENTICATED, Kind.PAYMENT_REQUIRED)
    return target.provider, target.credential, "" if whole else target.model


def _places(target: Target) -> tuple[Place, Place]:
    return (target.provider, target.credential, target.model), (target.provider, target.credential, "")
