"""Where workers share cool-downs, and how busy they are."""

from typing import Final, Protocol

from gateway.routing.health import CoolDown, Failing, Place
from gateway.routing.load import InFlight

SILENCE: Final = 2.0
"""Seconds after which what a worker told about its load means nothing: it is gone."""


class Board(Protocol):
    """Holds every worker's cool-downs and load; each method is one atomic step.

    Times in a CoolDown are seconds from now, by the board's own clock; `ago` is how many seconds ago an attempt began.
    Raises StoreUnavailable if the board cannot be reached; it is tried again by the next call.
    """

    async def read(self) -> dict[Place, CoolDown]:
        """All that is known."""

    async def fail(self, place: Place, failing: Failing, ago: float) -> CoolDown:
        """An attempt failed: the cool-down that follows, as `routing.health.after` has it."""

    async def claim(self, place: Place, holder: str, lease: float) -> tuple[bool, CoolDown | None]:
        """Ask to be the only one that tries a half-open place, for `lease` seconds; a holder may ask again.

        Whether it may, and what is known about the place; None: nothing, it is well, and anybody may.
        """

    async def release(self, place: Place, holder: str) -> None:
        """The probe was given up without a result."""

    async def clear(self, place: Place, ago: float | None) -> bool:
        """An attempt succeeded: forget the place if the attempt began after its cool-down. `ago` None: in any case.

        Whether nothing is known about it any more.
        """

    async def load(self, holder: str, own: InFlight) -> InFlight:
        """Tell what a worker has in flight, and hear what all others have together."""

    async def close(self) -> None:
        """Let go of connections."""
