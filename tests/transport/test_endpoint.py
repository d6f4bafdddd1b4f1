import httpx
import pytest

from gateway.transport import Endpoint, Transport
from gateway.transport.endpoint import Route, route_and_encoded
from tests.transport.conftest import PIECES, fetch, keeping, whole

URL = "https://api.example.com/v1/chat/completions?api-version=3"


def wire(request: httpx.Request) -> bytes:
    head, body = route_and_encoded(request)[1]
    return head + whole(body)


def test_a_request_goes_over_the_wire_as_it_was_prepared():
    endpoint = Endpoint(URL, headers={"Authorization": "Bearer k"})
    assert wire(endpoint.request(b"{}", {"x-trace": "1"})) == (
        b"POST /v1/chat/completions?api-version=3 HTTP/1.1\r\n"
        b"host: api.example.com\r\n"
        b"accept-encoding: identity\r\n"
        b"authorization: Bearer k\r\n"
        b"x-trace: 1\r\n"
        b"content-length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("url", "route"),
    [
        (URL, Route(tls=True, host="api.example.com", port=443, proxy="")),
        ("http://localhost/x", Route(tls=False, host="localhost", port=80, proxy="")),
        ("http://[::1]:8080/x", Route(tls=False, host="::1", port=8080, proxy="")),
        ("https://bücher.example:1", Route(tls=True, host="xn--bcher-kva.example", port=1, proxy="")),
    ],
)
def test_connections_are_shared_by_where_they_lead(url, route):
    assert Endpoint(url).route == route


async def test_a_mock_transport_sees_an_ordinary_request():
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, str(request.url), dict(request.headers), request.content, request.read()))
        return httpx.Response(200, json={"ok": True})

    mock = httpx.MockTransport(handler)
    response = await mock.handle_async_request(Endpoint(URL).request(b"{}", {"X-A": "b"}))
    headers = {"host": "api.example.com", "content-length": "2", "accept-encoding": "identity", "x-a": "b"}
    assert seen == [("POST", URL, headers, b"{}", b"{}")]
    assert b"".join([piece async for piece in response.stream]) == b'{"ok":true}'


def test_what_the_wire_carries_is_what_the_headers_say():
    request = Endpoint(URL, headers={"a": "1"}).request(b"body", {"b": "2"})
    lines = wire(request).split(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    assert dict(line.split(": ", 1) for line in lines) == dict(request.headers)


def test_a_requests_own_header_wins_over_the_endpoints():
    request = Endpoint(URL, headers={"authorization": "old", "x-kept": "1"}).request(b"", {"Authorization": "new"})
    assert request.headers["authorization"] == "new"
    assert b"old" not in wire(Endpoint(URL, headers={"authorization": "old"}).request(b"", {"Authorization": "new"}))
    assert b"authorization: new\r\n" in wire(request)


def test_headers_changed_afterwards_are_sent():
    request = Endpoint(URL).request(b"{}")
    request.headers["x-late"] = "yes"
    assert b"x-late: yes\r\n" in wire(request)
    assert wire(request).count(b"content-length") == 1


def test_headers_replaced_afterwards_are_sent():
    request = Endpoint(URL).request(b"{}")
    request.headers = httpx.Headers({"only": "this"})
    assert wire(request) == (
        b"POST /v1/chat/completions?api-version=3 HTTP/1.1\r\n"
        b"host: api.example.com\r\nonly: this\r\ncontent-length: 2\r\n\r\n{}"
    )


def test_a_plain_request_is_encoded_too():
    request = httpx.Request("post", "http://h:81/p?q=1", headers={"expect": "100-continue"}, content=b"abc")
    assert wire(request) == b"POST /p?q=1 HTTP/1.1\r\nhost: h:81\r\ncontent-length: 3\r\n\r\nabc"


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\nevil: 1"},
        {"x": "a\nevil: 1"},
        {"x": "a\0"},
        {"x y": "a"},
        {"x:": "a"},
        {"": "a"},
        {"x": "日本"},
        {"Content-Length": "0"},
        {"transfer-encoding": "chunked"},
        {"Host": "elsewhere"},
    ],
)
def test_headers_that_would_change_the_framing_are_refused(headers):
    request = Endpoint(URL).request(b"{}", headers)
    with pytest.raises(httpx.LocalProtocolError):
        wire(request)
    with pytest.raises(httpx.LocalProtocolError):
        Endpoint(URL, headers=headers)


@pytest.mark.parametrize("url", ["ftp://h/x", "/v1/chat", "http://", "h/x"])
def test_a_url_that_leads_nowhere_is_refused(url):
    with pytest.raises(httpx.UnsupportedProtocol):
        Endpoint(url)


def test_credentials_in_a_url_are_refused_rather_than_ignored():
    with pytest.raises(httpx.LocalProtocolError):
        Endpoint("https://user:word@api.example.com/")


def test_a_method_that_is_no_word_is_refused():
    with pytest.raises(httpx.LocalProtocolError):
        Endpoint(URL, method="GET / HTTP/1.1\r\nx: ")


async def test_an_error_knows_its_request():
    request = Endpoint(URL).request(b"{}", {"x": "\n"})
    async with Transport() as transport:
        with pytest.raises(httpx.LocalProtocolError) as caught:
            await transport.handle_async_request(request)
    assert caught.value.request is request


@pytest.mark.parametrize("body", PIECES, ids=lambda body: str(len(whole(body))))
async def test_a_body_in_pieces_arrives_whole(serve, transport, body):
    server = await serve(keeping)
    for _ in range(2):
        assert await fetch(transport, server.endpoint(headers={"x-a": "b"}).request(body)) == b"ok"
    for request in server.peers[0].requests:
        assert request.partition(b"\r\n\r\n")[2] == whole(body)
    assert server.connections == 1


@pytest.mark.parametrize("body", PIECES, ids=lambda body: str(len(whole(body))))
def test_a_body_in_pieces_is_the_same_whoever_looks_at_it(body):
    endpoint = Endpoint(URL, headers={"a": "1"})
    request = endpoint.request(body)
    assert request.content == request.read() == whole(body)
    assert b"".join(request.stream) == whole(body)
    assert request.headers["content-length"] == str(len(whole(body)))
    assert wire(request).endswith(b"content-length: %d\r\n\r\n%b" % (len(whole(body)), whole(body)))
    assert wire(endpoint.request(body, {"b": "2"})).endswith(whole(body))
