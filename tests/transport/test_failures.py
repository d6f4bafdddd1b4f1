"""Servers that misbehave: every failure has httpx's name for it, and no cut body looks whole."""

import asyncio
import socket

import httpx
import pytest

from gateway.transport import Endpoint
from tests.transport.conftest import answering, fetch

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
COUNTED = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhello"


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def test_nobody_listens(transport):
    with pytest.raises(httpx.ConnectError):
        await fetch(transport, Endpoint(f"http://127.0.0.1:{unused_port()}/").request(b"{}"))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70, "a..b"])
async def test_a_name_that_leads_nowhere(transport, host):
    with pytest.raises(httpx.ConnectError):
        await fetch(transport, Endpoint(f"http://{host}/").request(b"{}"))


async def test_a_connection_that_is_never_accepted_times_out(transport):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:  # fill the queue of what waits to be accepted
            client.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            client.connect_ex(listener.getsockname())
        endpoint = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/", connect_timeout=0.2)
        with pytest.raises(httpx.ConnectTimeout):
            await fetch(transport, endpoint.request(b"{}"))
        for client in clients:
            client.close()


async def reset_at_once(peer):
    peer.reset()


async def close_at_once(peer):
    peer.writer.close()


async def reset_after_request(peer):
    await peer.request()
    peer.reset()


@pytest.mark.parametrize("script", [reset_at_once, close_at_once])
async def test_a_connection_that_is_closed_before_the_request(serve, transport, script):
    server = await serve(script)
    with pytest.raises((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.ConnectError)):
        await fetch(transport, server.endpoint().request(b"{}"))


async def test_a_reset_before_the_headers(serve, transport):
    server = await serve(reset_after_request)
    with pytest.raises(httpx.ReadError):
        await fetch(transport, server.endpoint().request(b"{}"))


async def test_a_close_before_the_headers(serve, transport):
    server = await serve(answering())
    with pytest.raises(httpx.RemoteProtocolError, match="without a response"):
        await fetch(transport, server.endpoint().request(b"{}"))


async def test_a_request_that_is_cut_off_was_not_written(serve, transport):
    async def script(peer):
        await peer.reader.readexactly(100_000)
        peer.reset()

    server = await serve(script)
    with pytest.raises(httpx.WriteError):
        await fetch(transport, server.endpoint().request(b"x" * (32 << 20)))


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage garbage garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\ncontent-type: te",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_http(serve, transport, answer):
    server = await serve(answering(answer))
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(transport, server.endpoint().request(b"{}"))


@pytest.mark.parametrize("line", [b"x-a: b\r\n", b"y" * 1000])
async def test_headers_without_an_end_are_cut_off(serve, transport, line):
    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nx-")
        while True:
            await peer.send(line * 100)

    server = await serve(script)
    async with asyncio.timeout(5):
        with pytest.raises(httpx.RemoteProtocolError, match="too large"):
            await fetch(transport, server.endpoint().request(b"{}"))


async def test_informational_responses_without_an_end_are_cut_off(serve, transport):
    async def script(peer):
        await peer.request()
        while True:
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    server = await serve(script)
    async with asyncio.timeout(5):
        with pytest.raises(httpx.RemoteProtocolError, match="too large"):
            await fetch(transport, server.endpoint().request(b"{}"))


@pytest.mark.parametrize(
    "cut",
    [
        COUNTED,
        CHUNKED,
        CHUNKED + b"5\r\nhe",
        CHUNKED + b"5",
        CHUNKED + b"0\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
    ],
)
async def test_a_body_that_is_cut_short_is_never_a_clean_end(serve, transport, cut):
    server = await serve(answering(cut))
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    with pytest.raises(httpx.RemoteProtocolError, match="in the middle"):
        await response.aread()


async def test_a_chunk_that_is_none_is_an_error(serve, transport):
    server = await serve(answering(CHUNKED, b"zz\r\nhello\r\n"))
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(transport, server.endpoint().request(b"{}"))


async def test_a_reset_in_the_middle_of_a_body_comes_after_what_had_arrived(serve, transport):
    async def script(peer):
        await peer.request()
        await peer.send(CHUNKED)
        await peer.reader.readexactly(4)
        peer.reset()

    server = await serve(script)
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    assert await anext(response.stream) == b"hello"
    response.stream._connection.transport.write(b"more")
    with pytest.raises(httpx.ReadError):
        await anext(response.stream)


async def test_a_body_until_close_that_is_reset_is_not_whole(serve, transport):
    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await peer.reader.readexactly(4)
        peer.reset()

    server = await serve(script)
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    assert await anext(response.stream) == b"hello"
    response.stream._connection.transport.write(b"more")
    with pytest.raises(httpx.ReadError):
        await anext(response.stream)


async def test_what_arrived_before_the_cut_is_delivered(serve, transport):
    server = await serve(answering(COUNTED))
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    await asyncio.sleep(0.05)
    assert await anext(response.stream) == b"hello"
    with pytest.raises(httpx.RemoteProtocolError):
        await anext(response.stream)
    with pytest.raises(httpx.RemoteProtocolError):  # and again, if somebody asks again
        await anext(response.stream)


async def test_a_failure_leaves_the_transport_usable(serve, transport):
    async def script(peer):
        await peer.request()
        await (peer.send(b"garbage") if peer.number == 1 else peer.answer())

    server = await serve(script)
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(transport, server.endpoint().request(b"{}"))
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
