"""One HTTP/1.1 connection to a server: httptools' parser on an asyncio protocol.

Source of the format: https://www.rfc-editor.org/rfc/rfc9112
"""

import asyncio
import select
from collections.abc import Callable
from typing import cast

import httpx
from httptools import HttpParserError, HttpResponseParser

MAX_HEAD = 64 * 1024
"""The most bytes of response headers, informational responses included."""

HIGH_WATER = 256 * 1024
"""Undelivered bytes of a body from which on the server is made to wait."""

APART = 4096
"""Bytes of a body from which on it is written as it is: of fewer, a copy behind the head costs less."""

SWITCHING_PROTOCOLS = 101
OK = 200

Fields = list[tuple[bytes, bytes]]


class Body(httpx.AsyncByteStream):
    """A response's body: an iterator of bytes as they come, joined where several wait.

    `status` and `fields` are the response's head. Raises ReadError or RemoteProtocolError if the body is cut short.
    Closing it early closes the connection.
    """

    def __init__(self, connection: "Connection", waiter: asyncio.Future[None]) -> None:
        self._connection = connection
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = waiter
        self.status = 0
        self.fields: Fields = []
        self.size = 0
        self.error: httpx.TransportError | None = None
        self.ended = False
        self._left = False

    def add(self, data: bytes) -> None:
        """Bytes came."""
        if self._left:
            return
        self._chunks.append(data)
        self.size += len(data)

    def end(self, error: httpx.TransportError | None = None) -> None:
        """Nothing more will come."""
        self.error = error
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Whoever waits shall look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self.ended:
                await self.aclose()
                if self.error is not None:
                    raise self.error
                raise StopAsyncIteration
            self._waiter = self._connection.loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                await self.aclose()
                raise
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self.size = 0
        if not self.ended:
            self._connection.resume()
        return data

    def let_go(self, seconds: float) -> None:
        """Nobody reads on. If the body ends within so many seconds its connection is kept, else it is closed."""
        self._chunks = []
        self.size = 0
        if not self.ended:
            self._left = True
            self._connection.resume()
            self._connection.loop.call_later(seconds, self._close)

    async def aclose(self) -> None:
        """Drop what has not been read. Safe to call twice."""
        self._chunks = []
        self.size = 0
        if not self._left:
            self._close()

    def _close(self) -> None:
        if not self.ended:
            self._connection.abort()
            self.end(httpx.ReadError("The response was closed before its end."))


class Connection(asyncio.Protocol):
    """One request at a time. `released` is called when the next may come, `lost` when none may."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        released: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        self.loop = loop
        self.idle_since = 0.0
        self.heard = False
        self._released = released
        self._lost = lost
        self._parser = HttpResponseParser(self)
        self._poll = select.poll()
        self._body: Body | None = None
        self._fields: Fields = []
        self._status = 0
        self._head_size = 0
        self._bodiless = self._complete = self._keep = self._paused = self._writing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    @property
    def fresh(self) -> bool:
        """No request has been answered here yet."""
        return self.idle_since == 0.0

    def usable(self) -> bool:
        """The server has not closed it and has sent nothing that nobody asked for."""
        return not self.transport.is_closing() and not self._poll.poll(0)

    async def exchange(self, head: bytes, body: bytes | tuple[bytes, ...] = b"", *, bodiless: bool) -> Body:
        """Write a request and await the head of its response; the body is still to come.

        `bodiless`: it answers a HEAD.
        Raises WriteError if the request was not taken whole, else ReadError or RemoteProtocolError.
        """
        if self.transport.is_closing():
            raise httpx.WriteError("The connection was closed before the request was sent.")
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._body = response = Body(self, waiter)
        self._bodiless, self._complete, self.heard = bodiless, False, False
        self._status = self._head_size = 0
        if isinstance(body, bytes) and len(body) <= APART:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, *body) if isinstance(body, tuple) else (head, body))
        try:
            await waiter
        except asyncio.CancelledError:
            await response.aclose()
            raise
        if response.error is not None and not response.status:
            raise response.error
        return response

    def data_received(self, data: bytes) -> None:
        body = self._body
        if body is None:  # nobody asked
            self.abort()
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._keep = False
            if not self._complete:
                self._fail(httpx.RemoteProtocolError(f"The server does not speak HTTP/1.1: {error}"))
                return
        if self._complete:
            self._finish(body)
        elif self._status:
            body.wake()
            if body.size > HIGH_WATER and not self._paused:
                self._paused = True
                self.transport.pause_reading()
        else:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._fail(httpx.RemoteProtocolError("The server's response headers are too large."))

    # the parser's callbacks; what they raise, feed_data raises as HttpParserError

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("more than was asked for")
        self._fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._status:  # else a trailer
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == SWITCHING_PROTOCOLS:
            raise ValueError("the protocol was switched")
        if status >= OK and self._body is not None:
            self._body.status = self._status = status
            self._body.fields = self._fields
            self._complete = self._bodiless

    def on_body(self, data: bytes) -> None:
        if self._body is not None and not self._bodiless:
            self._body.add(data)

    def on_message_complete(self) -> None:
        if self._status:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    # ends

    def _finish(self, body: Body) -> None:
        self._body = None
        if self._keep and not self._bodiless and not self.transport.get_write_buffer_size():
            self.resume()
            self._released(self)
        else:
            self.abort()
        body.end()

    def _fail(self, error: httpx.TransportError) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.end(error)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        body = self._body
        if body is not None:
            if self._writing or isinstance(exc, BrokenPipeError):
                self._fail(httpx.WriteError("The connection broke before the request was sent."))
            elif exc is not None:
                self._fail(httpx.ReadError(f"The connection broke: {exc}"))
            elif self._status and self._until_close():
                self._body = None
                body.end()
            else:
                what = "in the middle of its response" if self.heard else "without a response"
                self._fail(httpx.RemoteProtocolError(f"The server closed the connection {what}."))
        self._lost(self)

    def _until_close(self) -> bool:
        names = {name.lower() for name, value in self._fields if value.lower() != b"identity"}
        return names.isdisjoint((b"content-length", b"transfer-encoding"))

    def close(self) -> None:
        """Close at once; a response under way fails."""
        self._fail(httpx.ReadError("The connection was closed by the client."))

    def abort(self) -> None:
        """Close at once, whatever is under way; no response comes any more."""
        self._body = None
        self.transport.abort()
        self._lost(self)

    # flow control

    def pause_writing(self) -> None:
        self._writing = True

    def resume_writing(self) -> None:
        self._writing = False

    def resume(self) -> None:
        """The server may go on."""
        if self._paused:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
