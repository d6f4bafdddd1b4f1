"""Through proxies: forwarding, tunnels and SOCKS."""

import asyncio
import gzip
import ipaddress
import ssl

import httpx
import pytest
import trustme

from gateway.transport import Endpoint, Transport
from tests.transport.conftest import answering, fetch, keeping


async def relay(peer, host: str, port: int, first: bytes = b"") -> None:
    """Join a client with a server until one of them leaves."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(first)

    async def pump(source, sink):
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))


async def http_proxy(peer):
    request = await peer.request()
    method, target, _ = request.split(b" ", 2)
    if method == b"CONNECT":
        host, port = target.decode().split(":")
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await relay(peer, host, int(port))
    else:
        url = httpx.URL(target.decode())
        await relay(peer, url.host, url.port, request)


async def socks_proxy(peer):
    _, methods = await peer.reader.readexactly(2)
    await peer.reader.readexactly(methods)
    await peer.send(b"\x05\x00")
    _, _, _, kind = await peer.reader.readexactly(4)
    length = 4 if kind == 1 else (await peer.reader.readexactly(1))[0]
    address = await peer.reader.readexactly(length)
    host = str(ipaddress.ip_address(address)) if kind == 1 else address.decode()
    port = int.from_bytes(await peer.reader.readexactly(2))
    await peer.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    peer.requests.append(host.encode())
    await relay(peer, host, port)


async def test_plain_http_is_forwarded(serve, transport):
    server, proxy = await serve(keeping), await serve(http_proxy)
    for _ in range(2):
        request = server.endpoint(proxy=f"http://127.0.0.1:{proxy.port}").request(b"{}", {"x-a": "b"})
        assert await fetch(transport, request) == b"ok"
    assert proxy.connections == 1
    assert proxy.peers[0].requests[0].startswith(b"POST http://127.0.0.1:")
    assert b"x-a: b\r\n" in server.peers[0].requests[1]


async def test_a_body_in_pieces_is_forwarded_whole(serve, transport):
    server, proxy = await serve(keeping), await serve(http_proxy)
    request = server.endpoint(proxy=f"http://127.0.0.1:{proxy.port}").request((b"in ", b"pieces"))
    assert await fetch(transport, request) == b"ok"
    assert server.peers[0].requests[0].endswith(b"\r\n\r\nin pieces")


async def test_https_goes_through_a_tunnel(serve):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server, proxy = await serve(keeping, ssl=context), await serve(http_proxy)
    async with Transport(tls=trusting) as transport:
        request = server.endpoint(proxy=f"http://user:word@127.0.0.1:{proxy.port}").request(b"{}")
        assert await fetch(transport, request) == b"ok"
    assert proxy.peers[0].requests[0].startswith(b"CONNECT 127.0.0.1:")
    assert b"proxy-authorization: basic dxnlcjp3b3jk" in proxy.peers[0].requests[0].lower()
    assert b"{}" not in proxy.peers[0].requests[0]


async def test_socks5_is_spoken(serve, transport):
    server, proxy = await serve(keeping), await serve(socks_proxy)
    assert await fetch(transport, server.endpoint(proxy=f"socks5://127.0.0.1:{proxy.port}").request(b"{}")) == b"ok"
    assert proxy.peers[0].requests == [b"127.0.0.1"]


async def test_a_proxy_that_refuses_is_an_error(serve, transport):
    proxy = await serve(answering(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"))
    endpoint = Endpoint("https://api.example.com/", proxy=f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(httpx.ProxyError):
        await fetch(transport, endpoint.request(b"{}"))


async def test_a_proxy_that_is_not_there_is_an_error(serve, transport):
    proxy = await serve(answering())
    endpoint = Endpoint("http://api.example.com/", proxy="http://127.0.0.1:1")
    assert proxy.port != 1
    with pytest.raises(httpx.ConnectError):
        await fetch(transport, endpoint.request(b"{}"))


@pytest.mark.parametrize("proxy", ["ftp://127.0.0.1:1", "127.0.0.1:8080", "nonsense"])
def test_a_proxy_of_another_kind_is_refused(proxy):
    with pytest.raises(httpx.UnsupportedProtocol):
        Endpoint("http://api.example.com/", proxy=proxy)


async def test_a_body_cut_short_behind_a_proxy_is_an_error(serve, transport):
    server = await serve(answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"))
    proxy = await serve(http_proxy)
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(transport, server.endpoint(proxy=f"http://127.0.0.1:{proxy.port}").request(b"{}"))


async def test_a_compressed_body_behind_a_proxy_is_decoded(serve, transport):
    packed = gzip.compress(b"hello")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    server, proxy = await serve(answering(head + packed)), await serve(http_proxy)
    assert await fetch(transport, server.endpoint(proxy=f"http://127.0.0.1:{proxy.port}").request(b"{}")) == b"hello"


async def test_a_reader_that_gives_up_behind_a_proxy_closes_the_connection(serve, transport):
    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert await peer.gone()
        left.set()

    left = asyncio.Event()
    server, proxy = await serve(script), await serve(http_proxy)
    request = server.endpoint(proxy=f"http://127.0.0.1:{proxy.port}").request(b"{}")
    response = await transport.handle_async_request(request)
    stream = aiter(response.stream)
    assert await anext(stream) == b"hello"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(stream)
    await response.aclose()
    async with asyncio.timeout(5):
        await left.wait()
