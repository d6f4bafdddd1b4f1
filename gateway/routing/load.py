"""How busy each credential is."""

from collections.abc import Iterable

from gateway.routing.table import Target

Seat = tuple[str, str]
InFlight = dict[Seat, int]
"""Requests in flight by provider and credential."""


class Load:
    """Counts what this worker has in flight at each seat; `others` is what the other workers have told."""

    def __init__(self) -> None:
        self.own: InFlight = {}
        self.others: InFlight = {}

    def of(self, target: Target) -> int:
        """This worker's requests in flight with the target's credential."""
        return self.own.get(target.seat, 0)

    def of_all(self, target: Target) -> int:
        """All workers' requests in flight with the target's credential, as far as is known."""
        return self.of(target) + self.others.get(target.seat, 0)

    def full(self, target: Target) -> bool:
        """Whether the credential has as many of this worker's requests as it takes."""
        return 0 < target.concurrency <= self.of(target)

    def begin(self, target: Target) -> None:
        """One more."""
        self.own[target.seat] = self.of(target) + 1

    def end(self, target: Target) -> None:
        """One less."""
        left = self.of(target) - 1
        if left > 0:
            self.own[target.seat] = left
        else:
            self.own.pop(target.seat, None)


def added(loads: Iterable[Iterable[tuple[str, str, int]]]) -> InFlight:
    """The sum of what several workers have told."""
    sums: InFlight = {}
    for load in loads:
        for provider, credential, number in load:
            sums[provider, credential] = sums.get((provider, credential), 0) + number
    return sums
