"""A slow reader slows the server down; nothing piles up in between."""

import asyncio

import pytest

from tests.transport.conftest import fetch, until

PIECE = bytes(range(256)) * 256
COUNT = 1024  # 64 MiB in all


def flood(framing: str):
    """A script that sends COUNT pieces, and a list that holds how many have been taken."""
    sent = [0]

    async def script(peer):
        while True:
            await peer.request()
            await write(peer)
            sent[0] = 0

    async def write(peer):
        length = b"transfer-encoding: chunked" if framing == "chunked" else b"content-length: %d" % (len(PIECE) * COUNT)
        await peer.send(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n")
        peer.writer.transport.set_write_buffer_limits(high=0)
        for _ in range(COUNT):
            await peer.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if framing == "chunked" else PIECE)
            sent[0] += 1
        if framing == "chunked":
            await peer.send(b"0\r\n\r\n")

    return script, sent


async def settled(sent: list[int]) -> int:
    """How much was sent when no more was taken."""
    last = -1
    while last != sent[0]:
        last = sent[0]
        await asyncio.sleep(0.1)
    return last


@pytest.mark.parametrize("framing", ["chunked", "counted"])
async def test_a_server_waits_for_a_slow_reader(serve, transport, framing):
    script, sent = flood(framing)
    server = await serve(script)
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    await until(lambda: sent[0] > 0)
    assert await settled(sent) < COUNT / 2  # what the kernel's buffers hold, and no more
    assert response.stream.size < 1 << 20
    total = 0
    async for piece in response.stream:
        assert response.stream.size < 1 << 20
        total += len(piece)
    assert total == len(PIECE) * COUNT


async def test_a_connection_that_was_held_back_is_good_for_the_next_request(serve, transport):
    script, _ = flood("counted")
    server = await serve(script)
    for _ in range(2):
        response = await transport.handle_async_request(server.endpoint().request(b"{}"))
        await asyncio.sleep(0.1)
        assert b"".join([piece async for piece in response.stream]) == PIECE * COUNT
    assert server.connections == 1


async def test_a_connection_whose_answer_ends_while_held_back_is_good_for_the_next(serve, transport):
    async def script(peer):
        while True:
            await peer.request()
            await peer.answer(b"x" * 400_000)

    server = await serve(script)
    for _ in range(5):
        assert await fetch(transport, server.endpoint().request(b"{}")) == b"x" * 400_000
    assert server.connections == 1


async def test_a_reader_that_gives_up_while_the_server_is_held_back_lets_it_go(serve, transport):
    script, sent = flood("chunked")
    server = await serve(script)
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    await until(lambda: sent[0] > 0)
    await settled(sent)
    await response.stream.aclose()
    await until(lambda: server.finished == [1])
