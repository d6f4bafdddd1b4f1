"""What a store need not read again: the session as it was loaded before, if that still holds."""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TypeVar

from gateway.sessions.store import Session

V = TypeVar("V")

_SPARE = 32
"""Values of no use any more that are kept rather than copying the others."""


class Stretch(Mapping[int, V]):
    """Numbers `first` to `end - 1` of a dict that others show other stretches of: so a load costs what is new."""

    __slots__ = ("_end", "_first", "_shared")

    def __init__(self, shared: dict[int, V], first: int, end: int) -> None:
        self._shared = shared
        self._first = first
        self._end = end

    def __getitem__(self, number: int) -> V:
        if not self._first <= number < self._end:
            raise KeyError(number)
        return self._shared[number]

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, self._end))

    def __len__(self) -> int:
        return self._end - self._first

    def items(self) -> ItemsView[int, V]:
        return {number: self._shared[number] for number in self}.items()

    def values(self) -> ValuesView[V]:
        return {number: self._shared[number] for number in self}.values()

    def on(self, first: int, read: Mapping[int, V]) -> "Stretch[V]":
        """From `first` on, with what was `read` of its end and behind it.

        What others may show is never changed: where they went on otherwise, or most of it is of no use any more, this
        goes on in a dict of its own.
        """
        shared, end = self._shared, max(self._end, first, *(number + 1 for number in read))
        other = any(number in shared and shared[number] != value for number, value in read.items())
        if other or len(shared) > end - first + _SPARE:
            shared = {number: shared[number] for number in range(max(first, self._first), self._end)}
        shared.update(read)
        return Stretch(shared, first, end)


def covers(known: Session, *, turns: int, marks: bool) -> bool:
    """Whether it has the newest `turns` turns up to its last, and the marks of all if `marks`."""
    first, end = known.head.first, known.head.next
    if not known.stamp or next(iter(known.turns), end) > max(first, end - turns):
        return False
    return not marks or next(iter(known.marks), end) <= first


def behind(known: Mapping[int, V], first: int, read: Mapping[int, V]) -> Mapping[int, V]:
    """What is known from number `first` on, with what was read behind it; both are in ascending order."""
    if not known:
        return read
    if not isinstance(known, Stretch):
        numbers = list(known)
        known = Stretch(dict(known), numbers[0], numbers[-1] + 1)
    return known.on(first, read)
