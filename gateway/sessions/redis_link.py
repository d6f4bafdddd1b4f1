"""How Redis is reached: few connections that many commands share, one server, Sentinel or Cluster.

Everything that can go wrong on the way becomes StoreUnavailable with a message of ours.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import cached_property
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import StoreUnavailable

FAILURES = (RedisError, RedisClusterException, OSError)
"""What comes out of a Link. TimeoutError is an OSError; RedisClusterException is not a RedisError."""

_BATCH = 64


class Link(Protocol):
    """A way to Redis. Raises FAILURES; limits of time beyond those of one connection are the caller's."""

    async def call(self, key: str, *args: str | bytes | float) -> Any:  # noqa: ANN401 - Redis answers anything
        """One command about `key`, which chooses the server."""

    async def write(self, key: str, *args: str | bytes | float) -> Any:  # noqa: ANN401 - Redis answers anything
        """The same, and where replicas are to be waited for, their word is awaited before the reply is given."""

    async def everywhere(self, *args: str) -> list[Any]:
        """One command to every server that takes writes."""

    async def close(self) -> None:
        """Let go of all connections; calls that wait fail."""


class Script:
    """A Lua script beside this file, or in another package."""

    def __init__(self, name: str, package: str = __package__) -> None:
        self._name = name
        self._package = package

    @cached_property
    def source(self) -> str:
        """The text."""
        return files(self._package).joinpath(f"{self._name}.lua").read_text("utf-8")

    @cached_property
    def sha(self) -> str:
        """What EVALSHA calls it by."""
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, link: Link, keys: tuple[str, ...], *args: str | bytes | float) -> Any:  # noqa: ANN401
        """Its result. A server that does not know the script (restarted, failed over, flushed) is given it."""
        return await self._run(link.call, keys, args)

    async def write(self, link: Link, keys: tuple[str, ...], *args: str | bytes | float) -> Any:  # noqa: ANN401
        """The same, as `Link.write`."""
        return await self._run(link.write, keys, args)

    async def _run(
        self, call: Callable[..., Awaitable[Any]], keys: tuple[str, ...], args: tuple[str | bytes | float, ...]
    ) -> Any:  # noqa: ANN401
        try:
            return await call(keys[0], "EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await call(keys[0], "EVAL", self.source, len(keys), *keys, *args)


def unavailable(exc: BaseException) -> StoreUnavailable:
    """What a failure means, in words of ours."""
    match exc:
        case OutOfMemoryError():
            message = "The session store is full."
        case TimeoutError() | RedisTimeoutError():
            message = "The session store did not answer in time."
        case AuthenticationError() | NoPermissionError():
            message = "The session store refuses the gateway's credentials."
        case ReadOnlyError() | BusyLoadingError() | ClusterDownError():
            message = "The session store is not ready to serve."
        case ResponseError():
            message = "The session store answered with an error."
        case _:
            message = "The session store cannot be reached."
    return StoreUnavailable(message, code="store_unavailable")


class Wait(NamedTuple):
    """What `Link.write` waits for: so many `replicas`, for so many `seconds`. `short` hears of each that lacked some.

    Both Redis and Valkey count the writes of the connection that asks (https://redis.io/docs/latest/commands/wait/).
    """

    replicas: int
    seconds: float
    short: Callable[[], None]


class _Call:
    """Commands that go out together; the reply is the last one's. An error reply is a result here, too."""

    __slots__ = ("count", "packed", "reply")

    def __init__(self, packed: bytes, count: int) -> None:
        self.packed = packed
        self.count = count
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(self, result: object) -> None:
        if not self.reply.done():
            self.reply.set_result(result)


class Lanes:
    """Up to `size` connections to one server. Commands that wait at the same time share a write and a read.

    A caller that gives up disturbs nobody: its reply is read and dropped. A connection on which nothing is heard for
    `timeout` seconds is closed. A connection that turns out to be stale is replaced once and its unanswered commands
    are sent again: all of ours may be sent twice. When nothing was heard on one, the others are made anew before they
    are used again: by then the master may be another, and the old one come back without knowing it.

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
            self.durable = _Durable(connect, size=size, timeout=timeout, connect_timeout=connect_timeout)
            self.durable.wait = wait
        self._connect = connect
        self._size = size
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._queue: deque[_Call] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._parked: list[asyncio.Future[None]] = []
        self._waking = False
        self._closed = False
        self._doubts = 0

    async def call(self, packed: bytes, count: int = 1) -> Any:  # noqa: ANN401 - Redis answers anything
        """The reply to the last of `count` packed commands."""
        if self._closed:
            raise RedisConnectionError("closed")
        call = _Call(packed, count)
        self._queue.append(call)
        self._wake()
        reply = await call.reply
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def close(self) -> None:
        if self.durable is not self:
            await self.durable.close()
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail(self._queue, RedisConnectionError("closed"))

    def _wake(self) -> None:
        if self._waking:
            return
        if self._parked:
            self._parked.pop().set_result(None)
        elif len(self._tasks) < self._size:
            self._tasks.add(asyncio.create_task(self._run()))
        else:
            return
        self._waking = True

    async def _run(self) -> None:
        connection, doubts = self._connect(), self._doubts
        try:
            while True:
                self._waking = False
                while self._queue:
                    if doubts != self._doubts:
                        doubts = self._doubts
                        await connection.disconnect(nowait=True)
                    await self._serve(connection)
                parked = asyncio.get_running_loop().create_future()
                self._parked.append(parked)
                await parked
        finally:
            await connection.disconnect(nowait=True)

    async def _serve(self, connection: AbstractConnection) -> None:
        """Connects if need be, and answers the calls that wait by then."""
        batch: deque[_Call] = deque()
        reused = connection.is_connected
        try:
            await self._ready(connection)
            batch = self._take()
            if batch:
                await self._exchange(connection, batch)
        except Exception as exc:  # noqa: BLE001 - a lane outlives whatever a broken connection raises
            await connection.disconnect(nowait=True)
            silent = isinstance(exc, TimeoutError | RedisTimeoutError)
            self._doubts += silent
            if reused and not silent:
                self._queue.extendleft(reversed(batch))
            else:
                self._fail(batch or self._queue, exc if isinstance(exc, FAILURES) else RedisConnectionError(repr(exc)))
        except asyncio.CancelledError:
            self._fail(batch, RedisConnectionError("closed"))
            raise

    async def _ready(self, connection: AbstractConnection) -> None:
        if not connection.is_connected:
            async with asyncio.timeout(self._connect_timeout):
                await connection.connect()  # type: ignore[no-untyped-call]

    def _take(self) -> deque[_Call]:
        batch: deque[_Call] = deque()
        while self._queue and len(batch) < _BATCH:
            call = self._queue.popleft()
            if not call.reply.done():
                batch.append(call)
        return batch

    async def _exchange(self, connection: AbstractConnection, batch: deque[_Call]) -> None:
        now = asyncio.get_running_loop().time
        demoted = False
        async with asyncio.timeout(self._timeout) as limit:
            await connection.send_packed_command([call.packed for call in batch], check_health=False)
            while batch:
                reply: object = None
                for _ in range(batch[0].count):
                    reply = await _read(connection)
                batch.popleft().settle(reply)
                demoted = demoted or isinstance(reply, ReadOnlyError)
                if batch and now() + self._timeout / 2 > (limit.when() or 0):
                    limit.reschedule(now() + self._timeout)
        if demoted:
            self._doubts += 1

    @staticmethod
    def _fail(calls: deque[_Call], exc: Exception) -> None:
        while calls:
            calls.popleft().settle(exc)


class _Durable(Lanes):
    """Behind each batch goes one WAIT, which speaks for all of it; nothing is answered before."""

    wait: Wait

    async def _exchange(self, connection: AbstractConnection, batch: deque[_Call]) -> None:
        replicas, seconds, short = self.wait
        async with asyncio.timeout(self._timeout):
            wait = pack(("WAIT", replicas, round(seconds * 1000)))
            await connection.send_packed_command([*(call.packed for call in batch), wait], check_health=False)
            replies = [[await _read(connection) for _ in range(call.count)][-1] for call in batch]
            had = await _read(connection)
        for reply in replies:
            batch.popleft().settle(reply)
            if not isinstance(reply, Exception) and (not isinstance(had, int) or had < replicas):
                short()
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            self._doubts += 1


async def _read(connection: AbstractConnection) -> object:
    try:
        return await connection.read_response()
    except ResponseError as exc:
        return exc


def pack(args: tuple[str | bytes | float, ...]) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = pack_command(args)  # type: ignore[arg-type] # the stub says a tuple of one
    return packed


class Server:
    """One server, or the master that Sentinel names."""

    def __init__(self, lanes: Lanes, release: Callable[[], Awaitable[None]]) -> None:
        self.lanes = lanes
        self._release = release

    async def call(self, key: str, *args: str | bytes | float) -> Any:  # noqa: ANN401, ARG002 - as the Protocol has it
        return await self.lanes.call(pack(args))

    async def write(self, key: str, *args: str | bytes | float) -> Any:  # noqa: ANN401, ARG002 - as the Protocol has it
        return await self.lanes.durable.call(pack(args))

    async def everywhere(self, *args: str) -> list[Any]:
        return [await self.lanes.call(pack(args))]

    async def close(self) -> None:
        await self.lanes.close()
        await self._release()
