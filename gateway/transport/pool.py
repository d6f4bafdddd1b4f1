"""The connections of one route: the newest idle one is used first, and there are never more than `limit`."""

import asyncio
import socket
import ssl
from collections import deque

import aiohappyeyeballs
import httpx

from gateway.transport.connection import Connection
from gateway.transport.endpoint import Route

STAGGER = 0.25
"""Seconds until the next address of a host is tried beside one that does not answer (RFC 8305)."""


class Pool:
    """`keepalive` is how many seconds an idle connection stays; `tls` is None for plain HTTP."""

    def __init__(self, route: Route, tls: ssl.SSLContext | None, limit: int, keepalive: float) -> None:
        self._route = route
        self._tls = tls
        self._limit = limit
        self._keepalive = keepalive
        self._loop = asyncio.get_running_loop()
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._opening = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None

    def reuse(self) -> Connection | None:
        """An idle connection that still stands."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
            connection.abort()
        return None

    def forget_idle(self) -> None:
        """Close what is idle: one of them was dead, so the others probably are."""
        for connection in tuple(self._idle):
            connection.abort()

    async def acquire(self, wait: float | None, connect: float | None) -> Connection:
        """A connection: an idle one, else a new one, else the first to come free. Both limits are in seconds.

        Raises PoolTimeout, ConnectTimeout or ConnectError.
        """
        if connection := self.reuse():
            return connection
        if self._has_room():
            self._opening += 1
        elif connection := await self._turn(wait):
            if connection.usable():
                return connection
            connection.abort()
            return await self.acquire(wait, connect)
        return await self._open(connect)

    async def _turn(self, wait: float | None) -> Connection | None:
        """In the order of asking: a connection, or None for the right to open one."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        taken = False
        try:
            async with asyncio.timeout(wait):
                granted = await waiter
            taken = True
        except TimeoutError:
            raise httpx.PoolTimeout(f"No free connection to {self._route.host} within {wait} s.") from None
        finally:
            if not taken:
                self._decline(waiter)
        return granted

    def _decline(self, waiter: asyncio.Future[Connection | None]) -> None:
        if waiter.cancelled():
            self._waiters.remove(waiter)
        elif connection := waiter.result():
            self._released(connection)
        else:
            self._opening -= 1
            self._wake()

    async def _open(self, connect: float | None) -> Connection:
        try:
            async with asyncio.timeout(connect):
                connection = await self._connect()
        except TimeoutError:
            raise httpx.ConnectTimeout(f"No connection to {self._route.host} within {connect} s.") from None
        except (OSError, UnicodeError) as error:  # sockets and TLS; names that are none
            raise httpx.ConnectError(f"No connection to {self._route.host}: {error}") from error
        else:
            self._all.add(connection)
            return connection
        finally:
            self._opening -= 1
            self._wake()

    async def _connect(self) -> Connection:
        host, port = self._route.host, self._route.port
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=STAGGER, loop=self._loop)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a model may think for minutes
            connection = Connection(self._loop, self._released, self._lost)
            name = host if self._tls else None
            await self._loop.create_connection(lambda: connection, sock=sock, ssl=self._tls, server_hostname=name)
        except BaseException:
            sock.close()
            raise
        if connection.transport.is_closing():
            raise ConnectionAbortedError("the server closed it at once")
        return connection

    def _has_room(self) -> bool:
        return len(self._all) + self._opening < self._limit

    def _released(self, connection: Connection) -> None:
        connection.idle_since = self._loop.time()
        if waiter := self._next_waiter():
            waiter.set_result(connection)
            return
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._keepalive, self._sweep)

    def _lost(self, connection: Connection) -> None:
        if connection in self._all:
            self._all.remove(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._wake()

    def _wake(self) -> None:
        if self._has_room() and (waiter := self._next_waiter()):
            self._opening += 1
            waiter.set_result(None)

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = self._loop.time() - self._keepalive
        for connection in [c for c in self._idle if c.idle_since <= oldest]:
            connection.abort()
        if self._idle:
            next_time = min(c.idle_since for c in self._idle) + self._keepalive
            self._sweeper = self._loop.call_at(next_time, self._sweep)

    def close(self) -> None:
        """Close every connection; requests under way fail."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._all):
            connection.close()
