"""Which turns a session's file holds, and where.

The newest turns are listed in the state itself. Whenever there are BLOCK of them they move to a block of their own,
which is written once; the state then holds only the block's place. So a commit writes little, however long the
session is, and a load reads the blocks it needs.
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.sessions.codec import FRESH, INCOMPLETE, UNCONFIRMED
from gateway.sessions.file.log import BLOCK, Batch, Ref
from gateway.sessions.store import Limits

PER_BLOCK: Final = 16


class Entry(Struct, frozen=True, array_like=True):
    """One turn: its number, the append that made it, where it is, the session's revision then, its encoded mark."""

    number: int
    token: str
    ref: Ref
    revision: int
    mark: bytes

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


class Block(Struct, frozen=True, array_like=True):
    """Where the entries of turns `first` to `last` are; `size` of their turns, `fresh` if any of them is."""

    first: int
    last: int
    ref: Ref
    size: int
    fresh: bool


_ENCODER = msgspec.msgpack.Encoder()
_ENTRIES = msgspec.msgpack.Decoder(list[Entry])
_BLOCKS = msgspec.msgpack.Decoder(list[Block])


class Index(Struct, array_like=True):
    """Turns by number, contiguous. `flags` are those set since their block was written.

    `blocks` is a list of Block as it is stored: most appends neither need nor change it.
    """

    entries: list[Entry] = []
    blocks: Raw = Raw(_ENCODER.encode([]))
    flags: dict[int, bool] = {}


class Turns:
    """An index at work. `read` gives the payload of a block."""

    def __init__(self, index: Index, read: Callable[[Ref], bytes]) -> None:
        self.entries = index.entries
        self._stored: Raw | None = index.blocks
        self._blocks: list[Block] = []
        self.flags = index.flags
        self._read = read
        self._known: dict[Ref, list[Entry]] = {}

    @property
    def blocks(self) -> list[Block]:
        """The blocks, oldest first. Raises msgspec.MsgspecError."""
        if self._stored is not None:
            self._blocks, self._stored = _BLOCKS.decode(self._stored), None
        return self._blocks

    @blocks.setter
    def blocks(self, blocks: list[Block]) -> None:
        self._blocks, self._stored = blocks, None

    def index(self) -> Index:
        """What is to be stored."""
        stored = self._stored if self._stored is not None else Raw(_ENCODER.encode(self._blocks))
        return Index(self.entries, stored, self.flags)

    def span(self, first: int, end: int) -> list[Entry]:
        """The entries of turns `first` to `end - 1`, as far as there are any."""
        found: list[Entry] = []
        for block in self.blocks if not self.entries or first < self.entries[0].number else ():
            if block.first < end and block.last >= first:
                found += self._block(block)
        found += self.entries
        return [entry for entry in found if first <= entry.number < end]

    def find(self, token: str, since: int) -> Entry | None:
        """The turn that `token` appended, if the session's revision was beyond `since` then."""
        for entries in self._newest_first():
            for entry in entries:
                if entry.token == token:
                    return entry
            if entries and entries[0].revision <= since:
                break
        return None

    def add(self, entry: Entry, batch: Batch) -> None:
        """One more turn behind all others; a full list of entries becomes a block in `batch`."""
        if len(self.entries) >= PER_BLOCK:
            self._seal(batch)
        self.entries.append(entry)

    def flag(self, entry: Entry, *, unconfirmed: bool) -> None:
        """Set or clear a turn's flag."""
        for place, candidate in enumerate(self.entries):
            if candidate.number == entry.number:
                self.entries[place] = candidate.flagged(unconfirmed=unconfirmed)
                return
        self.flags[entry.number] = unconfirmed

    def drop_from(self, number: int) -> int:
        """Forget turn `number` and all after it; the bytes of their turns."""
        kept: list[Entry] = []
        dropped = sum(entry.ref.length for entry in self.entries if entry.number >= number)
        while self.blocks and self.blocks[-1].last >= number:
            block = self.blocks.pop()
            if block.first >= number:
                dropped += block.size
            else:
                entries = self._block(block)
                kept = [entry for entry in entries if entry.number < number]
                dropped += sum(entry.ref.length for entry in entries[len(kept) :])
        self.entries = kept + [entry for entry in self.entries if entry.number < number]
        self.flags = {turn: flag for turn, flag in self.flags.items() if self.blocks and turn <= self.blocks[-1].last}
        return dropped

    def drop_before(self, number: int) -> None:
        """Forget the turns before `number`; entries in a block that is still needed may stay."""
        self.entries = [entry for entry in self.entries if entry.number >= number]
        self.blocks = [block for block in self.blocks if block.last >= number]
        self.flags = {turn: flag for turn, flag in self.flags.items() if turn >= number}

    def cut(self, first: int, end: int, size: int, limits: Limits) -> tuple[int, int]:
        """Where turns `first` to `end - 1` of `size` bytes must begin to keep to the caps, and their size then.

        Cut only in front of a fresh turn, as little as will do; if nothing will do, at the last such place.
        """
        best, dropped = (first, size), 0
        oldest = self._oldest(first)
        while end - best[0] > limits.max_turns or best[1] > limits.max_bytes:
            number, length, fresh = next(oldest, (end, 0, False))
            if number == end:
                break
            if fresh and number > first:
                best = number, size - dropped
            dropped += length
        return best

    def _oldest(self, first: int) -> Iterator[tuple[int, int, bool]]:
        """Number, size and freshness from turn `first` on; blocks with no fresh turn in one piece, unread."""
        for block in self.blocks:
            if not block.fresh and block.first >= first:
                yield block.first, block.size, False
            else:
                yield from ((e.number, e.ref.length, e.fresh) for e in self._block(block) if e.number >= first)
        yield from ((e.number, e.ref.length, e.fresh) for e in self.entries if e.number >= first)

    def _newest_first(self) -> Iterator[list[Entry]]:
        yield self.entries
        for block in reversed(self.blocks):
            yield self._block(block)

    def _block(self, block: Block) -> list[Entry]:
        entries = self._known.get(block.ref)
        if entries is None:
            entries = self._known[block.ref] = _ENTRIES.decode(self._read(block.ref))
        if not self.flags:
            return entries
        return [
            entry.flagged(unconfirmed=self.flags[entry.number]) if entry.number in self.flags else entry
            for entry in entries
        ]

    def _seal(self, batch: Batch) -> None:
        entries = self.entries
        ref = batch.add(BLOCK, _ENCODER.encode(entries))
        size = sum(entry.ref.length for entry in entries)
        fresh = any(entry.fresh for entry in entries)
        self.blocks.append(Block(entries[0].number, entries[-1].number, ref, size, fresh))
        self.entries, self._known[ref] = [], entries
