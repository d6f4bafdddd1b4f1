"""One session in its file: what each verb of the store does to it. All of it runs under the file's lock."""

import os
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe
from typing import Final, ParamSpec, TypeVar

import msgspec
from msgspec.structs import replace

from gateway.conversation import Said
from gateway.errors import SessionChanged, SessionGone, StoreError
from gateway.sessions import codec
from gateway.sessions.file import old, state
from gateway.sessions.file.index import Entry, Turns, refs
from gateway.sessions.file.log import SAID, TURN, Batch, LogFile
from gateway.sessions.file.state import SaidRef, State
from gateway.sessions.heads import after, expiry, patched
from gateway.sessions.known import begin, behind
from gateway.sessions.store import Append, Appended, Head, Mark, Memo, Patch, Session, SessionKey, Turn

INLINE: Final = 512 << 10
"""More bytes than this are not written on the event loop."""

_INLINE_COST: Final = 2000  # a thread would fight for the interpreter with a busy loop, which takes longer than this
_TURN_COST: Final = 1.6
_MARK_COST: Final = 0.7
_KILOBYTE_COST: Final = 0.35

_WORTH: Final = 128 << 10
_BESIDE: Final = 1500
"""About what a commit writes beside its turn."""

T = TypeVar("T")
P = ParamSpec("P")


class Long(Exception):
    """This would keep the event loop for too long."""


class NeedsWrite(Exception):
    """The file must be opened for writing to do this."""


