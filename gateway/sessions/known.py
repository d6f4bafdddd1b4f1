"""What a store need not read again: the session as it was loaded before, if that still holds."""

from typing import TypeVar

from gateway.sessions.store import Session

V = TypeVar("V")


def covers(known: Session, *, turns: int, marks: bool) -> bool:
    """Whether it has the newest `turns` turns up to its last, and the marks of all if `marks`."""
    first, end = known.head.first, known.head.next
    if not known.stamp or next(iter(known.turns), end) > max(first, end - turns):
        return False
    return not marks or next(iter(known.marks), end) <= first


def behind(known: dict[int, V], first: int, read: dict[int, V]) -> dict[int, V]:
    """What is known from number `first` on, with what was read behind it; both are in ascending order."""
    whole = known.copy()
    for number in known:
        if number >= first:
            break
        del whole[number]
    whole.update(read)
    return whole
