"""Redis Cluster: which server has a key, and what to do when it has moved.

The protocol: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisClusterException, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.sessions.redis.lanes import FAILURES, Lanes
from gateway.sessions.redis.wire import Script, pack

Address = tuple[str, int]

_ASKING = pack(("ASKING",))
_ATTEMPTS = 40  # with a pause each, more than any budget: a slot may be on its way for a while
_PAUSE = 0.05
_ELSEWHERE = (MovedError, AskError, ClusterDownError, TryAgainError, RedisConnectionError, ConnectionError)
"""Failures after which a command is sent on, or again."""


class Cluster:
    """Sends each command to the server that has its key. `lanes` makes the connections to one server.

    A command takes at most `timeout` seconds, wherever it has to be sent on to.
    """

    def __init__(self, seeds: tuple[Address, ...], lanes: Callable[[Address], Lanes], timeout: float) -> None:
        self._seeds = seeds
        self._timeout = timeout
        self._make = lanes
        self._servers: dict[Address, Lanes] = {}
        self._starts: list[int] = []
        self._owners: list[Address] = []
        self._refreshing: asyncio.Task[None] | None = None
        self._closed = False

    def call(self, key: str, *args: str | bytes | float) -> Coroutine[Any, Any, Any]:
        return self._routed(key, pack(args))

    def run(
        self, script: Script, keys: tuple[str, ...], *args: str | bytes | float, durable: bool = False
    ) -> Coroutine[Any, Any, Any]:
        return self._routed(keys[0], script.packed(keys, args), script, durable=durable)

    async def _routed(self, key: str, packed: bytes, script: Script | None = None, *, durable: bool = False) -> Any:  # noqa: ANN401 - Redis answers anything
        began, last = monotonic(), None
        try:
            if self._starts:
                server = self._server_of(key)
                try:
                    return await (server.durable if durable else server).call(packed, script=script)
                except _ELSEWHERE as exc:
                    last = exc
            async with asyncio.timeout(self._timeout - (monotonic() - began)):
                for _ in range(_ATTEMPTS):
                    server, asking = await self._after(last, key)
                    lanes, asked = server.durable if durable else server, _ASKING + packed if asking else packed
                    try:
                        return await lanes.call(asked, 1 + asking, script)
                    except _ELSEWHERE as exc:
                        last = exc
        except (TimeoutError, RedisTimeoutError, asyncio.CancelledError):
            self._refresh_soon()
            raise
        raise last or RedisClusterException("moved too often")

    async def _after(self, last: Exception | None, key: str) -> tuple[Lanes, bool]:
        """Where to ask after this failure, and whether the server there must be told that it is asked in passing."""
        match last:
            case MovedError():
                self._refresh_soon()
                return self._at((last.host, last.port)), False
            case AskError():
                return self._at((last.host, last.port)), True
            case None:
                pass
            case _:
                await asyncio.sleep(_PAUSE)
        await self._refresh()
        return self._server_of(key), False

    async def everywhere(self, *args: str) -> list[Any]:
        if not self._starts:
            await self._refresh()
        packed = pack(args)
        return list(await asyncio.gather(*(self._at(owner).call(packed) for owner in dict.fromkeys(self._owners))))

    async def close(self) -> None:
        self._closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
        for lanes in self._servers.values():
            await lanes.close()

    def _server_of(self, key: str) -> Lanes:
        place = bisect_right(self._starts, key_slot(key.encode())) - 1
        if place < 0:
            raise RedisClusterException("slot without a server")
        return self._at(self._owners[place])

    def _at(self, address: Address) -> Lanes:
        if address not in self._servers:
            self._servers[address] = self._make(address)
        return self._servers[address]

    async def _refresh(self) -> None:
        await asyncio.shield(self._refresh_soon())

    def _refresh_soon(self) -> "asyncio.Task[None]":
        """Asks where the slots are: once for all that wait, and to the end even if they give up."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._ask())
            self._refreshing.add_done_callback(_seen)
        return self._refreshing

    async def _ask(self) -> None:
        if self._closed:
            raise RedisConnectionError("closed")
        last: Exception = RedisClusterException("no server known")
        for address in dict.fromkeys((*self._owners, *self._seeds)):
            try:
                ranges = await self._at(address).call(pack(("CLUSTER", "SLOTS")))
                found = sorted((low, (host.decode() or address[0], port)) for low, _, (host, port, *_), *_ in ranges)
            except FAILURES as exc:
                last = exc
                continue
            except (TypeError, ValueError, AttributeError):
                last = RedisClusterException("CLUSTER SLOTS has another shape")
                continue
            if found:
                self._starts = [low for low, _ in found]
                self._owners = [owner for _, owner in found]
                await self._forget()
                return
        raise last

    async def _forget(self) -> None:
        for address in set(self._servers) - {*self._owners, *self._seeds}:
            await self._servers.pop(address).close()


def _seen(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
