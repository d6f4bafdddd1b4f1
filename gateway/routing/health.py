"""What is known about targets that failed: cool-downs, their escalation and the way out of them (feature C5).

Values in, values out; the clock is the caller's, in seconds that only grow. Who tells the other workers: gateway.fleet.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from gateway.errors import GatewayError, Kind, UpstreamError
from gateway.routing.table import ACCOUNT, Target

HALF_HOUR = 1800.0
RETRY_AFTER_CAP = 300.0
MEMORY = 600.0
"""Seconds after its end in which a cool-down is remembered: until a probe succeeds the next one is longer."""
MOST_PLACES = 4096
"""A wildcard's models are a client's words, so they are not kept without limit."""
HIGHEST_LEVEL = 16

TERMINAL = (Kind.UNAUTHENTICATED, Kind.PAYMENT_REQUIRED, Kind.FORBIDDEN, Kind.NOT_FOUND)
"""A session's pin to a target that fails so is worth nothing any more."""

Place = tuple[str, str, str]
"""Provider, credential, and the model, or for all models of the credential its target's `account`."""


class CoolDown(Struct, frozen=True):
    """A place is left alone `until` then; `level` counts failures in a row; a probe may run until `probing`.

    When `until` has passed the place is half-open: one request at a time may try it.
    """

    until: float
    level: int
    kind: Kind
    probing: float = 0.0

    def moved(self, by: float) -> "CoolDown":
        """The same by a clock that shows `by` seconds more."""
        return CoolDown(self.until + by, self.level, self.kind, self.probing + by)


class Failing(Struct, frozen=True):
    """How long a failure keeps a place away: `base` seconds, doubled with each level, from `least` to `cap`."""

    kind: Kind
    base: float
    least: float
    cap: float

    def seconds(self, level: int) -> float:
        """The length of a cool-down of that level."""
        return min(max(self.base * 2.0**level, self.least), self.cap)


class Health:
    """The cool-downs as one worker sees them."""

    def __init__(self) -> None:
        self._cooling: dict[Place, CoolDown] = {}

    def until(self, target: Target) -> float:
        """When the target may be tried again; in the past if it may be now."""
        if not self._cooling:
            return 0.0
        return max((max(cooling.until, cooling.probing) for _, cooling in self.known(target)), default=0.0)

    def again(self, target: Target, now: float) -> float:
        """When a client may well ask for the target again: while another request tries it, at once."""
        waits = (cooling.until for _, cooling in self.known(target) if cooling.until > now)
        return max(waits, default=now)

    def known(self, target: Target) -> Iterator[tuple[Place, CoolDown]]:
        """What keeps the target away, or has done so since it served last."""
        for place in places_of(target) if self._cooling else ():
            if (cooling := self._cooling.get(place)) is not None:
                yield place, cooling

    def cooling(self, target: Target, now: float) -> CoolDown | None:
        """The cool-down that keeps the target away, if one does."""
        keeping = [cooling for _, cooling in self.known(target) if max(cooling.until, cooling.probing) > now]
        return max(keeping, key=lambda cooling: cooling.until, default=None)

    def terminal(self, target: Target) -> bool:
        """Whether the target refused for good when it was tried last."""
        return any(cooling.kind in TERMINAL for _, cooling in self.known(target))

    def put(self, place: Place, cooling: CoolDown | None) -> None:
        """What is known about a place from now on; None: nothing, it is well."""
        if cooling is None:
            self._cooling.pop(place, None)
            return
        if len(self._cooling) >= MOST_PLACES and place not in self._cooling:
            del self._cooling[min(self._cooling, key=lambda known: self._cooling[known].until)]
        self._cooling[place] = cooling

    def get(self, place: Place) -> CoolDown | None:
        """What is known about a place."""
        return self._cooling.get(place)

    def forget(self, now: float) -> None:
        """Drop what has not been confirmed for long."""
        for place, cooling in self.places().items():
            if cooling.until + MEMORY < now:
                del self._cooling[place]

    def places(self) -> Mapping[Place, CoolDown]:
        """All that is known, for operators."""
        return dict(self._cooling)


