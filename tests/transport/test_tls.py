import asyncio
import ssl

import httpx
import pytest
import trustme

from gateway.transport import Endpoint, Transport
from tests.transport.conftest import PIECES, answering, fetch, keeping, whole


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def client_context(authority) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_a_trusted_server_is_spoken_to_on_one_connection(serve, server_context, client_context):
    server = await serve(keeping, ssl=server_context)
    async with Transport(tls=client_context) as transport:
        for _ in range(3):
            assert await fetch(transport, server.endpoint().request(b"{}")) == b"ok"
            await asyncio.sleep(0.01)
    assert server.connections == 1


@pytest.mark.parametrize("body", PIECES, ids=lambda body: str(len(whole(body))))
async def test_a_body_in_pieces_arrives_whole(serve, server_context, client_context, body):
    server = await serve(keeping, ssl=server_context)
    async with Transport(tls=client_context) as transport:
        assert await fetch(transport, server.endpoint().request(body)) == b"ok"
    assert server.peers[0].requests[0].partition(b"\r\n\r\n")[2] == whole(body)


async def test_the_server_is_told_its_name(serve, server_context, client_context):
    names = []
    server_context.sni_callback = lambda _, name, __: names.append(name)
    server = await serve(keeping, ssl=server_context)
    async with Transport(tls=client_context) as transport:
        await fetch(transport, Endpoint(f"https://localhost:{server.port}/").request(b"{}"))
    assert names == ["localhost"]


async def test_a_certificate_nobody_vouches_for_is_refused(serve, server_context, transport):
    server = await serve(keeping, ssl=server_context)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        await fetch(transport, server.endpoint().request(b"{}"))


async def test_a_certificate_for_another_host_is_refused(serve, authority, client_context):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    server = await serve(keeping, ssl=context)
    async with Transport(tls=client_context) as transport:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await fetch(transport, server.endpoint().request(b"{}"))


async def test_a_server_without_tls_is_refused(serve, transport):
    async def script(peer):
        await peer.reader.read(100)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    server = await serve(script)
    server.scheme = "https"
    with pytest.raises(httpx.ConnectError):
        await fetch(transport, server.endpoint().request(b"{}"))


async def test_a_handshake_that_never_ends_times_out(serve, transport):
    async def script(peer):
        await peer.gone()

    server = await serve(script)
    server.scheme = "https"
    with pytest.raises(httpx.ConnectTimeout):
        await fetch(transport, server.endpoint(connect_timeout=0.2).request(b"{}"))


async def test_a_body_cut_short_is_an_error(serve, server_context, client_context):
    server = await serve(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"), ssl=server_context)
    async with Transport(tls=client_context) as transport:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await fetch(transport, server.endpoint().request(b"{}"))


async def test_a_large_body_arrives_through_a_slow_reader(serve, server_context, client_context):
    async def script(peer):
        await peer.request()
        await peer.answer(b"x" * (16 << 20))
        await peer.gone()

    server = await serve(script, ssl=server_context)
    async with Transport(tls=client_context) as transport:
        response = await transport.handle_async_request(server.endpoint().request(b"{}"))
        await asyncio.sleep(0.2)
        assert response.stream.size < 1 << 20
        assert sum([len(piece) async for piece in response.stream]) == 16 << 20


async def test_the_systems_roots_and_certifis_are_trusted_by_default():
    async with Transport() as transport:
        context = transport._tls_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509_ca"] > 100
