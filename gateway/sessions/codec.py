"""Turns, marks and heads as bytes: the same in every store.

A value is the byte FORMAT and MessagePack. A mark has one byte more in between, its flags, so that a store can read
and set them without decoding. The same value always gives the same bytes.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Final, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import Origin, Said
from gateway.errors import StoreError
from gateway.sessions.store import FORMAT, Head, Mark, Pin, SessionKey, Turn

FRESH: Final = 1
INCOMPLETE: Final = 2
UNCONFIRMED: Final = 4

T = TypeVar("T")

_VERSION = bytes([FORMAT])
_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_TURN = msgspec.msgpack.Decoder(Turn)
_TURNS = msgspec.msgpack.Decoder(list[Turn])
_MARKS = msgspec.msgpack.Decoder(list[Mark])
_MARK = msgspec.msgpack.Decoder(Mark)
_HEAD = msgspec.msgpack.Decoder(Head)
_SAID = msgspec.msgpack.Decoder(Said)
_PIN = msgspec.msgpack.Decoder(Pin)
_ORIGIN = msgspec.msgpack.Decoder(Origin)
_KEY = msgspec.msgpack.Decoder(SessionKey)
_BYTES = msgspec.msgpack.Decoder(bytes)
_FIRST = itemgetter(0)


def encode(value: Turn | Said | Pin | Origin | SessionKey) -> bytes:
    """One value as bytes. Marks and heads have functions of their own."""
    return _VERSION + _ENCODER.encode(value)


def encode_turn(turn: Turn, mark: Mark) -> tuple[bytes, bytes]:
    """A turn and its mark, which is given the turn's size in bytes."""
    whole = encode(turn)
    return whole, encode_mark(replace(mark, size=len(whole)))


def encode_mark(mark: Mark) -> bytes:
    """A mark: FORMAT, the flags, MessagePack."""
    flags = mark.fresh * FRESH | mark.incomplete * INCOMPLETE | mark.unconfirmed * UNCONFIRMED
    return bytes((FORMAT, flags)) + _ENCODER.encode(mark)


def encode_head(head: Head) -> bytes:
    """A whole head. Its context is JSON, so within MessagePack it is a string of bytes."""
    return _VERSION + _ENCODER.encode(replace(head, context=Raw(_ENCODER.encode(bytes(head.context)))))


def decode_turn(data: bytes) -> Turn:
    """Raises StoreError, like all below, for a newer format and for what cannot be read."""
    return _decode(_TURN, data, 1)


def decode_turns(stored: Sequence[bytes]) -> list[Turn]:
    """Several, for half of what each would cost alone."""
    return _decode_all(_TURNS, stored, 1)


def decode_mark(data: bytes) -> Mark:
    """The flags decide over `unconfirmed`: they may have been set since the mark was made."""
    return _flagged(_decode(_MARK, data, 2), data)


def decode_marks(stored: Sequence[bytes]) -> list[Mark]:
    """Several, for half of what each would cost alone."""
    marks = _decode_all(_MARKS, stored, 2)
    return [
        mark if mark.unconfirmed == (data[1] & UNCONFIRMED != 0) else _flagged(mark, data)
        for mark, data in zip(marks, stored, strict=True)
    ]


def _flagged(mark: Mark, data: bytes) -> Mark:
    unconfirmed = data[1] & UNCONFIRMED != 0
    return mark if mark.unconfirmed == unconfirmed else replace(mark, unconfirmed=unconfirmed)


def decode_head(data: bytes) -> Head:
    """A whole head."""
    head = _decode(_HEAD, data, 1)
    return replace(head, context=Raw(_BYTES.decode(head.context)))


def decode_said(data: bytes) -> Said:
    """A system prompt, a preamble, tools."""
    return _decode(_SAID, data, 1)


def decode_pin(data: bytes) -> Pin:
    """A preferred target."""
    return _decode(_PIN, data, 1)


def decode_origin(data: bytes) -> Origin:
    """A provider and a model."""
    return _decode(_ORIGIN, data, 1)


def decode_key(data: bytes) -> SessionKey:
    """Owner, user and id."""
    return _decode(_KEY, data, 1)


def refuse_newer(version: int) -> None:
    """Raises StoreError if `version` is newer than FORMAT."""
    if version > FORMAT:
        raise StoreError(
            f"This session was stored by a newer version of the gateway (format {version}; this one reads up to "
            f"{FORMAT}); upgrade the gateway.",
            code="session_format",
        )


def _decode_all(decoder: "msgspec.msgpack.Decoder[list[T]]", stored: Sequence[bytes], start: int) -> list[T]:
    """Values of one kind as one array of MessagePack, whose head is 0xdd and their number."""
    if b"" not in stored:
        refuse_newer(max(map(_FIRST, stored), default=0))
    whole = b"".join([b"\xdd" + len(stored).to_bytes(4), *[data[start:] for data in stored]])
    try:
        return decoder.decode(whole)
    except msgspec.MsgspecError:
        raise _damaged() from None


def _decode(decoder: "msgspec.msgpack.Decoder[T]", data: bytes, start: int) -> T:
    if data[:1] > _VERSION:
        refuse_newer(data[0])
    try:
        return decoder.decode(memoryview(data)[start:])
    except msgspec.MsgspecError:
        raise _damaged() from None


def _damaged() -> StoreError:
    return StoreError("This session is damaged and cannot be read; delete it.", code="session_damaged")
