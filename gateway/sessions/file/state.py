"""What a commit says of a session, as bytes: numbers in a fixed width, so that they do not grow with the session."""

import struct
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import astuple

from gateway.conversation import Origin, Usage
from gateway.sessions.file.index import Looked, Place
from gateway.sessions.file.log import NOWHERE, Ref
from gateway.sessions.store import Head, Pin, SessionKey, Totals

SAID: Final = ("system", "preamble", "tools")
MOST: Final = (1 << 63) - 1


class SaidRef(NamedTuple):
    """Where a system prompt, a preamble or tools are, and their digest: what is the same is not stored again."""

    ref: Ref
    digest: bytes


class State(Struct, frozen=True):
    """The head without what was said, and where that and the turns are.

    Or nothing but `gone` and `deleted`: when the session was deleted (Unix milliseconds), and until when a turn that
    ran then may not bring it back.
    """

    head: Head | None = None
    said: dict[str, SaidRef] = {}
    place: Place = Place()
    gone: int = 0
    deleted: int = 0


class _Who(Struct, frozen=True, array_like=True):
    """The part of a head that is no number."""

    owner: str
    user: str
    id: str
    generation: str
    pin: Pin | None
    last: Origin | None
    context: bytes


_GONE = struct.Struct("<2q")
_PLACE = struct.Struct("<6Q")
_SAID = struct.Struct("<" + "QI16s" * len(SAID))
_HEAD = struct.Struct("<9q?8qd")
_WHO = _PLACE.size + _SAID.size + _HEAD.size
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Who)
_NOTHING = SaidRef(NOWHERE, b"")


def encode(state: State) -> bytes:
    """A state as bytes: of the same length for any numbers."""
    head = state.head
    if head is None:
        return _GONE.pack(state.gone, state.deleted)
    key = head.key
    who = _Who(key.owner, key.user, key.id, head.generation, head.pin, head.last, bytes(head.context))
    said = [part for name in SAID for ref, digest in (state.said.get(name, _NOTHING),) for part in (*ref, digest)]
    place = (*state.place.block, *state.place.flags, *state.place.looked)
    return _PLACE.pack(*place) + _SAID.pack(*said) + _numbers(head) + _ENCODER.encode(who)


def decode(data: bytes) -> State:
    """Raises struct.error and msgspec.MsgspecError."""
    if len(data) == _GONE.size:
        gone, deleted = _GONE.unpack(data)
        return State(gone=gone, deleted=deleted)
    offset, length, flags, flags_length, until, size = _PLACE.unpack_from(data)
    place = Place(Ref(offset, length), Ref(flags, flags_length), Looked(until, size))
    parts = _SAID.unpack_from(data, _PLACE.size)
    said = {
        name: SaidRef(Ref(parts[at], parts[at + 1]), parts[at + 2])
        for name, at in zip(SAID, range(0, len(parts), 3), strict=True)
        if parts[at]
    }
    return State(_head(data), said, place)


def _numbers(head: Head) -> bytes:
    totals = head.totals
    numbers = (
        head.revision, head.first, head.next, head.created, head.updated, head.expires, head.size, head.cut, head.kept,
        head.resends, totals.turns, totals.messages, totals.unpriced, *astuple(totals.usage), totals.cost,
    )  # fmt: skip
    try:
        return _HEAD.pack(*numbers)
    except struct.error:  # some provider's counts have no bound
        return _HEAD.pack(*(max(-MOST, min(number, MOST)) for number in numbers))


def _head(data: bytes) -> Head:
    who = _DECODER.decode(data[_WHO:])
    (
        revision, first, following, created, updated, expires, size, cut, kept,
        resends, turns, messages, unpriced, *usage, cost,
    ) = _HEAD.unpack_from(data, _PLACE.size + _SAID.size)  # fmt: skip
    return Head(
        key=SessionKey(who.owner, who.user, who.id),
        generation=who.generation,
        revision=revision,
        first=first,
        next=following,
        created=created,
        updated=updated,
        expires=expires,
        size=size,
        cut=cut,
        resends=resends,
        pin=who.pin,
        last=who.last,
        totals=Totals(turns=turns, messages=messages, usage=Usage(*usage), cost=cost, unpriced=unpriced),
        context=Raw(who.context),
        kept=kept,
    )
