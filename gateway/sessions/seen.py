"""What a worker has seen of the sessions that it serves, so that it asks the store for the rest only."""

import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from gateway.sessions.store import Session

_TURN = 900
"""Bytes that a turn and its mark take in memory beside what was said."""
_SESSION = 1500
_SHARE = 4
_NEAR = 16
_IDLE = 600.0


class _Kept(Struct):
    """A session, about how many bytes it takes, and when it was used last."""

    session: Session
    size: int
    used: float


class Seen:
    """Sessions as they were loaded last, by tag, in about `budget` bytes; those that were not used longest go first.

    The store tells with each load whether they still hold, so nothing here can be wrong, only of no use. What was not
    used for ten minutes goes with the next one that comes. `clock` gives seconds that never go back.
    """

    def __init__(self, budget: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._clock = clock
        self._sessions: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._whole = self._rest = 0

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def size(self) -> int:
        """About how many bytes are kept."""
        return self._bytes

    def news(self) -> tuple[int, int, int]:
        """Since it was asked last: sessions that were read whole, and those of which only the rest was; the size."""
        whole, rest = self._whole, self._rest
        self._whole = self._rest = 0
        return whole, rest, self._bytes

    def find(self, tag: str) -> Session | None:
        """The session as it was last, None if it is not known."""
        found = self._sessions.get(tag)
        return found.session if found is not None else None

    def keep(self, tag: str, session: Session) -> None:
        """Remember what was loaded in the place of what was known."""
        found = self._sessions.get(tag)
        if found is not None and found.session is session:
            self._rest += 1
            self._use(tag, found)
            return
        if not session.stamp:
            self.drop(tag)
            return
        if found is None or found.session.memo is not session.memo:
            self._whole += 1
        else:
            self._rest += 1
            known = found.session
            new = session.head.next - known.head.next
            if new < _NEAR and len(session.turns) * 2 < len(known.turns):
                self._use(tag, found)  # it was only looked at, and what is known serves longer
                return
        self.go_on(tag, session)

    def go_on(self, tag: str, session: Session) -> None:
        """Remember this in the place of what was known, though nothing was loaded."""
        size, found = _size(session), self._sessions.get(tag)
        if size > self._budget // _SHARE:
            self.drop(tag)
            return
        if found is None:
            found = self._sessions[tag] = _Kept(session, 0, 0.0)
        self._bytes += size - found.size
        found.session, found.size = session, size
        self._use(tag, found)
        while self._sessions:
            tag, oldest = next(iter(self._sessions.items()))
            if self._bytes <= self._budget and oldest.used > found.used - _IDLE:
                break
            self.drop(tag)

    def _use(self, tag: str, found: _Kept) -> None:
        found.used = self._clock()
        self._sessions.move_to_end(tag)

    def drop(self, tag: str) -> None:
        """Forget a session."""
        found = self._sessions.pop(tag, None)
        if found is not None:
            self._bytes -= found.size


def _size(session: Session) -> int:
    """What was said is there twice: by turn, and as it went up."""
    head = session.head
    stored = head.size * len(session.turns) // max(head.next - head.first, 1)
    return 2 * stored + _TURN * len(session.marks) + _SESSION
