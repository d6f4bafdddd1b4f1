import asyncio
import socket

import httpx
import pytest

from gateway.transport import Endpoint, Transport
from tests.transport.conftest import answering, fetch, keeping, until


def some_connection(transport: Transport):
    (pool,) = transport._pools.values()
    return next(iter(pool._all))


async def test_requests_in_a_row_share_a_connection(serve, transport):
    server = await serve(keeping)
    for _ in range(5):
        assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
    assert server.connections == 1


async def test_requests_at_once_have_a_connection_each_and_keep_them(serve, transport):
    server = await serve(keeping)
    for _ in range(2):
        await asyncio.gather(*(fetch(transport, server.endpoint().request(b"{}")) for _ in range(5)))
    assert server.connections == 5


async def test_many_tasks_get_their_own_answers(serve, transport):
    async def script(peer):
        while True:
            request = await peer.request()
            await peer.answer(request.split(b"\r\n\r\n", 1)[1])

    server = await serve(script)
    endpoint = server.endpoint()

    async def talk(name: int) -> None:
        for turn in range(30):
            body = b"%d.%d" % (name, turn)
            assert await fetch(transport, endpoint.request(body)) == body

    await asyncio.gather(*(talk(name) for name in range(20)))
    assert server.connections <= 20


async def test_small_writes_are_not_held_back(serve, transport):
    server = await serve(keeping)
    await fetch(transport, server.endpoint().request(b"{}"))
    sock = some_connection(transport).transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0


async def test_connection_close_is_obeyed(serve, transport):
    async def script(peer):
        await peer.request()
        await peer.answer(head=b"Connection: close\r\n")
        assert await peer.gone()

    server = await serve(script)
    for _ in range(2):
        assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
    await until(lambda: server.finished == [1, 2])


async def test_a_connection_closed_while_idle_is_not_used(serve, transport):
    async def script(peer):
        await peer.request()
        await peer.answer()

    server = await serve(script)
    for _ in range(5):
        assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
        await asyncio.sleep(0.02)
    assert server.connections == 5


async def test_a_close_that_the_loop_has_not_seen_is_noticed_before_writing(serve, transport):
    server = await serve(keeping)
    await fetch(transport, server.endpoint().request(b"{}"))
    (pool,) = transport._pools.values()
    some_connection(transport).transport.pause_reading()  # the loop looks no more
    server.peers[0].writer.close()
    await asyncio.sleep(0.05)
    assert len(pool._idle) == 1
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
    assert server.connections == 2
    assert len(server.peers[0].requests) == 1


async def dying_on_the_second(peer):
    await peer.request()
    await peer.answer()
    if peer.number == 1:
        await peer.request()
        return
    await keeping(peer)


async def test_a_post_that_a_kept_connection_swallowed_is_reported(serve, transport):
    server = await serve(dying_on_the_second)
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(transport, server.endpoint().request(b"{}"))
    assert server.connections == 1


async def test_a_get_that_a_kept_connection_swallowed_is_sent_again(serve, transport):
    server = await serve(dying_on_the_second)
    for _ in range(3):
        assert await fetch(transport, server.endpoint(method="GET").request()) == b"ok"
    assert server.connections == 2


async def test_a_get_is_sent_again_on_a_new_connection_not_on_another_that_may_be_dead(serve, transport):
    arrived = asyncio.Barrier(2)

    async def script(peer):
        await peer.request()
        if peer.number <= 2:
            await arrived.wait()  # so that there are two at once
            await peer.answer()
            await peer.request()
            return
        await peer.answer()
        await keeping(peer)

    server = await serve(script)
    endpoint = server.endpoint(method="GET")
    await asyncio.gather(*(fetch(transport, endpoint.request()) for _ in range(2)))
    assert await fetch(transport, endpoint.request()) == b"ok"
    assert server.connections == 3


async def test_a_get_is_sent_again_once_only(serve, transport):
    async def script(peer):
        await peer.request()
        if peer.number == 1:
            await peer.answer()
            await peer.request()

    server = await serve(script)
    assert await fetch(transport, server.endpoint(method="GET").request()) == b"ok"
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(transport, server.endpoint(method="GET").request())
    assert server.connections == 2


async def test_a_get_that_a_new_connection_swallowed_is_reported(serve, transport):
    server = await serve(answering())
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(transport, server.endpoint(method="GET").request())
    assert server.connections == 1


async def test_a_get_is_not_sent_again_once_a_byte_has_come(serve, transport):
    async def script(peer):
        await peer.request()
        await peer.answer()
        await peer.request()
        await peer.send(b"HTTP/1.1 20")

    server = await serve(script)
    assert await fetch(transport, server.endpoint(method="GET").request()) == b"ok"
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(transport, server.endpoint(method="GET").request())
    assert server.connections == 1


