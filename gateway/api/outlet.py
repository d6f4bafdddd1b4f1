"""The way back to one client, over ASGI: headers, keep-alive comments, and the news that it left."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import cast

from litestar.types import Message, Receive, Scope, Send

from gateway.watch import Watch

LEFT = "gateway.left"
"""The extension by which our server tells, without being waited for, whether the client has left."""

Headers = list[tuple[str, str]]


class AsgiOutlet:
    """Implements gateway.ask.Outlet for one request whose body has been read."""

    def __init__(self, send: Send, watch: Watch, *, keepalive: float, common: Headers) -> None:
        self._send = send
        self._watch = watch
        self._keepalive = keepalive
        self._common = common
        self._loop = asyncio.get_running_loop()
        self._listener: asyncio.Task[None] | None = None
        self._receive: Receive | None = None
        self._left: Callable[[], bool] | None = None
        self._pulse: asyncio.TimerHandle | None = None
        self._beat: asyncio.Task[None] | None = None
        self._content_type = ""
        self._comment = b""
        self._last = self._loop.time()
        self._busy = False
        self._at_boundary = True
        self.started = False
        self.done = False

    def listen(self, receive: Receive) -> None:
        """The request has been read: what comes now is that the client leaves."""
        if not self.done:
            self._listener = self._loop.create_task(self._listen(receive))

    def look_last(self, receive: Receive, scope: Scope) -> None:
        """Before the end is sent, whether the client is still there is to be known: a turn is marked if it is not."""
        self._receive = receive
        self._left = cast("dict[str, Callable[[], bool]]", scope.get("extensions") or {}).get(LEFT)

    def stream(self, content_type: str, comment: bytes) -> None:
        """The reply will be a stream: from now on silence is broken by `comment`."""
        self._content_type, self._comment = content_type, comment
        self._last = self._loop.time()
        self._pulse = self._loop.call_later(self._keepalive, self._tick)

    async def start(self, headers: Headers) -> None:
        """Status and headers, once."""
        if not self.started:
            self.started = True
            stream = [("content-type", self._content_type), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
            await self._head(200, [*stream, *headers])

    async def write(self, data: bytes) -> None:
        """Some of the stream."""
        if self._busy and self._beat is not None:
            await asyncio.wait([self._beat])
        self._busy = True
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self._busy = False
            self._at_boundary = data.endswith(b"\n")
            self._last = self._loop.time()

    async def finish(self, data: bytes) -> None:
        """The end of the stream."""
        if self._busy and self._beat is not None:
            await asyncio.wait([self._beat])
        self._look()
        self.done = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, headers: Headers, body: bytes, status: int = 200) -> None:
        """A whole reply."""
        self._look()
        self.started = self.done = True
        length = ("content-length", str(len(body)))
        await self._head(status, [("content-type", "application/json"), length, *headers])
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def close(self) -> None:
        """Nothing more will be sent; what refers back to here goes, so that nothing is left for the collector."""
        if self._listener is not None:
            self._listener.cancel()
        if self._pulse is not None:
            self._pulse.cancel()
        self._listener = self._pulse = self._beat = self._receive = self._left = None

    async def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in (*headers, *self._common)]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    def _look(self) -> None:
        """Ask without waiting: a task that listens costs many times that. If nothing is told at once, it is there."""
        if self._receive is None or self._listener is not None:
            return
        if self._left is not None:
            if self._left():
                self._watch.leave()
            return
        asking = cast("Coroutine[object, None, Message]", self._receive())
        try:
            asking.send(None)
        except StopIteration as told:
            if told.value["type"] == "http.disconnect":
                self._watch.leave()
        finally:
            asking.close()

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self.done:
            self._watch.leave()

    def _tick(self) -> None:
        silent = self._loop.time() - self._last
        due = self._keepalive - silent
        if due <= 0:
            due = self._keepalive
            if self._at_boundary and not self._busy and not self.done:
                self._busy = True
                self._beat = self._loop.create_task(self._say())
        self._pulse = self._loop.call_later(due, self._tick)

    async def _say(self) -> None:
        try:
            await self.start([])
            await self._send({"type": "http.response.body", "body": self._comment, "more_body": True})
            self._last = self._loop.time()
        finally:
            self._busy = False
