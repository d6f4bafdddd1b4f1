"""Which turns a session's file holds, and where.

Each turn is stored with a block: the entries of the newest STEP turns, itself included, and where the blocks of some
earlier turns are, at strides that grow by the power: the newest turn before it that 8 divides, that 32 divides, 128,
and so on. All numbers have a fixed width. So a commit writes the same at the tenth turn and at the thousandth, a walk
back reads every eighth block, and any turn is found in a few leaps.
"""

import struct
from typing import Final, NamedTuple, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.sessions.codec import FRESH, INCOMPLETE, UNCONFIRMED
from gateway.sessions.file.log import FLAGS, INDEX, NOWHERE, Batch, LogFile, Ref
from gateway.sessions.store import Limits

STEP: Final = 8
_STRIDES: Final = tuple(STEP * 4**level for level in range(6))

_PLACE = struct.Struct("<QIQ")
_REF = struct.Struct("<QI")
_LAST = struct.Struct("<Q")


class Entry(Struct, frozen=True, gc=False, array_like=True):
    """One turn: where it is and the session's revision then, packed; the append that made it; its encoded mark."""

    place: bytes
    token: str
    mark: bytes

    @classmethod
    def of(cls, ref: Ref, token: str, revision: int, mark: bytes) -> Self:
        """A turn's entry."""
        return cls(_PLACE.pack(*ref, revision), token, mark)

    @property
    def ref(self) -> Ref:
        """Where the turn is."""
        return Ref._make(_REF.unpack_from(self.place))

    @property
    def revision(self) -> int:
        """The session's, once it was stored."""
        revision: int = _PLACE.unpack(self.place)[2]
        return revision

    @property
    def fresh(self) -> bool:
        """Whether history may be cut in front of it."""
        return bool(self.mark[1] & FRESH)

    @property
    def incomplete(self) -> bool:
        """Whether its reply was cut short."""
        return bool(self.mark[1] & INCOMPLETE)

    def flagged(self, *, unconfirmed: bool) -> "Entry":
        """The same with the mark's flag set or cleared."""
        flags = self.mark[1] | UNCONFIRMED if unconfirmed else self.mark[1] & ~UNCONFIRMED
        return replace(self, mark=self.mark[:1] + bytes([flags]) + self.mark[2:])


def refs(entries: list[Entry]) -> list[Ref]:
    """Where turns are."""
    places = b"".join([entry.place for entry in entries])
    return [Ref(offset, length) for offset, length, _ in _PLACE.iter_unpack(places)]


class Block(NamedTuple):
    """Turns `first` to `last`, and where earlier blocks are, one for each stride, packed (NOWHERE if there is none)."""

    first: int
    last: int
    back: bytes
    entries: list[Entry]

    def leap(self, number: int) -> Ref | None:
        """The earliest block that is known here and holds turn `number` or later ones."""
        for level in range(len(_STRIDES) - 1, -1, -1):
            if (self.last - 1) // _STRIDES[level] * _STRIDES[level] >= number:
                ref = Ref._make(_REF.unpack_from(self.back, level * _REF.size))
                if ref != NOWHERE:
                    return ref
        return None


class Looked(NamedTuple):
    """How far a place to cut was looked for: behind the first turn and before `until`, of `size` bytes, there is none.

    `block` is one that holds turn `until`, or NOWHERE.
    """

    until: int
    size: int
    block: Ref


NOT_LOOKED: Final = Looked(0, 0, NOWHERE)


class Place(NamedTuple):
    """Where the index of a commit is."""

    block: Ref = NOWHERE
    flags: Ref = NOWHERE
    looked: Looked = NOT_LOOKED


_ENCODER = msgspec.msgpack.Encoder()
_ENTRIES = msgspec.msgpack.Decoder(list[Entry])
_FLAGS = msgspec.msgpack.Decoder(dict[int, bool])
_NO_BACK = _REF.pack(*NOWHERE) * len(_STRIDES)
_HEAD = _LAST.size + len(_NO_BACK)


