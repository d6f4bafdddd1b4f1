"""Whoever stops listening closes the connection at once, so that the server stops working."""

import asyncio

import httpx
import pytest

from gateway.transport import Endpoint, Transport
from tests.transport.conftest import fetch, keeping, until

FIRST = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"


async def thinking(peer):
    await peer.request()
    assert await peer.gone()


async def talking(peer):
    await peer.request()
    await peer.send(FIRST)
    assert await peer.gone()


async def test_a_request_cancelled_before_its_answer_closes_the_connection(serve, transport):
    server = await serve(thinking)
    task = asyncio.create_task(fetch(transport, server.endpoint().request(b"{}")))
    await until(lambda: server.connections == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: server.finished == [1])


async def test_a_deadline_around_the_request_closes_the_connection(serve, transport):
    server = await serve(thinking)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await transport.handle_async_request(server.endpoint().request(b"{}"))
    await until(lambda: server.finished == [1])


async def test_a_reader_cancelled_in_mid_body_closes_the_connection(serve, transport):
    server = await serve(talking)
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    assert await anext(response.stream) == b"hello"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(response.stream)
    await until(lambda: server.finished == [1])


async def test_a_response_closed_in_mid_body_closes_the_connection(serve, transport):
    server = await serve(talking)
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    await response.aclose()
    await until(lambda: server.finished == [1])


async def test_a_response_closed_by_one_task_fails_in_another(serve, transport):
    server = await serve(talking)
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    assert await anext(response.stream) == b"hello"
    reader = asyncio.create_task(anext(response.stream))
    await asyncio.sleep(0)
    await response.stream.aclose()
    with pytest.raises(httpx.ReadError):
        await reader


async def test_a_response_closed_after_its_end_keeps_the_connection(serve, transport):
    server = await serve(keeping)
    for _ in range(2):
        response = await transport.handle_async_request(server.endpoint().request(b"{}"))
        assert await response.aread() == b"ok"
        await response.aclose()
    assert server.connections == 1


async def test_a_whole_answer_that_nobody_reads_keeps_the_connection(serve, transport):
    server = await serve(keeping)
    for _ in range(2):
        response = await transport.handle_async_request(server.endpoint().request(b"{}"))
        await response.stream.aclose()
    assert server.connections == 1


async def test_the_next_request_after_a_cancelled_one_is_served(serve, transport):
    async def script(peer):
        await peer.request()
        if peer.number > 1:
            await peer.answer()
        assert await peer.gone()

    server = await serve(script)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await transport.handle_async_request(server.endpoint().request(b"{}"))
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"


async def test_a_request_cancelled_while_connecting_leaves_nothing_open(serve):
    async def script(peer):
        assert await peer.gone()

    server = await serve(script)
    endpoint = Endpoint(server.url.replace("http:", "https:"), connect_timeout=60)
    async with Transport(limit=1) as transport:
        for number in range(1, 4):
            task = asyncio.create_task(fetch(transport, endpoint.request(b"{}")))  # waits for a TLS handshake
            await until(lambda n=number: server.connections == n)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda n=number: len(server.finished) == n)
