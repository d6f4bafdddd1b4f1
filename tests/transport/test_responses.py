import gzip
import zlib

import httpx
import pytest
import zstandard

from gateway.transport import Response
from tests.transport.conftest import answering, fetch, until

TEXT = b"data: hello\n\n" * 50


async def test_a_counted_body_arrives(serve, transport):
    server = await serve(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"))
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"hello"


async def test_a_chunked_body_arrives_byte_by_byte(serve, transport):
    stream = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    server = await serve(answering(*(stream[i : i + 1] for i in range(len(stream)))))
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"hello world"


async def test_a_body_may_last_until_the_connection_closes(serve, transport):
    server = await serve(answering(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"))
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"hello"


async def test_an_http_1_0_body_lasts_until_the_connection_closes(serve, transport):
    server = await serve(answering(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nhello"))
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"hello"
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"hello"
    assert server.connections == 2


async def test_pieces_are_handed_on_as_they_arrive(serve, transport):
    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await peer.reader.readexactly(4)  # the test's word that it has the first piece
        await peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    server = await serve(script)
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    assert await anext(response.stream) == b"one"
    response.stream._connection.transport.write(b"more")
    assert await anext(response.stream) == b"two"
    with pytest.raises(StopAsyncIteration):
        await anext(response.stream)


async def test_a_204_has_no_body_and_keeps_the_connection(serve, transport):
    async def script(peer):
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = await serve(script)
    for _ in range(2):
        response = await transport.handle_async_request(server.endpoint().request(b"{}"))
        assert (response.status_code, await response.aread()) == (204, b"")
    assert server.connections == 1


async def test_the_length_in_an_answer_to_head_is_not_waited_for(serve, transport):
    server = await serve(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"))
    response = await transport.handle_async_request(server.endpoint(method="HEAD").request())
    assert (response.headers["content-length"], await response.aread()) == ("500", b"")


async def test_a_body_after_head_is_not_taken_for_the_next_answer(serve, transport):
    server = await serve(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad"))
    assert await fetch(transport, server.endpoint(method="HEAD").request()) == b""
    assert await fetch(transport, server.endpoint().request(b"{}")) == b"bad"
    assert server.connections == 2


async def test_informational_responses_are_passed_over(serve, transport):
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"
    server = await serve(answering(early, b"HTTP/1.1 201 Made\r\ncontent-length: 2\r\nx: y\r\n\r\nok"))
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    assert (response.status_code, "link" in response.headers, response.headers["x"]) == (201, False, "y")
    assert await response.aread() == b"ok"


async def test_an_answer_may_come_before_the_request_is_taken(serve, transport):
    async def script(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nmuch")
        await peer.gone()

    server = await serve(script)
    response = await transport.handle_async_request(server.endpoint().request(b"x" * (32 << 20)))
    assert (response.status_code, await response.aread()) == (413, b"much")
    await until(lambda: server.finished == [1])  # what is left of the request must not precede another one


async def test_a_large_request_arrives_whole(serve, transport):
    async def script(peer):
        request = await peer.request()
        await peer.answer(b"%d" % len(request.split(b"\r\n\r\n", 1)[1]))

    server = await serve(script)
    assert await fetch(transport, server.endpoint().request(b"x" * (8 << 20))) == b"%d" % (8 << 20)


async def test_the_response_is_httpxs_own(serve, transport):
    async def script(peer):
        await peer.request()
        await peer.answer(b'{"a": 1}', head=b"Set-Cookie: a\r\nset-cookie: b\r\n")

    server = await serve(script)
    request = server.endpoint().request(b"{}")
    response = await transport.handle_async_request(request)
    assert isinstance(response, httpx.Response)
    assert isinstance(response, Response)
    assert response.request is request
    assert response.headers.get_list("set-cookie") == ["a", "b"]
    await response.aread()
    assert response.json() == {"a": 1}


async def test_it_serves_httpxs_own_client(serve, transport):
    async def script(peer):
        while True:
            request = await peer.request()
            await peer.answer(request.split(b"\r\n\r\n", 1)[1])

    server = await serve(script)
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.post(server.url, json={"a": 1})
        assert response.json() == {"a": 1}
        async with client.stream("POST", server.url, content=b"abc") as streamed:
            assert [part async for part in streamed.aiter_raw()] == [b"abc"]


COMPRESSED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "zstd": zstandard.compress(TEXT),
}


def compressed(encoding: str, data: bytes):
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\ncontent-length: %d\r\n\r\n" % (encoding.encode(), len(data))
    return answering(head, *(data[i : i + 1] for i in range(len(data))))


@pytest.mark.parametrize("encoding", COMPRESSED)
async def test_a_body_that_comes_compressed_all_the_same_is_decoded(serve, transport, encoding):
    server = await serve(compressed(encoding, COMPRESSED[encoding]))
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    assert "content-encoding" not in response.headers
    assert "content-length" not in response.headers
    assert await response.aread() == TEXT


async def test_deflate_without_its_header_is_decoded(serve, transport):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    server = await serve(compressed("deflate", packer.compress(TEXT) + packer.flush()))
    assert await fetch(transport, server.endpoint().request(b"{}")) == TEXT


@pytest.mark.parametrize("encoding", COMPRESSED)
async def test_compressed_data_that_ends_too_soon_is_an_error(serve, transport, encoding):
    server = await serve(compressed(encoding, COMPRESSED[encoding][:-3]))
    with pytest.raises(httpx.DecodingError):
        await fetch(transport, server.endpoint().request(b"{}"))


@pytest.mark.parametrize("encoding", COMPRESSED)
async def test_damaged_compressed_data_is_an_error(serve, transport, encoding):
    server = await serve(compressed(encoding, b"\x0f\xff not compressed at all"))
    with pytest.raises(httpx.DecodingError):
        await fetch(transport, server.endpoint().request(b"{}"))


async def test_an_unknown_encoding_is_left_to_the_reader(serve, transport):
    server = await serve(compressed("br", b"?"))
    response = await transport.handle_async_request(server.endpoint().request(b"{}"))
    assert response.headers["content-encoding"] == "br"
    assert [part async for part in response.stream] == [b"?"]


async def test_an_empty_body_with_an_encoding_is_empty(serve, transport):
    server = await serve(answering(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n"))
    assert await fetch(transport, server.endpoint().request(b"{}")) == b""