async def test_a_post_that_was_not_taken_whole_is_sent_again(serve, transport):
    body = b"x" * (32 << 20)

    async def script(peer):
        await peer.request()
        await peer.answer()
        if peer.number == 1:
            await peer.reader.readexactly(100_000)
            peer.reset()
            return
        await keeping(peer)

    server = await serve(script)
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
    assert await fetch(transport, server.endpoint().request(body)) == b"ok"
    assert server.connections == 2


async def test_bytes_that_nobody_asked_for_end_an_idle_connection(serve, transport):
    async def script(peer):
        await peer.request()
        await peer.answer()
        await asyncio.sleep(0.01)
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        assert await peer.gone()

    server = await serve(script)
    for _ in range(2):
        assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
        await asyncio.sleep(0.05)
    await until(lambda: server.finished == [1, 2])


async def test_an_answer_with_something_behind_it_ends_the_connection(serve, transport):
    server = await serve(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"))
    for _ in range(2):
        assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
    assert server.connections == 2


async def test_idle_connections_are_closed_after_a_while(serve):
    server = await serve(keeping)
    async with Transport(keepalive=0.05) as transport:
        await asyncio.gather(*(fetch(transport, server.endpoint().request(b"{}")) for _ in range(3)))
        await until(lambda: len(server.finished) == 3)
        (pool,) = transport._pools.values()
        assert not pool._all
        assert not pool._idle
        assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"


async def test_there_are_never_more_connections_than_the_limit(serve):
    server = await serve(keeping)
    async with Transport(limit=3) as transport:
        answers = await asyncio.gather(*(fetch(transport, server.endpoint().request(b"{}")) for _ in range(50)))
    assert answers == [b"ok"] * 50
    assert server.connections == 3


async def test_who_waits_is_served_in_order(serve):
    server = await serve(keeping)
    served = []
    async with Transport(limit=1) as transport:

        async def ask(name: int) -> None:
            await fetch(transport, server.endpoint().request(b"{}"))
            served.append(name)

        await asyncio.gather(*(ask(name) for name in range(10)))
    assert served == list(range(10))
    assert server.connections == 1


async def silent(peer):
    await peer.request()
    await peer.gone()


async def test_no_connection_comes_free_in_time(serve):
    server = await serve(silent)
    async with Transport(limit=1) as transport:
        first = asyncio.create_task(fetch(transport, server.endpoint().request(b"{}")))
        await until(lambda: server.connections == 1)
        with pytest.raises(httpx.PoolTimeout):
            await fetch(transport, server.endpoint(connect_timeout=0.05).request(b"{}"))
        (pool,) = transport._pools.values()
        assert not pool._waiters
        first.cancel()


async def test_the_place_of_a_broken_connection_is_free_again(serve):
    server = await serve(silent)
    async with Transport(limit=2) as transport:
        for round_ in range(3):
            tasks = [asyncio.create_task(fetch(transport, server.endpoint().request(b"{}"))) for _ in range(2)]
            await until(lambda n=round_: server.connections == 2 * n + 2)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_connection_that_fails_to_open_lets_the_next_try():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    endpoint = Endpoint(f"http://127.0.0.1:{port}/")
    async with Transport(limit=1) as transport:
        tries = (fetch(transport, endpoint.request(b"{}")) for _ in range(5))
        results = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(result) for result in results] == [httpx.ConnectError] * 5


async def test_who_gives_up_waiting_costs_the_others_nothing(serve):
    server = await serve(keeping)
    async with Transport(limit=1) as transport:
        for _ in range(20):
            tasks = [asyncio.create_task(fetch(transport, server.endpoint().request(b"{}"))) for _ in range(5)]
            for task in tasks[:-1]:
                await asyncio.sleep(0)
                task.cancel()
            assert await asyncio.wait_for(tasks[-1], 5) == b"ok"
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_gives_up_just_when_a_connection_comes_free_passes_it_on(serve):
    server = await serve(keeping)
    async with Transport(limit=1) as transport:
        await fetch(transport, server.endpoint().request(b"{}"))
        (pool,) = transport._pools.values()
        connection = pool.reuse()
        waiting = asyncio.create_task(pool.acquire(5, 5))
        await asyncio.sleep(0)
        pool._released(connection)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert pool.reuse() is connection


async def test_who_gives_up_just_when_it_may_connect_passes_that_on(serve):
    server = await serve(keeping)
    async with Transport(limit=1) as transport:
        await fetch(transport, server.endpoint().request(b"{}"))
        (pool,) = transport._pools.values()
        connection = pool.reuse()
        waiting = [asyncio.create_task(pool.acquire(5, 5)) for _ in range(2)]
        await asyncio.sleep(0)
        connection.abort()
        waiting[0].cancel()
        assert (await waiting[1]).fresh
        assert waiting[0].cancelled()


async def test_closing_the_transport_fails_what_is_under_way(serve):
    server = await serve(silent)
    transport = Transport()
    task = asyncio.create_task(fetch(transport, server.endpoint().request(b"{}")))
    await until(lambda: server.connections == 1)
    await transport.aclose()
    with pytest.raises(httpx.ReadError):
        await task
    await until(lambda: server.finished == [1])