class SessionFile:
    """A session's open file. `head` is None if there is no session in it, or (`expired`) not any more.

    `micros` is the time in Unix microseconds, `now` in milliseconds. `inline`: raise Long rather than stall.
    """

    def __init__(self, log: LogFile, micros: int, *, write: bool, inline: bool) -> None:
        self.log = log
        self.now, self._micros = micros // 1000, micros
        self.head: Head | None = None
        self.expired = False
        self._write = write
        self._inline = inline
        stored, self._turns = self._sound(self._stored, log.state or b"")
        self.gone, self._deleted = stored.gone, stored.deleted
        self._said = stored.said
        if stored.head is not None:
            self.expired = stored.head.expires <= self.now
            self.head = None if self.expired else stored.head

    # ------------------------------------------------------------ reading

    def load(self, *, turns: int, marks: bool, keep: float, below: int = 0) -> Session | None:
        """See SessionStore.load."""
        if self.head is None:
            return None
        first, end = self.head.first, self.head.next
        shown = max(first, (below or end) - turns)
        if below:
            end = max(shown, min(below, end))
        marked = first if marks else shown if below else max(first, min(shown, end - 2))
        read_marks, read_turns = self._window(marked, shown, end)
        self._keep(int(keep * 1000))
        stamp = b"" if below else self._stamp(end - 1)
        return Session(
            head=self._whole(self.head), marks=read_marks, turns=read_turns, stamp=stamp, memo=Memo() if stamp else None
        )

    def news(self, known: Session, *, turns: int, marks: bool, keep: float) -> Session | None:
        """The same, where `known` covers it up to its last turn; None if that does not hold any more."""
        if self.head is None:
            return None
        first, end, old = self.head.first, self.head.next, known.head.next
        if not first < old <= end or self._stamp(old - 1) != known.stamp:
            return None
        shown, marked = begin(self.head, turns=turns, marks=marks)
        read_marks, read_turns = self._window(max(marked, old), max(shown, old), end)
        self._keep(int(keep * 1000))
        return Session(
            head=self._whole(self.head),
            marks=behind(known.marks, marked, read_marks),
            turns=behind(known.turns, shown, read_turns),
            stamp=self._stamp(end - 1) if end > old else known.stamp,
            memo=known.memo,
        )

    def turns(self, first: int, count: int) -> dict[int, Turn]:
        if self.head is None:
            return {}
        first, end = max(first, self.head.first), min(first + count, self.head.next)
        self._short(self.head, turns=end - first, marks=0)
        return self._read(self._span(first, end), first)

    def find(self, token: str, since: int) -> tuple[int, Entry] | None:
        """The turn that `token` appended after revision `since`, and its number."""
        if self.head is None:
            return None
        return self._sound(self._turns.find, token, since, self.head.first)

    def made_by(self, token: str, since: int) -> int | None:
        """The number of the complete turn that `token` appended after revision `since`."""
        found = self.find(token, since)
        return None if found is None or found[1].incomplete else found[0]

    def whole_head(self) -> Head | None:
        return self.head and self._whole(self.head)

    # ------------------------------------------------------------ writing

    def append(self, key: SessionKey, append: Append, turn: bytes, mark: bytes, loaded: int | None) -> Appended:
        """`turn` and `mark` are the append's, encoded; `loaded` is when it looked for a session, in microseconds."""
        self._refuse(append, loaded)
        if self.head is None:
            return self._store(self._new(key, append), append, turn, mark)
        if found := self.find(append.token, append.revision):
            return Appended(found[0], self.head.generation, self.head.revision, again=True)
        if append.replace_from is not None and append.revision != self.head.revision:
            raise SessionChanged("Another turn was stored in this session meanwhile; send the request again.")
        return self._store(self.head, append, turn, mark)

    def flag(self, number: int, token: str, *, unconfirmed: bool) -> bool:
        if self.head is None or not self.head.first <= number < self.head.next:
            return False
        (entry,) = self._span(number, number + 1)
        if entry.token != token:
            return False
        batch = self.log.batch()
        self._turns.flag(number, unconfirmed=unconfirmed)
        self._commit(batch, self.head)
        return True

    def patch(self, patch: Patch) -> bool:
        """See SessionStore.patch."""
        if self.head is None:
            return False
        if patch.generation not in (None, self.head.generation):
            raise SessionGone("This session was deleted or made anew meanwhile.")
        batch, head = self.log.batch(), patched(self.head, patch, self.now)
        if head.next < self.head.next:
            head = replace(head, size=head.size - self._turns.drop_from(head.next, head.first))
        self._commit(batch, head)
        return True

    def put(self, key: SessionKey, session: Session, *, over: Head | bool) -> bool:
        """See SessionStore.write."""
        if isinstance(over, Head) and not self._is(over):
            return False
        if self.head is not None and not over:
            return False
        if self.head is None:
            self.log.clear()
        batch, size, revision = self.log.batch(), 0, session.head.next - session.head.first
        self.expired, self.gone = False, 0
        self._said, self._turns = {}, Turns.anew(self.log, session.head.first - 1, [])
        for name in state.SAID:
            self._say(name, getattr(session.head, name), batch)
        for number in range(session.head.first, session.head.next):
            turn, mark = codec.encode_turn(session.turns[number], session.marks[number])
            self._turns.add(Entry.of(batch.add(TURN, turn), "", revision, mark), batch)
            size += len(turn)
        self._commit(batch, replace(session.head, key=key, generation=token_urlsafe(12), revision=revision, size=size))
        return True

    def _is(self, head: Head) -> bool:
        now = self.head
        return now is not None and (now.generation, now.revision) == (head.generation, head.revision)

    def delete(self, until: int) -> bool:
        """Forget all but that the session may not come back before `until`; whether there was one."""
        self.log.clear()
        self.expired, self.gone, self._deleted = False, until, self._micros
        self.log.write(self.log.batch(), state.encode(State(gone=until, deleted=self._micros)))
        self.log.touch(0)
        return self.head is not None

    @property
    def dead(self) -> bool:
        """Whether the file may go: no session is in it, and no tombstone that still counts."""
        return self.head is None and self.gone <= self.now

    @property
    def wasteful(self) -> bool:
        """Whether most of the file is dead and rewriting it is worth the while."""
        if self.head is None or self.log.end < _WORTH:
            return False
        living = self.head.size + sum(where.ref.length for where in self._said.values())
        return self.log.end > 2 * (living + (self.head.next - self.head.first) * _BESIDE)

    def remove_leftover(self) -> None:
        """Remove what a rewriting left that was killed."""
        Path(f"{self.log.path}.new").unlink(missing_ok=True)

    def rewrite(self) -> None:
        """If it is worth it or old, write the living part to a file of its own and put that in this one's place."""
        if self.head is None or not (self.wasteful or self.log.old):
            return
        fresh = f"{self.log.path}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                batch = Batch(0, os.urandom(8))
                file.write(batch.commit(state.encode(self._copy(self.head, batch, file.write))))
                file.flush()
                os.fsync(fd)
                os.utime(fd, ns=(self.head.updated * 1_000_000,) * 2)
            Path(fresh).rename(self.log.path)
        except BaseException:
            Path(fresh).unlink()
            raise

    # ------------------------------------------------------------ the parts of an append

    def _refuse(self, append: Append, loaded: int | None) -> None:
        ran = loaded is None or loaded <= self._deleted
        deleted = self.gone > self.now and append.generation is None and ran
        other = append.generation is not None and (self.head is None or append.generation != self.head.generation)
        if deleted or other:
            raise SessionGone("This session was deleted or has expired while the request ran; the turn is not stored.")

    def _new(self, key: SessionKey, append: Append) -> Head:
        self.log.clear()
        self.expired, self.gone = False, 0
        self._said, self._turns = {}, Turns.anew(self.log, 0, [])
        return Head(
            key=key,
            generation=token_urlsafe(12),
            revision=0,
            first=1,
            next=1,
            created=self.now,
            updated=self.now,
            expires=self.now + int(append.limits.ttl * 1000),
        )

    def _store(self, head: Head, append: Append, turn: bytes, mark: bytes) -> Appended:
        batch, size, number = self.log.batch(), head.size, head.next
        if append.replace_from is not None:
            number = min(max(append.replace_from, head.first), head.next)
            size -= self._turns.drop_from(number, head.first)
        for name in state.SAID:
            self._say(name, getattr(append, name), batch)
        self._turns.add(Entry.of(batch.add(TURN, turn), append.token, head.revision + 1, mark), batch)
        first, size = self._turns.cut(head.first, size + len(turn), append.limits)
        trimmed = first - head.first
        head, expires = replace(head, first=first), expiry(head, append, self.now)
        head = after(head, append, now=self.now, expires=expires, number=number, size=size)
        self._commit(batch, head)
        return Appended(number, head.generation, head.revision, trimmed)

    def _say(self, name: str, said: Said | None, batch: Batch) -> None:
        if said is None:
            return
        data = codec.encode(said)
        known, digest = self._said.get(name), sha256(data).digest()[:16]
        if known is None or known.digest != digest:
            self._said[name] = SaidRef(batch.add(SAID, data), digest)

    def _commit(self, batch: Batch, head: Head) -> None:
        stored = State(head, self._said, self._turns.commit(batch, head.first))
        self.log.write(batch, state.encode(stored))
        self.log.touch(head.updated)
        self.head = head

    def _keep(self, milliseconds: int) -> None:
        if self.head is None or self.head.expires >= self.now + milliseconds:
            return
        if not self._write:
            raise NeedsWrite
        self._commit(self.log.batch(), replace(self.head, expires=self.now + milliseconds))

    # ------------------------------------------------------------ the parts of a load

    def _whole(self, head: Head) -> Head:
        stored = self.log.read(SAID, [where.ref for where in self._said.values()])
        said = {name: self._sound(codec.decode_said, data) for name, data in zip(self._said, stored, strict=True)}
        return replace(head, **said)

    def _window(self, marked: int, shown: int, end: int) -> tuple[dict[int, Mark], dict[int, Turn]]:
        """Marks from number `marked` on and turns from `shown` on."""
        if self.head is not None:
            self._short(self.head, turns=end - shown, marks=end - marked)
        entries = self._span(marked, end)
        marks = self._sound(codec.decode_marks, [entry.mark for entry in entries])
        return dict(enumerate(marks, marked)), self._read(entries[shown - marked :], shown)

    def _stamp(self, number: int) -> bytes:
        there = self.head is not None and self.head.first <= number and not self.log.old
        return self._sound(self._turns.stamp, number) if there else b""

    def _read(self, entries: list[Entry], first: int) -> dict[int, Turn]:
        turns: list[Turn] = []
        for part in self.log.parts(TURN, refs(entries)):
            turns += self._sound(codec.decode_turns, part)
        return dict(enumerate(turns, first))

    def _span(self, first: int, end: int) -> list[Entry]:
        return self._sound(self._turns.span, first, end)

    def _short(self, head: Head, *, turns: int, marks: int) -> None:
        """Raises Long if reading so many would keep the event loop: an estimate in microseconds, from measurements."""
        kilobytes = head.size / max(head.next - head.first, 1) * turns / 1024
        if self._inline and turns * _TURN_COST + marks * _MARK_COST + kilobytes * _KILOBYTE_COST > _INLINE_COST:
            raise Long

    def _stored(self, data: bytes) -> tuple[State, Turns]:
        if self.log.old:
            if self._inline:
                raise Long
            return old.read(self.log, data)
        stored = state.decode(data) if data else State()
        return stored, Turns(self.log, stored.place)

    def _sound(self, decode: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What was stored, decoded. A checked frame that makes no sense was not written by us."""
        try:
            return decode(*args, **kwargs)
        except (msgspec.MsgspecError, struct.error, StoreError) as exc:
            if isinstance(exc, StoreError) and exc.code == "session_format":
                raise
            raise self.log.damaged() from None

    def _copy(self, head: Head, batch: Batch, write: Callable[[bytes], int]) -> State:
        said = {
            name: SaidRef(batch.add(SAID, self.log.read(SAID, [where.ref])[0]), where.digest)
            for name, where in self._said.items()
        }
        turns = Turns.anew(self.log, head.first - 1, [])
        for entry in self._span(head.first, head.next):
            ref = batch.add(TURN, self.log.read(TURN, [entry.ref])[0])
            turns.add(Entry.of(ref, entry.token, entry.revision, entry.mark), batch)
            write(batch.drain())
        return State(head, said, turns.commit(batch, head.first))
