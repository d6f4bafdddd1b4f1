"""What a commit says of a session, as bytes: numbers in a fixed width, so that they do not grow with the session."""

import struct
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import astuple

from gateway.conversation import Origin, Usage
from gateway.sessions.file.index import NOT_LOOKED, Looked, Place
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

    Or nothing but `deleted` and `gone`: when the session was deleted (Unix microseconds), and until when (milliseconds)
    a turn that ran then may not bring it back.
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
_NUMBERS = struct.Struct("<" + "QIQIQQQI" + "QI16s" * len(SAID) + "9q?8qd")
_SAID_AT = tuple((name, 8 + 3 * place) for place, name in enumerate(SAID))
_HEAD_AT = 8 + 3 * len(SAID)
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Who)
_NOTHING = (0, 0, b"")


def encode(state: State) -> bytes:
    """A state as bytes: of the same length for any numbers."""
    head = state.head
    if head is None:
        return _GONE.pack(state.gone, state.deleted)
    block, flags, (until, passed, held) = state.place
    key, said, totals = head.key, state.said, head.totals
    numbers: list[Any] = [*block, *flags, until, passed, *held]
    for name in SAID:
        where = said.get(name)
        numbers += (*where.ref, where.digest) if where else _NOTHING
    numbers += (
        head.revision, head.first, head.next, head.created, head.updated, head.expires, head.size, head.cut, head.kept,
        head.resends, totals.turns, totals.messages, totals.unpriced, *astuple(totals.usage), totals.cost,
    )  # fmt: skip
    who = _Who(key.owner, key.user, key.id, head.generation, head.pin, head.last, bytes(head.context))
    return _packed(numbers) + _ENCODER.encode(who)


def decode(data: bytes) -> State:
    """Raises struct.error and msgspec.MsgspecError."""
    if len(data) == _GONE.size:
        gone, deleted = _GONE.unpack(data)
        return State(gone=gone, deleted=deleted)
    numbers = _NUMBERS.unpack_from(data)
    offset, length, flags, flags_length, until, passed, held, held_length = numbers[:8]
    place = Place(
        Ref(offset, length),
        Ref(flags, flags_length) if flags else NOWHERE,
        Looked(until, passed, Ref(held, held_length)) if until else NOT_LOOKED,
    )
    said = {name: SaidRef(Ref(numbers[at], numbers[at + 1]), numbers[at + 2]) for name, at in _SAID_AT if numbers[at]}
    return State(_head(numbers[_HEAD_AT:], _DECODER.decode(memoryview(data)[_NUMBERS.size :])), said, place)


def _packed(numbers: list[Any]) -> bytes:
    try:
        return _NUMBERS.pack(*numbers)
    except struct.error:  # some provider's counts have no bound
        return _NUMBERS.pack(*(max(-MOST, min(n, MOST)) if isinstance(n, int) else n for n in numbers))


def _head(numbers: tuple[Any, ...], who: _Who) -> Head:
    (
        revision, first, following, created, updated, expires, size, cut, kept,
        resends, turns, messages, unpriced, *usage, cost,
    ) = numbers  # fmt: skip
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
