"""Requests to one place, cheaply: what does not change from request to request is encoded once."""

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import httpx

FRAMING = frozenset({"connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"})
"""Headers that this transport alone decides."""

_LINES = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [^\r\n\0]*\r\n)*")


Payload: TypeAlias = bytes | tuple[bytes, ...]
"""A request's body, whole or in pieces that follow one another: what lies in memory already need not be copied."""
Encoded: TypeAlias = tuple[bytes, Payload]
"""The head of a request, up to the empty line, and its body."""


class Route(NamedTuple):
    """What connections are shared by: one pool each. `proxy` is its URL, or ""."""

    tls: bool
    host: str
    port: int
    proxy: str


def route_of(url: httpx.URL, proxy: str = "") -> Route:
    """Where a URL leads. Raises UnsupportedProtocol for schemes that are not spoken, or if no host is named."""
    if url.scheme not in ("http", "https") or not url.host:
        raise httpx.UnsupportedProtocol("A URL starts with http:// or https:// and names a host.")
    if proxy and httpx.URL(proxy).scheme not in ("http", "https", "socks5", "socks5h"):
        raise httpx.UnsupportedProtocol("A proxy's URL starts with http://, https://, socks5:// or socks5h://.")
    tls = url.scheme == "https"
    return Route(tls, url.raw_host.decode(), url.port or (443 if tls else 80), proxy)


class Endpoint:
    """One URL with the method, headers and limits that every request to it shares.

    `connect_timeout` is in seconds and bounds two waits: for a free connection, and for a new one.
    Raises UnsupportedProtocol, InvalidURL or LocalProtocolError for what cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        connect_timeout: float = 5.0,
    ) -> None:
        self.method = method.upper()
        self.url = httpx.URL(url)
        if self.url.userinfo:
            raise httpx.LocalProtocolError("Credentials belong in headers, not in the URL.")
        self.route = route_of(self.url, proxy or "")
        self.fixed = {"accept-encoding": "identity"}
        self.fixed.update((name.lower(), value) for name, value in (headers or {}).items())
        if not FRAMING.isdisjoint(self.fixed):
            raise httpx.LocalProtocolError(f"These headers are not for setting: {', '.join(sorted(FRAMING))}.")
        self.extensions = {"timeout": {"connect": connect_timeout, "pool": connect_timeout}}
        self._names = FRAMING | self.fixed.keys()
        self._first = _first_lines(self.method, self.url)
        self._start = self._first + _lines(self.fixed)

    def request(self, body: Payload = b"", headers: Mapping[str, str] | None = None) -> httpx.Request:
        """A request with this body; `headers` come on top and win over the endpoint's own."""
        return EndpointRequest(self, body, headers or {})

    def encode(self, body: Payload, headers: Mapping[str, str]) -> Encoded:
        """The whole request as it goes over the wire."""
        size = sum(map(len, body)) if isinstance(body, tuple) else len(body)
        if not headers:
            return b"%bcontent-length: %d\r\n\r\n" % (self._start, size), body
        if self._names.isdisjoint(map(str.lower, headers)):
            start = self._start
        else:
            start = self._first + _lines(self.merge({}, headers))
            headers = {}
        return b"%b%bcontent-length: %d\r\n\r\n" % (start, _lines(headers), size), body

    def merge(self, framing: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of one request, lower-case. Raises LocalProtocolError if they try to set the framing."""
        own = {name.lower(): value for name, value in headers.items()}
        if not FRAMING.isdisjoint(own):
            raise httpx.LocalProtocolError(f"These headers are not for setting: {', '.join(sorted(FRAMING))}.")
        return {**framing, **self.fixed, **own}


class EndpointRequest(httpx.Request):
    """A request that builds its Headers only for who asks for them."""

    def __init__(self, endpoint: Endpoint, body: Payload, extra: Mapping[str, str]) -> None:
        self.method = endpoint.method
        self.url = endpoint.url
        self.extensions = endpoint.extensions.copy()
        self.endpoint = endpoint
        self._body = body
        self._extra = extra
        self._built: httpx.Headers | None = None

    @property
    def headers(self) -> httpx.Headers:
        if self._built is None:
            framing = {"host": self.url.netloc.decode(), "content-length": str(len(self.content))}
            self._built = httpx.Headers(self.endpoint.merge(framing, self._extra))
        return self._built

    @headers.setter
    def headers(self, value: httpx.Headers) -> None:
        self._built = value

    @property
    def content(self) -> bytes:
        return b"".join(self._body) if isinstance(self._body, tuple) else self._body

    @property
    def stream(self) -> httpx.ByteStream:  # type: ignore[override] # nobody sets it
        return httpx.ByteStream(self.content)

    def read(self) -> bytes:
        return self.content

    async def aread(self) -> bytes:
        return self.content

    def encode(self) -> Encoded:
        if self._built is not None:  # somebody may have changed them
            return _encode(self, self.content)
        return self.endpoint.encode(self._body, self._extra)


def route_and_encoded(request: httpx.Request) -> tuple[Route, Encoded]:
    """Where a request goes, and what is written there. A plain request must have been read."""
    if isinstance(request, EndpointRequest):
        return request.endpoint.route, request.encode()
    return route_of(request.url), _encode(request, request.content)


def _encode(request: httpx.Request, body: bytes) -> Encoded:
    headers = [(k, v) for k, v in request.headers.multi_items() if k not in FRAMING]
    lines = _lines(headers)
    return b"%b%bcontent-length: %d\r\n\r\n" % (_first_lines(request.method, request.url), lines, len(body)), body


def _first_lines(method: str, url: httpx.URL) -> bytes:
    if not re.fullmatch(r"[A-Z]+", method):
        raise httpx.LocalProtocolError("A method is a word.")
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method.encode(), url.raw_path, url.netloc)


def _lines(headers: Mapping[str, str] | list[tuple[str, str]]) -> bytes:
    items = headers.items() if isinstance(headers, Mapping) else headers
    try:
        lines = "".join([f"{name}: {value}\r\n" for name, value in items]).encode("latin-1")
    except UnicodeEncodeError:
        raise httpx.LocalProtocolError("A header has characters beyond Latin-1.") from None
    if lines.count(b"\n") != len(headers) or not _LINES.fullmatch(lines):
        raise httpx.LocalProtocolError("A header's name is not a token, or its value has line breaks.")
    return lines
