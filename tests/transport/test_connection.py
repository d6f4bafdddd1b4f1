"""The connection alone: bytes in, without a socket."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.connection import Connection

CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-empty:\r\ntransfer-encoding: chunked\r\n\r\n"
    b"6;note=1\r\ndata: \r\n3\r\nhi\n\r\n1\r\n\n\r\n0\r\nx-trailer: late\r\n\r\n"
)
CHUNKED_FIELDS = [(b"content-type", b"text/event-stream"), (b"x-empty", b""), (b"transfer-encoding", b"chunked")]
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX: a\r\nX: b\r\n\r\n0123456789"


class Wire:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.ends = socket.socketpair()
        self.written = b""
        self.closing = False
        self.reading = True

    def get_extra_info(self, name):
        assert name == "socket"
        return self.ends[0]

    def write(self, data):
        self.written += data

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def is_closing(self):
        return self.closing

    def abort(self):
        self.closing = True
        for end in self.ends:
            end.close()


async def received(pieces: list[bytes]) -> tuple[int, list, bytes, bool]:
    """What a response in these pieces comes to, and whether the connection was released for another."""
    released = []
    connection = Connection(asyncio.get_running_loop(), released.append, lambda _: None)
    wire = Wire()
    connection.connection_made(wire)
    try:
        waiting = asyncio.create_task(connection.exchange(b"request", bodiless=False))
        await asyncio.sleep(0)
        for piece in pieces:
            connection.data_received(piece)
        body = await waiting
        data = b"".join([part async for part in body])
        return body.status, body.fields, data, bool(released)
    finally:
        wire.abort()


async def test_a_chunked_stream_may_be_split_anywhere():
    for at in range(1, len(CHUNKED)):
        found = await received([CHUNKED[:at], CHUNKED[at:]])
        assert found == (200, CHUNKED_FIELDS, b"data: hi\n\n", True), at


async def test_a_chunked_stream_may_come_byte_by_byte():
    pieces = [CHUNKED[i : i + 1] for i in range(len(CHUNKED))]
    assert await received(pieces) == (200, CHUNKED_FIELDS, b"data: hi\n\n", True)


async def test_a_counted_body_may_be_split_anywhere():
    for at in range(1, len(COUNTED)):
        found = await received([COUNTED[:at], COUNTED[at:]])
        assert found == (200, [(b"Content-Length", b"10"), (b"X", b"a"), (b"X", b"b")], b"0123456789", True), at


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.data())
def test_what_was_chunked_is_put_together(chunks, data):
    stream = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    stream += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert asyncio.run(received(pieces)) == (200, [(b"transfer-encoding", b"chunked")], b"".join(chunks), True)


@pytest.mark.parametrize("stray", [b"HTTP/1.1 200 OK\r\n", b"HTTP", b"garbage", COUNTED])
async def test_what_follows_a_response_unasked_does_not_reach_the_next(stray):
    assert await received([COUNTED + stray]) == (
        200,
        [(b"Content-Length", b"10"), (b"X", b"a"), (b"X", b"b")],
        b"0123456789",
        False,
    )


async def test_a_connection_is_never_released_while_it_is_held_back():
    connection = Connection(asyncio.get_running_loop(), lambda _: None, lambda _: None)
    wire = Wire()
    connection.connection_made(wire)
    waiting = asyncio.create_task(connection.exchange(b"request", bodiless=False))
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + b"x" * 299_999)
    assert not wire.reading
    connection.data_received(b"x")  # decrypted before the reading stopped
    assert wire.reading
    assert len(b"".join([part async for part in await waiting])) == 300_000
    wire.abort()
