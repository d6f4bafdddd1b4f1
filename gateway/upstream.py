"""Sends one attempt to a provider; what fails on the way becomes UpstreamError. It never retries."""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import cast

import httpx

from gateway.config import Config, Timeouts
from gateway.dialects.lists import Payload
from gateway.dialects.registry import DIALECTS
from gateway.errors import Kind, UpstreamError, kind_of
from gateway.routing.table import Target
from gateway.transport import Body, Endpoint

MAX_ERROR_BODY = 256 * 1024
MAX_REPLY = 128 << 20
"""Bytes of a whole reply; with several images it is tens of millions, and more is a provider gone mad."""
_SECONDS = re.compile(r"\d{1,9}(\.\d{0,9})?", re.ASCII)
OK = range(200, 300)
SHORTEST = 6
"""Characters of a key; a shorter one is a placeholder, and a part of many words."""
FAILURES = (httpx.HTTPError, httpx.StreamError)
"""What a transport raises."""
MAX_ENDPOINTS = 1024
"""A wildcard's models are a client's words, so they are not kept without limit."""
REST = 0.25
"""Seconds that a body may go on after the last event of its reply."""


class Upstream:
    """All providers, through one transport. What requests to one target share is made once."""

    def __init__(
        self,
        config: Config,
        transport: httpx.AsyncBaseTransport,
        key_of: Callable[[tuple[str, str]], str] = lambda _: "",
    ) -> None:
        """`key_of` gives the newest key of a seat whose key is not in the configuration, "" if there is none."""
        self._providers = config.providers
        self._transport = transport
        self._key_of = key_of
        self._endpoints: dict[tuple[str, str, str, str, bool], Endpoint] = {}

    def timeouts(self, target: Target) -> Timeouts:
        """The limits of one attempt at a target."""
        return self._providers[target.provider].timeouts

    async def send(
        self, target: Target, body: Payload, forwarded: Mapping[str, str], *, stream: bool
    ) -> httpx.Response:
        """Send a conversation; the response's status is good, its body unread. `forwarded` are the client's headers.

        Raises UpstreamError, with the provider's own answer where there was one.
        """
        key = self._key(target)
        return await self._send(target, self._endpoint(target, key, stream=stream), key, body, forwarded)

    async def post(self, target: Target, path: str, body: bytes, forwarded: Mapping[str, str]) -> bytes:
        """Send what is no conversation to another of the provider's paths; its whole answer. Raises UpstreamError."""
        key = self._key(target)
        return await read(await self._send(target, self._make(target, key, path), key, body, forwarded))

    def _key(self, target: Target) -> str:
        key = self._key_of(target.seat) if target.moving_key else target.key
        if target.moving_key and not key:
            raise UpstreamError(Kind.UNAVAILABLE, "The gateway has no key for the provider yet.", code="no_key")
        return key

    async def _send(
        self, target: Target, endpoint: Endpoint, key: str, body: Payload, forwarded: Mapping[str, str]
    ) -> httpx.Response:
        extra = {**forwarded, **DIALECTS[target.dialect].auth(key, forwarded)} if forwarded else None
        request = endpoint.request(body, extra)
        try:
            response = await self._transport.handle_async_request(request)
        except FAILURES as error:
            raise failure_of(error) from None
        if response.status_code in OK:
            return response
        return await _refuse(target, key, response)

    def _endpoint(self, target: Target, key: str, *, stream: bool) -> Endpoint:
        place = (target.provider, target.credential, key, target.model, stream)
        endpoint = self._endpoints.get(place)
        if endpoint is None:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                self._endpoints.clear()
            path = DIALECTS[target.dialect].path(target.model, stream=stream)
            endpoint = self._endpoints[place] = self._make(target, key, path)
        return endpoint

    def _make(self, target: Target, key: str, path: str) -> Endpoint:
        provider, dialect = self._providers[target.provider], DIALECTS[target.dialect]
        version = path[: path.find("/", 1)]  # Gemini's paths begin with it, and a base URL may end with it
        url = httpx.URL(provider.base_url.rstrip("/").removesuffix(version) + path)
        return Endpoint(
            str(url.copy_merge_params(provider.query) if provider.query else url),
            headers={"content-type": "application/json", **dialect.auth(key, {}), **provider.headers},
            proxy=provider.proxy,
            connect_timeout=provider.timeouts.connect,
        )


