"""Few connections to one Redis server that all commands of a worker share.

redis-py connects: addresses, TLS, names and passwords, Sentinel's answers are its business. Then the connection is
taken over by a protocol of ours that writes the commands of a moment and gives each reply to who waits for it, without
a task, a lock or a timer a command.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from time import monotonic
from typing import Any, NamedTuple, cast

from hiredis import Reader
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoScriptError, ReadOnlyError, RedisClusterException, RedisError

from gateway.sessions.redis.wire import Script, pack

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


class _Lost(RedisConnectionError):
    """The connection ended before the reply came."""


Reply = asyncio.Future[Any]
"""What a command is answered; errors of every kind are results."""
Asked = tuple[Reply | None, float]
"""Who waits for an answer, and the loop's time since when."""


class _Line(asyncio.Protocol):
    """One connection. `over` hears that no further command may go out on it; `silent` if nothing was heard on it.

    `crowded` is called when many commands wait on it.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        timeout: float,
        over: Callable[["_Line"], None],
        crowded: Callable[[], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._timeout = timeout
        self._over = over
        self._crowded = crowded
        self._parser = Reader(protocolError=InvalidResponse, replyError=connection._parser.parse_error)  # noqa: SLF001
        writer = connection._writer  # noqa: SLF001 - redis-py has no other way to a transport that it has opened
        assert writer is not None  # noqa: S101 - it is connected
        self._transport = cast("asyncio.Transport", writer.transport)
        self._transport.set_protocol(self)
        self._waiting: deque[Asked] = deque()
        self._unsent: list[bytes] = []
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._retired = False
        self.silent = False

    def __len__(self) -> int:
        """Commands that wait for their replies."""
        return len(self._waiting)

    def ask(self, packed: bytes, count: int = 1, asked: tuple[Reply, float] | None = None) -> Reply:
        """The reply to the last of `count` packed commands, which may have been `asked` for before."""
        now, waiting = self._loop.time(), self._waiting
        if not waiting:
            self._since = now
            if self._timer is None:
                self._timer = self._loop.call_at(now + self._timeout, self._check)
        if count > 1:
            waiting.extend([(None, now)] * (count - 1))
        if asked is None:
            asked = (self._loop.create_future(), now)
        waiting.append(asked)
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent.append(packed)
        return asked[0]

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
        waiting = self._waiting
        try:
            while (answer := self._parser.gets()) is not False:
                if not waiting:
                    self.end(_Lost("The server said something that nobody had asked for."))
                    return
                self._answer(waiting.popleft(), answer)
                if isinstance(answer, ReadOnlyError):
                    self.retire()
        except InvalidResponse as error:
            self.end(error)
            return
        if self._retired and not waiting:
            self.retire()
        self._since = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(_Lost(f"The connection was lost: {exc}" if exc else "The connection was closed."))
        if self._timer is not None:
            self._timer.cancel()
        self._connection._parser.on_disconnect()  # type: ignore[no-untyped-call] # noqa: SLF001 - as its `disconnect` does
        self._connection._reader = self._connection._writer = None  # noqa: SLF001

    def _write(self) -> None:
        """What was asked in one round of the loop goes out together: a write costs as much as all else in a call."""
        packed, self._unsent = b"".join(self._unsent), []
        if not self._transport.is_closing():
            self._transport.write(packed)
        if len(self._waiting) > _CROWD:
            self._crowded()

    def _answer(self, asked: Asked, answer: object) -> None:
        reply = asked[0]
        if reply is not None and not reply.done():
            reply.set_result(answer)

    def _check(self) -> None:
        """End what has waited too long, and the connection if nothing at all came meanwhile."""
        self._timer = None
        if not len(self):
            return
        now = self._loop.time()
        oldest = self._end_late(now)
        if now >= self._since + self._timeout:
            self.silent = True
            self.end(TimeoutError())
        else:
            self._timer = self._loop.call_at(min(self._since, oldest) + self._timeout, self._check)

    def _end_late(self, now: float) -> float:
        """When the oldest command was asked that may wait on, `now` for none."""
        oldest = now
        for reply, since in self._asked():
            if reply is None or reply.done():
                continue
            if since + self._timeout > now:
                oldest = min(oldest, since)
            else:
                reply.set_result(TimeoutError())
        return oldest

    def _asked(self) -> Iterable[Asked]:
        """All commands without an answer."""
        return self._waiting

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            _Line._answer(self, self._waiting.popleft(), error)


class _DurableLine(_Line):
    """Behind each batch goes one WAIT, which speaks for all of it; nothing is answered before, nor sent meanwhile."""

    def __init__(
        self,
        connection: AbstractConnection,
        timeout: float,
        over: Callable[[_Line], None],
        crowded: Callable[[], object],
        wait: Wait,
    ) -> None:
        super().__init__(connection, timeout, over, crowded)
        self._wait = wait
        self._packed = pack(("WAIT", wait.replicas, round(wait.seconds * 1000)))
        self._word: Reply | None = None
        self._next: deque[tuple[bytes, int, tuple[Reply, float]]] = deque()
        self._batch: list[tuple[Asked, object]] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._next)

    def ask(self, packed: bytes, count: int = 1, asked: tuple[Reply, float] | None = None) -> Reply:
        asked = asked or (self._loop.create_future(), self._loop.time())
        self._next.append((packed, count, asked))
        if len(self._next) > _CROWD:
            self._crowded()
        self._flush()
        return asked[0]

    def _flush(self) -> None:
        if self._waiting or not self._next:
            return
        for _ in range(min(len(self._next), _TOGETHER)):
            super().ask(*self._next.popleft())
        self._word = super().ask(self._packed)

    def _answer(self, asked: Asked, answer: object) -> None:
        if asked[0] is not self._word:
            self._batch.append((asked, answer))
            return
        short = not isinstance(answer, int) or answer < self._wait.replicas
        for done, result in self._batch:
            super()._answer(done, result)
            if done[0] is not None and short and not isinstance(result, Exception):
                self._wait.short()
        self._batch.clear()
        self._flush()

    def _asked(self) -> Iterable[Asked]:
        return chain([asked for asked, _ in self._batch], self._waiting, [asked for _, _, asked in self._next])

    def _fail(self, error: Exception) -> None:
        for asked, _ in self._batch:
            super()._answer(asked, error)
        self._batch.clear()
        super()._fail(error)
        while self._next:
            super()._answer(self._next.popleft()[2], error)


class Lanes:
    """Up to `size` connections to one server. Commands go out as they come, and replies come in their order.

    A command takes at most `timeout` seconds, whatever happens. A caller that gives up disturbs nobody: its reply is
    read and dropped. A connection on which nothing is heard for `timeout` is closed. A command that was lost with a
    connection which had been there before, a stale one, is sent again on another, and in the end on a new one: all of
    ours may be sent twice. If nothing was heard on one, the others are not used any more either: by then the master may
    be another, and the old one back without knowing it.

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

    async def call(self, packed: bytes, count: int = 1, script: Script | None = None) -> Any:  # noqa: ANN401 - Redis answers anything
        """The reply to the last of `count` packed commands. A server that does not know their `script` is given it."""
        began, lines = monotonic(), self._lines
        if lines:
            answer = await (lines[0] if len(lines) == 1 else min(lines, key=len)).ask(packed, count)
            if not isinstance(answer, Exception):
                return answer
            if not isinstance(answer, _Lost | NoScriptError):
                raise answer
        async with asyncio.timeout(self._timeout - (monotonic() - began)):
            return await self._patiently(packed, count, script)

    async def _patiently(self, packed: bytes, count: int, script: Script | None) -> Any:  # noqa: ANN401
        for _ in range(self._size + 2):
            fresh = not self._lines
            line = await self._line() if fresh else min(self._lines, key=len)
            answer = await line.ask(packed, count)
            if isinstance(answer, NoScriptError) and script is not None:
                answer = await line.ask(script.spelled_out(packed), count)
            if not isinstance(answer, Exception):
                return answer
            if fresh or not isinstance(answer, _Lost):
                break
        raise answer

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

    async def _line(self) -> _Line:
        """A new connection, the same for all who wait for one."""
        if self._closed:
            raise RedisConnectionError("closed")
        opening = self._open()
        try:
            return await asyncio.shield(opening)
        except FAILURES:
            raise
        except Exception as exc:
            raise RedisConnectionError(repr(exc)) from exc

    def _crowded(self) -> None:
        if len(self._lines) < self._size and not self._closed:
            self._open()

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
            line = _Line(connection, self._timeout, self._over, self._crowded)
        else:
            line = _DurableLine(connection, self._timeout, self._over, self._crowded, self._wait)
        self._lines.append(line)
        return line

    def _over(self, line: _Line) -> None:
        with suppress(ValueError):
            self._lines.remove(line)
        if line.silent:
            for other in tuple(self._lines):
                other.retire()
