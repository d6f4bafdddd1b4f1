"""What a store need not read again: the session as it was loaded before, if that still holds."""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TypeVar

from msgspec.structs import replace

from gateway.sessions.heads import after
from gateway.sessions.store import Append, Appended, Head, Session

V = TypeVar("V")
D = TypeVar("D")

_SAID = ("system", "preamble", "tools")
_SPARE = 32
"""Values of no use any more that are kept rather than copying the others."""


class Stretch(Mapping[int, V]):
    """Numbers `first` to `end - 1` of a dict that others show other stretches of: so a load costs what is new.

    Even a copy of references costs: each value's count of them would be fetched from memory, a turn's and a mark's.
    """

    __slots__ = ("_shared", "end", "first")

    def __init__(self, shared: dict[int, V], first: int, end: int) -> None:
        self._shared = shared
        self.first = first
        self.end = end

    def __getitem__(self, number: int) -> V:
        if not self.first <= number < self.end:
            raise KeyError(number)
        return self._shared[number]

    def get(self, number: int, default: D = None) -> V | D:  # type: ignore[assignment]
        return self._shared[number] if self.first <= number < self.end else default

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.end))

    def __len__(self) -> int:
        return self.end - self.first

    def items(self) -> ItemsView[int, V]:
        return {number: self._shared[number] for number in self}.items()

    def values(self) -> ValuesView[V]:
        return {number: self._shared[number] for number in self}.values()

    def on(self, first: int, read: Mapping[int, V]) -> "Stretch[V]":
        """From `first` on, with what was `read` of its end and behind it.

        What others may show is never changed: where they went on otherwise, or most of it is of no use any more, this
        goes on in a dict of its own.
        """
        first = max(first, self.first)
        shared, end, other = self._shared, max(self.end, first), False
        for number, value in read.items():
            other = other or (number in shared and shared[number] != value)
            end = max(end, number + 1)
        if other or len(shared) > end - first + _SPARE:
            shared = {number: shared[number] for number in range(first, self.end)}
        shared.update(read)
        return Stretch(shared, first, end)


def covers(known: Session, *, turns: int, marks: bool) -> bool:
    """Whether it has the newest `turns` turns up to its last, and the marks of all if `marks`."""
    first, end = known.head.first, known.head.next
    if not known.stamp or end - len(known.turns) > max(first, end - turns):
        return False
    return not marks or end - len(known.marks) <= first


def begin(head: Head, *, turns: int, marks: bool) -> tuple[int, int]:
    """The first turn and the first mark of a load of the newest `turns`: the last two marks are there in any case."""
    lowest = max(head.first, head.next - turns)
    return lowest, head.first if marks else max(head.first, min(lowest, head.next - 2))


def behind(known: Mapping[int, V], first: int, read: Mapping[int, V]) -> Mapping[int, V]:
    """What is known from number `first` on, with what was read behind it; both are in ascending order."""
    if not known:
        return read
    if not isinstance(known, Stretch):
        lowest = next(iter(known))
        known = Stretch(dict(known), lowest, lowest + len(known))
    return known.on(first, read)


def unchanged(known: Session, *, turns: int, marks: bool, expires: int) -> Session:
    """The session as it is known, with what is asked for of it."""
    head, shown, marked = known.head, known.turns, known.marks
    if head.expires != expires:
        head = replace(head, expires=expires)
    first_turn, first_mark = begin(head, turns=turns, marks=marks)
    if head.next - len(shown) != first_turn:
        shown = behind(shown, first_turn, {})
    if head.next - len(marked) != first_mark:
        marked = behind(marked, first_mark, {})
    if head is known.head and shown is known.turns and marked is known.marks:
        return known
    return replace(known, head=head, turns=shown, marks=marked)


def gone_on(known: Session, append: Append, done: Appended) -> Session | None:
    """The session behind a turn that was stored; None if that did not follow what is known, or took turns away."""
    head, number = known.head, done.number
    follows = done.behind == known.stamp and done.revision == head.revision + 1 and done.generation == head.generation
    if not (done.stamp and follows) or done.trimmed or number != head.next:
        return None
    turn, mark = replace(append.turn, at=done.at), replace(append.mark, size=done.size)
    size = head.size + done.size
    head = after(head, append, now=done.at, expires=done.expires, number=number, size=size)
    if append.system is not None or append.preamble is not None or append.tools is not None:
        head = replace(head, **{name: given for name in _SAID if (given := getattr(append, name)) is not None})
    return Session(
        head=head,
        marks=behind(known.marks, 0, {number: mark}),
        turns=behind(known.turns, 0, {number: turn}),
        stamp=done.stamp,
        memo=known.memo,
    )
