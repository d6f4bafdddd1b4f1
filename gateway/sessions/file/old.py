"""Files of format 1: what their commits say. Its numbers grew with the session, and so did its index.

The newest turns were listed in the state itself, earlier ones in blocks of sixteen, whose places the state had, too.
"""

import msgspec
from msgspec import Struct

from gateway.sessions import codec
from gateway.sessions.file.index import Entry, Turns
from gateway.sessions.file.log import LogFile, Ref
from gateway.sessions.file.state import SaidRef, State

BLOCK = b"b"


class _Entry(Struct, frozen=True, array_like=True):
    number: int
    token: str
    ref: Ref
    revision: int
    mark: bytes


class _Block(Struct, frozen=True, array_like=True):
    first: int
    last: int
    ref: Ref


class _Index(Struct, frozen=True, array_like=True):
    entries: list[_Entry]
    blocks: list[_Block]
    flags: dict[int, bool]


class _State(Struct, frozen=True, array_like=True):
    head: bytes
    index: _Index
    said: dict[str, SaidRef]
    gone: int = 0
    deleted: int = 0


_STATE = msgspec.msgpack.Decoder(_State)
_ENTRIES = msgspec.msgpack.Decoder(list[_Entry])


def read(log: LogFile, data: bytes) -> tuple[State, Turns]:
    """The newest commit of an old file. Raises msgspec.MsgspecError, StoreError and Damaged."""
    old = _STATE.decode(data)
    head = codec.decode_head(old.head) if old.head else None
    stored = log.read(BLOCK, [block.ref for block in old.index.blocks])
    entries = [entry for block in stored for entry in _ENTRIES.decode(block)] + old.index.entries
    if head is not None:
        entries = [entry for entry in entries if head.first <= entry.number < head.next]
    turns = Turns.anew(log, entries[-1].number if entries else 0, [_new(entry, old.index.flags) for entry in entries])
    return State(head, old.said, gone=old.gone, deleted=old.deleted * 1000 + 999), turns


def _new(old: _Entry, flags: dict[int, bool]) -> Entry:
    entry = Entry.of(old.ref, old.token, old.revision, old.mark)
    return entry if old.number not in flags else entry.flagged(unconfirmed=flags[old.number])
