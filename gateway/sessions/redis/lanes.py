"""Few connections to one Redis server that all commands of a worker share.

redis-py connects: addresses, TLS, names and passwords, Sentinel's answers are its business. Then the connection is
taken over by a protocol of ours that writes the commands of a moment and gives each reply to who waits for it, without
a task, a lock or a timer a command.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, cast

from hiredis import Reader, pack_command
from msgspec import Struct
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ReadOnlyError, RedisClusterException, RedisError

FAILURES = (RedisError, RedisClusterException, OSError)
"""What comes out of a Link. TimeoutError is an OSError; RedisClusterException is not a RedisError."""

_CROWD = 32
"""Commands that wait on one connection before another is opened."""
_TOGETHER = 64


class Wait(NamedTuple):
    """What `Link.write` waits for: so many `replicas`, for so many `seconds`. `short` hears of each that lacked some.

    Both Redis and Valkey count the writes of the connection that asks (https://redis.io/docs/latest/commands/wait/).
    """

    replicas: int
    seconds: float
    short: Callable[[], None]


def pack(args: tuple[str | bytes | float, ...]) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = pack_command(args)  # type: ignore[arg-type] # the stub says a tuple of one
    return packed


class _Lost(RedisConnectionError):
    """The connection ended before the reply came."""


class _Call(Struct):
    """Commands that go out together, `left` of them unanswered; the reply is the last one's, or an error's."""

    packed: bytes
    left: int
    reply: asyncio.Future[Any]

    def settle(self, result: object) -> None:
        if not self.reply.done():
            self.reply.set_result(result)


class _Line(asyncio.Protocol):
    """One connection. `over` hears that no further command may go out on it; `silent` if nothing was heard on it."""

    def __init__(self, connection: AbstractConnection, timeout: float, over: Callable[["_Line"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._timeout = timeout
        self._over = over
        self._parser = Reader(protocolError=InvalidResponse, replyError=connection._parser.parse_error)  # noqa: SLF001
        writer = connection._writer  # noqa: SLF001 - redis-py has no other way to a transport that it has opened
        assert writer is not None  # noqa: S101 - it is connected
        self._transport = cast("asyncio.Transport", writer.transport)
        self._transport.set_protocol(self)
        self._waiting: deque[_Call] = deque()
        self._unsent: list[bytes] = []
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._retired = False
        self.silent = False

    def __len__(self) -> int:
        """Commands that wait for their replies."""
        return len(self._waiting)

    def ask(self, packed: bytes, count: int) -> "asyncio.Future[Any]":
        """The reply to the last of `count` packed commands; errors of every kind are results."""
        call = _Call(packed, count, self._loop.create_future())
        self._send(call)
        return call.reply

    def retire(self) -> None:
        """What waits is still answered; nothing new goes out."""
        if not self._retired:
            self._retired = True
            self._over(self)
        if not self._waiting:
            self._transport.abort()

    def end(self, error: Exception) -> None:
        """Close now; what waits fails with `error`."""
        self._fail(error)
        self.retire()

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not False:
                self._take(reply)
        except InvalidResponse as error:
            self.end(error)
            return
        self._since = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(_Lost(f"The connection was lost: {exc}" if exc else "The connection was closed."))
        if self._timer is not None:
            self._timer.cancel()
        self._connection._parser.on_disconnect()  # type: ignore[no-untyped-call] # noqa: SLF001 - as its `disconnect` does
        self._connection._reader = self._connection._writer = None  # noqa: SLF001

    def _send(self, call: _Call) -> None:
        if not self._waiting:
            self._since = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_at(self._since + self._timeout, self._check)
        self._waiting.append(call)
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent.append(call.packed)

    def _write(self) -> None:
        """What was asked in one round of the loop goes out together: a write costs as much as all else in a call."""
        packed, self._unsent = b"".join(self._unsent), []
        if not self._transport.is_closing():
            self._transport.write(packed)

    def _take(self, reply: object) -> None:
        if not self._waiting:
            self.end(_Lost("The server said something that nobody had asked for."))
            return
        call = self._waiting[0]
        call.left -= 1
        if call.left == 0:
            self._waiting.popleft()
            self._answer(call, reply)
        if isinstance(reply, ReadOnlyError) or (self._retired and not self._waiting):
            self.retire()

    def _answer(self, call: _Call, reply: object) -> None:
        call.settle(reply)

    def _check(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        due = self._since + self._timeout
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._check)
        else:
            self.silent = True
            self.end(TimeoutError())

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            self._waiting.popleft().settle(error)


class _DurableLine(_Line):
    """Behind each batch goes one WAIT, which speaks for all of it; nothing is answered before, nor sent meanwhile."""

    def __init__(
        self, connection: AbstractConnection, timeout: float, over: Callable[[_Line], None], wait: Wait
    ) -> None:
        super().__init__(connection, timeout, over)
        self._wait = wait
        self._packed = pack(("WAIT", wait.replicas, round(wait.seconds * 1000)))
        self._next: deque[_Call] = deque()
        self._batch: list[tuple[_Call, object]] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._next)

    def ask(self, packed: bytes, count: int) -> "asyncio.Future[Any]":
        call = _Call(packed, count, self._loop.create_future())
        self._next.append(call)
        self._flush()
        return call.reply

    def _flush(self) -> None:
        if self._waiting or not self._next:
            return
        for _ in range(min(len(self._next), _TOGETHER)):
            self._send(self._next.popleft())
        self._send(_Call(self._packed, 1, self._loop.create_future()))

    def _answer(self, call: _Call, reply: object) -> None:
        if call.packed is not self._packed:
            self._batch.append((call, reply))
            return
        short = not isinstance(reply, int) or reply < self._wait.replicas
        for done, result in self._batch:
            done.settle(result)
            if short and not isinstance(result, Exception):
                self._wait.short()
        self._batch.clear()
        self._flush()

    def _fail(self, error: Exception) -> None:
        for call, _ in self._batch:
            call.settle(error)
        self._batch.clear()
        super()._fail(error)
        while self._next:
            self._next.popleft().settle(error)


class Lanes:
    """Up to `size` connections to one server. Commands go out as they come, and replies come in their order.

    A caller that gives up disturbs nobody: its reply is read and dropped. A connection on which nothing is heard for
    `timeout` seconds is closed. A command that was lost with a connection which had been there before, a stale one, is
    sent again on another, and in the end on a new one: all of ours may be sent twice. If nothing was heard on one, the
    others are not used any more either: by then the master may be another, and the old one back without knowing it.

    `durable` are those that wait for replicas, as `wait` says: connections of their own, so that nothing else waits
    with them; these ones where there is nothing to wait for.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractConnection],
        *,
        size: int,
        timeout: float,
        connect_timeout: float,
        wait: Wait | None = None,
    ) -> None:
        self.durable: Lanes = self
        if wait is not None:
            self.durable = Lanes(connect, size=size, timeout=timeout, connect_timeout=connect_timeout)
            self.durable._wait = wait  # noqa: SLF001 - of this class
        self._wait: Wait | None = None
        self._connect = connect
        self._size = size
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._lines: list[_Line] = []
        self._opening: asyncio.Task[_Line] | None = None
        self._closed = False

    async def call(self, packed: bytes, count: int = 1) -> Any:  # noqa: ANN401 - Redis answers anything
        """The reply to the last of `count` packed commands."""
        for _ in range(self._size + 2):
            fresh = not self._lines
            line = self._free()
            if line is None:
                line = await self._line()
            reply = await line.ask(packed, count)
            if not isinstance(reply, Exception):
                return reply
            if fresh or not isinstance(reply, _Lost):
                break
        raise reply

    def leave(self) -> None:
        """Use none of these connections any more, since the server is another; what waits is still answered."""
        if self.durable is not self:
            self.durable.leave()
        for line in tuple(self._lines):
            line.retire()

    async def close(self) -> None:
        if self.durable is not self:
            await self.durable.close()
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError, *FAILURES):
                await self._opening
        for line in tuple(self._lines):
            line.end(RedisConnectionError("closed"))
        await asyncio.sleep(0)  # sockets are closed in the loop's next round

    def _free(self) -> _Line | None:
        """The least busy connection."""
        if self._closed:
            raise RedisConnectionError("closed")
        if not self._lines:
            return None
        line = self._lines[0] if len(self._lines) == 1 else min(self._lines, key=len)
        if len(line) >= _CROWD and len(self._lines) < self._size:
            self._open()
        return line

    async def _line(self) -> _Line:
        """A new connection, the same for all who wait for one."""
        opening = self._open()
        try:
            return await asyncio.shield(opening)
        except FAILURES:
            raise
        except Exception as exc:
            raise RedisConnectionError(repr(exc)) from exc

    def _open(self) -> "asyncio.Task[_Line]":
        if self._opening is None:
            self._opening = asyncio.create_task(self._make())
            self._opening.add_done_callback(self._made)
        return self._opening

    def _made(self, opening: "asyncio.Task[_Line]") -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # whoever waits is told; where nobody does, the next one finds out

    async def _make(self) -> _Line:
        connection = self._connect()
        try:
            async with asyncio.timeout(self._connect_timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if self._wait is None:
            line = _Line(connection, self._timeout, self._over)
        else:
            line = _DurableLine(connection, self._timeout, self._over, self._wait)
        self._lines.append(line)
        return line

    def _over(self, line: _Line) -> None:
        with suppress(ValueError):
            self._lines.remove(line)
        if line.silent:
            for other in tuple(self._lines):
                other.retire()
