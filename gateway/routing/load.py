"""How busy each credential is, as far as this worker knows."""

from collections.abc import Mapping

from gateway.routing.table import Target

Seat = tuple[str, str]


class Load:
    """Counts what is in flight at each seat."""

    def __init__(self) -> None:
        self._in_flight: dict[Seat, int] = {}

    def of(self, target: Target) -> int:
        """Requests in flight with the target's credential."""
        return self._in_flight.get(target.seat, 0)

    def seats(self) -> Mapping[Seat, int]:
        """Requests in flight at each seat that has any."""
        return self._in_flight

    def full(self, target: Target) -> bool:
        """Whether the credential has as many requests as it takes."""
        return 0 < target.concurrency <= self.of(target)

    def begin(self, target: Target) -> None:
        """One more."""
        self._in_flight[target.seat] = self.of(target) + 1

    def end(self, target: Target) -> None:
        """One less."""
        left = self.of(target) - 1
        if left > 0:
            self._in_flight[target.seat] = left
        else:
            self._in_flight.pop(target.seat, None)