class Pieces:
    """A body as it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self._body = aiter(cast("httpx.AsyncByteStream", response.stream))
        self.over = False

    async def next(self) -> bytes | None:
        """The next piece, None at the end. Raises UpstreamError if the body breaks off."""
        try:
            return await anext(self._body)
        except StopAsyncIteration:
            self.over = True
            return None
        except FAILURES as error:
            raise failure_of(error) from None

    async def let_go(self) -> None:
        """After the end of a reply: what is left is not waited for, so that the connection can be used again."""
        if isinstance(self._body, Body):
            self._body.let_go(REST)
            return
        with suppress(TimeoutError, UpstreamError):
            async with asyncio.timeout(REST):
                while await self.next() is not None:
                    pass


async def read(response: httpx.Response) -> bytes:
    """The whole body; the response is closed. Raises UpstreamError."""
    parts: list[bytes] = []
    size = 0
    try:
        async for piece in cast("httpx.AsyncByteStream", response.stream):
            parts.append(piece)
            size += len(piece)
            if size > MAX_REPLY:
                raise UpstreamError(Kind.BAD_GATEWAY, "The provider's answer has no end.", code="too_large")
    except FAILURES as error:
        raise failure_of(error) from None
    finally:
        await response.aclose()
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if not data.isascii():
        try:
            str(data, "utf-8")
        except UnicodeDecodeError:  # JSON is UTF-8
            raise UpstreamError(Kind.BAD_GATEWAY, "The provider's answer is not UTF-8.", code="not_utf8") from None
    return data


def failure_of(error: Exception) -> UpstreamError:
    """What httpx raised as a failure of the attempt, with a message of ours."""
    match error:
        case httpx.ConnectTimeout():
            return UpstreamError(Kind.TIMEOUT, "The provider could not be reached in time.", code="connect_timeout")
        case httpx.TimeoutException():
            return UpstreamError(Kind.TIMEOUT, "The provider did not answer in time.", code="timeout")
        case httpx.ConnectError() | httpx.ProxyError():
            return UpstreamError(Kind.BAD_GATEWAY, "The provider could not be reached.", code="connect")
        case httpx.HTTPError():
            message = "The connection to the provider broke before the answer was complete."
            return UpstreamError(Kind.BAD_GATEWAY, message, code="connection")
        case _:
            return UpstreamError(Kind.BAD_GATEWAY, "The provider's answer could not be read.", code="connection")


async def _refuse(target: Target, key: str, response: httpx.Response) -> httpx.Response:
    parts: list[bytes] = []
    size = 0
    try:
        async for piece in cast("httpx.AsyncByteStream", response.stream):
            parts.append(piece)
            size += len(piece)
            if size > MAX_ERROR_BODY:
                break
    except FAILURES:
        parts = []
    finally:
        await response.aclose()
    told = b"".join(parts)
    if len(key) >= SHORTEST:  # some vendors quote the key that they were sent
        told = told.replace(key.encode(), b"***")
    error = DIALECTS[target.dialect].decode_error(response.status_code, told)
    if error.kind is Kind.BAD_GATEWAY:  # a body that says `api_error` says less than its status
        error.kind = kind_of(response.status_code)
    if error.retry_after is None:
        error.retry_after = retry_after(response.headers)
    raise error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from Retry-After (seconds or a date, RFC 9110 10.2.3) or retry-after-ms (OpenAI); None if absent."""
    milliseconds = headers.get("retry-after-ms", "")
    if _SECONDS.fullmatch(milliseconds):
        return float(milliseconds) / 1000
    value = headers.get("retry-after", "")
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
        sent = parsedate_to_datetime(headers.get("date", ""))
        return max((when - sent).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