def after(before: CoolDown | None, failing: Failing, now: float, began: float) -> CoolDown:
    """The cool-down after one more failure, of an attempt that began then.

    An attempt that began before the end of the cool-down was under way when it was made: such failures belong to the
    same incident. They may prolong it, and do not make it worse.
    """
    if before is None:
        return CoolDown(now + failing.seconds(0), 0, failing.kind)
    if began >= before.until:
        level = min(before.level + 1, HIGHEST_LEVEL)
        return CoolDown(now + failing.seconds(level), level, failing.kind)
    until = now + failing.seconds(before.level)
    return before if until <= before.until else CoolDown(until, before.level, failing.kind, before.probing)


def failing(error: UpstreamError) -> Failing:
    """How long an error keeps its place away."""
    asked = max(error.retry_after or 0.0, 0.0)
    match error.kind:
        case Kind.UNAUTHENTICATED | Kind.PAYMENT_REQUIRED:
            return Failing(error.kind, 0.0, HALF_HOUR, HALF_HOUR)
        case Kind.FORBIDDEN | Kind.NOT_FOUND:
            return Failing(error.kind, 60.0, 0.0, HALF_HOUR)
        case Kind.RATE_LIMITED:
            return Failing(error.kind, 0.0 if asked else 1.0, asked, RETRY_AFTER_CAP)
        case _:
            return Failing(error.kind, 5.0, asked, 60.0)


def model_of(place: Place) -> str | None:
    """The model that cools down, None if it is all of the credential."""
    return None if place[2].startswith(ACCOUNT) else place[2]


def place_of(target: Target, error: UpstreamError) -> Place:
    """What cools down: the target's model, or the credential with all its models."""
    whole = error.kind in (Kind.UNAUTHENTICATED, Kind.PAYMENT_REQUIRED)
    return target.provider, target.credential, target.account if whole else target.model


def places_of(target: Target) -> tuple[Place, Place]:
    """The places whose cool-downs keep a target away."""
    return (target.provider, target.credential, target.model), (target.provider, target.credential, target.account)


def is_fault_of_request(error: UpstreamError) -> bool:
    """Whether any other target would refuse the request too: then it is not tried, and nothing cools down."""
    return error.kind in (Kind.INVALID, Kind.TOO_LARGE, Kind.UNPROCESSABLE, Kind.CONFLICT)


_USEFUL = (
    Kind.RATE_LIMITED,
    Kind.UNAVAILABLE,
    Kind.TIMEOUT,
    Kind.BAD_GATEWAY,
    Kind.FORBIDDEN,
    Kind.NOT_FOUND,
    Kind.PAYMENT_REQUIRED,
    Kind.UNAUTHENTICATED,
)


def more_useful(before: UpstreamError | None, error: UpstreamError) -> UpstreamError:
    """Of two failures the one that helps the client more.

    Its own fault; then what passes by itself, soonest first; what the gateway's operator must mend comes last.
    """
    if before is None or is_fault_of_request(error):
        return error
    return min(error, before, key=_uselessness)


def _uselessness(error: UpstreamError) -> tuple[int, bool, float]:
    rank = _USEFUL.index(error.kind) if error.kind in _USEFUL else len(_USEFUL)
    return rank, error.answer is None, error.retry_after or RETRY_AFTER_CAP


def told(error: UpstreamError) -> GatewayError:
    """A failure as the client may see it: that the gateway's own credential was refused is not the client's affair."""
    if error.kind in (Kind.UNAUTHENTICATED, Kind.PAYMENT_REQUIRED):
        return GatewayError(
            Kind.BAD_GATEWAY, "The provider refused the gateway's credential.", code="upstream_credential"
        )
    return error