class Turns:
    """An index at work: turns by number, contiguous. Raises Damaged and msgspec.MsgspecError."""

    def __init__(self, log: LogFile, place: Place) -> None:
        self._log = log
        self._place: Ref | None = place.block
        self._flagged: Ref | None = place.flags
        self._looked = place.looked
        self._known: dict[Ref, Block] = {}
        self._newest: Block | None = None
        self._flags: dict[int, bool] | None = None

    @classmethod
    def anew(cls, log: LogFile, last: int, entries: list[Entry]) -> Self:
        """Turns that no block holds yet, up to `last`."""
        turns = cls(log, Place())
        turns._place, turns._newest = None, Block(last - len(entries) + 1, last, _NO_BACK, entries)
        return turns

    @property
    def newest(self) -> Block:
        """The newest turns."""
        if self._newest is None:
            self._newest = self._block(self._place or NOWHERE)
        return self._newest

    @property
    def flags(self) -> dict[int, bool]:
        """Those that were set since their turn was stored."""
        if self._flags is None:
            stored = self._flagged if self._flagged != NOWHERE else None
            self._flags = _FLAGS.decode(self._log.read(FLAGS, [stored])[0]) if stored else {}
        return self._flags

    def span(self, first: int, end: int) -> list[Entry]:
        """The entries of turns `first` to `end - 1`, all of which must be there."""
        parts: list[list[Entry]] = []
        block, flags = self.newest, self.flags
        while end > first:
            block = self._holding(end - 1, block)
            start = max(first, block.first)
            parts.append(block.entries[start - block.first : end - block.first])
            end = start
        found = [entry for part in reversed(parts) for entry in part]
        for number in [number for number in flags if first <= number < first + len(found)]:
            found[number - first] = found[number - first].flagged(unconfirmed=flags[number])
        return found

    def stamp(self, number: int) -> bytes:
        """Names turn `number`, as long as it and those before it stay as they are in this file."""
        block = self._holding(number, self.newest)
        entry = block.entries[number - block.first]
        return self._log.salt + _REF.pack(*(self._flagged or NOWHERE)) + entry.place + entry.token.encode()

    def find(self, token: str, since: int, first: int) -> tuple[int, Entry] | None:
        """The turn from `first` on that `token` appended after revision `since`, and its number."""
        block = self.newest
        while block.entries:
            for number, entry in enumerate(block.entries, block.first):
                if entry.token == token and number >= first:
                    return number, entry
            if block.first <= first or block.entries[0].revision <= since:
                break
            block = self._holding(block.first - 1, block)
        return None

    def add(self, entry: Entry, batch: Batch) -> None:
        """One more turn behind all others."""
        first, last, back, entries = self.newest
        entries = [*entries[1 - STEP :], entry]
        if last % STEP == 0 and first <= last:
            levels = sum(last % stride == 0 for stride in _STRIDES)
            back = _REF.pack(*self._stored(batch)) * levels + back[levels * _REF.size :]
        self._place, self._newest = None, Block(last + 2 - len(entries), last + 1, back, entries)

    def flag(self, number: int, *, unconfirmed: bool) -> None:
        """Set or clear a turn's flag."""
        self.flags[number] = unconfirmed
        self._flagged = None

    def drop_from(self, number: int, first: int) -> int:
        """Forget turn `number` and all after it, of those from `first` on; the bytes of their turns."""
        block = self.newest
        dropped = sum(entry.ref.length for entry in self.span(number, block.last + 1))
        entries = self.span(max(first, number - STEP), number)
        place = self._place
        while (ref := block.leap(number - 1)) is not None:  # the first block of all behind knows what is before
            block, place = self._block(ref), ref
        if block.last == number - 1:
            self._place, self._newest = place, block
        else:
            self._place, self._newest = None, Block(number - len(entries), number - 1, block.back, entries)
        for flagged in [flagged for flagged in self.flags if flagged >= number]:
            del self.flags[flagged]
            self._flagged = None
        until, size, _ = self._looked
        self._looked = NOT_LOOKED if until > number else Looked(until, size, NOWHERE)
        return dropped

    def cut(self, first: int, size: int, limits: Limits) -> tuple[int, int]:
        """Where the turns from `first` on, of `size` bytes, must begin to keep to the caps, and their size then.

        Cut only in front of a fresh turn, as little as will do; if nothing will do, at the last such place.
        """
        end, best = self.newest.last + 1, (first, size)
        at, passed, held = self._looked if self._looked.until >= first else Looked(first, 0, NOWHERE)
        while at < end and (end - best[0] > limits.max_turns or best[1] > limits.max_bytes):
            block = self.newest if held == NOWHERE else self._block(held)
            if not block.first <= at <= block.last:
                held = self._where(at, self.newest)
                continue
            entry = block.entries[at - block.first]
            if entry.fresh and at > first:
                best = at, size - passed
            passed += entry.ref.length
            at += 1
        self._looked = Looked(at, passed, held) if best[0] == first else Looked(best[0], 0, held)
        return best

    def commit(self, batch: Batch, first: int) -> Place:
        """Where it is once `batch` is written. The turns before `first` are forgotten."""
        if self._flagged is None:
            self._flags = {number: flag for number, flag in self.flags.items() if number >= first}
            self._flagged = batch.add(FLAGS, _ENCODER.encode(self._flags)) if self._flags else NOWHERE
        return Place(self._stored(batch), self._flagged, self._looked)

    def _stored(self, batch: Batch) -> Ref:
        if self._place is None:
            _, last, back, entries = self.newest
            self._place = batch.add(INDEX, _LAST.pack(last) + back + _ENCODER.encode(entries))
        return self._place

    def _holding(self, number: int, block: Block) -> Block:
        """The block that holds turn `number`, from a block that holds it or later ones."""
        return block if number >= block.first else self._block(self._where(number, block))

    def _where(self, number: int, block: Block) -> Ref:
        """The same block's place, NOWHERE if it is `block`."""
        ref = NOWHERE
        while number < block.first:
            ref = block.leap(number) or NOWHERE
            block = self._block(ref)
        return ref

    def _block(self, ref: Ref) -> Block:
        block = self._known.get(ref)
        if block is None:
            data = self._log.read(INDEX, [ref])[0]
            (last,) = _LAST.unpack_from(data)
            entries = _ENTRIES.decode(memoryview(data)[_HEAD:])
            block = self._known[ref] = Block(last - len(entries) + 1, last, data[_LAST.size : _HEAD], entries)
        return block
