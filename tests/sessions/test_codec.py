"""Stored bytes: stable, versioned, never guessed at."""

import pytest
from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import Origin, Said, Usage
from gateway.errors import Kind, StoreError
from gateway.sessions import codec
from gateway.sessions.store import FORMAT, Head, Mark, Pin, SessionKey, Totals, Turn

KEY = SessionKey("acme", "jo", "chat-1")
TURN = Turn(
    question=Said("anthropic", (b'{"role":"user"}', b"\xff\x00")),
    reply=Said("gemini", (b"{}",), Origin("google", "gemini-3")),
    usage=Usage(1, 2, 3, 4, 5),
    stop="end",
    at=1_800_000_000_000,
)
MARK = Mark(b"q", b"r", 10, fresh=False, incomplete=True, calls=(("a", "b"),), results=("c",))
HEAD = Head(
    key=KEY,
    generation="g",
    revision=3,
    first=1,
    next=4,
    created=1,
    updated=2,
    expires=3,
    system=Said("openai-chat", (b"{}",)),
    pin=Pin("main", "k1"),
    totals=Totals(turns=3, cost=0.1),
    context=Raw(b'{"plan": "gold"}'),
)
DECODERS = [
    codec.decode_turn,
    codec.decode_mark,
    codec.decode_head,
    codec.decode_said,
    codec.decode_pin,
    codec.decode_origin,
    codec.decode_key,
]


def test_a_turn_and_its_mark_come_back_and_the_mark_knows_the_size() -> None:
    turn, mark = codec.encode_turn(TURN, MARK)
    assert codec.decode_turn(turn) == TURN
    assert codec.decode_mark(mark) == replace(MARK, size=len(turn))


def test_a_head_comes_back_with_its_context_as_json() -> None:
    read = codec.decode_head(codec.encode_head(HEAD))
    assert read == HEAD
    assert bytes(read.context) == b'{"plan": "gold"}'


def test_the_small_things_come_back() -> None:
    said, pin, origin = Said("gemini", (b"[]",)), Pin("a", "b"), Origin("c", "d")
    assert codec.decode_said(codec.encode(said)) == said
    assert codec.decode_pin(codec.encode(pin)) == pin
    assert codec.decode_origin(codec.encode(origin)) == origin
    assert codec.decode_key(codec.encode(KEY)) == KEY


def test_the_bytes_are_these_for_ever() -> None:
    assert codec.encode(Pin("main", "k1")).hex() == "0192a46d61696ea26b31"
    assert codec.encode_mark(Mark(b"q", b"r", 1)).hex() == "010199c40171c401720100c3c2c29090"


def test_a_flag_can_be_set_in_the_bytes() -> None:
    mark = bytearray(codec.encode_mark(MARK))
    mark[1] |= codec.UNCONFIRMED
    assert codec.decode_mark(bytes(mark)) == replace(MARK, unconfirmed=True)
    mark[1] &= ~codec.UNCONFIRMED
    assert codec.decode_mark(bytes(mark)) == MARK


@pytest.mark.parametrize("decode", DECODERS)
def test_a_newer_format_is_refused(decode) -> None:
    with pytest.raises(StoreError, match="newer version") as caught:
        decode(bytes([FORMAT + 1]) + b"\x01\x90")
    assert (caught.value.kind, caught.value.code) == (Kind.UNAVAILABLE, "session_format")


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("data", [b"", bytes([FORMAT]), bytes([FORMAT, 0, 0xFF]), b"\x01\x01\x01\x01", b"\x00"])
def test_what_is_damaged_is_refused(decode, data: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        decode(data)
