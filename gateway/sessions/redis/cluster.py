"""Redis Cluster: which server has a key, and what to do when it has moved.

The protocol: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisClusterException, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.sessions.redis.lanes import FAILURES, Lanes, pack

Address = tuple[str, int]

_ASKING = pack(("ASKING",))
_ATTEMPTS = 40  # with a pause each, more than any budget: a slot may be on its way for a while
_PAUSE = 0.05


class Cluster:
    """Sends each command to the server that has its key. `lanes` makes the connections to one server."""

    def __init__(self, seeds: tuple[Address, ...], lanes: Callable[[Address], Lanes]) -> None:
        self._seeds = seeds
        self._make = lanes
        self._servers: dict[Address, Lanes] = {}
        self._starts: list[int] = []
        self._owners: list[Address] = []
        self._refreshing: asyncio.Task[None] | None = None
        self._closed = False

    async def call(self, key: str, *args: str | bytes | float) -> Any:  # noqa: ANN401 - Redis answers anything
        return await self._routed(key, pack(args), durable=False)

    async def write(self, key: str, *args: str | bytes | float) -> Any:  # noqa: ANN401 - Redis answers anything
        return await self._routed(key, pack(args), durable=True)

    async def _routed(self, key: str, packed: bytes, *, durable: bool) -> Any:  # noqa: ANN401 - Redis answers anything
        if not self._starts:
            await self._refresh()
        server, asking = self._server_of(key), False
        last: Exception = RedisClusterException("moved too often")
        for _ in range(_ATTEMPTS):
            try:
                lanes = server.durable if durable else server
                return await lanes.call(_ASKING + packed if asking else packed, 1 + asking)
            except MovedError as exc:
                server, asking, last = self._at((exc.host, exc.port)), False, exc
                self._refresh_soon()
            except AskError as exc:
                server, asking, last = self._at((exc.host, exc.port)), True, exc
            except (RedisConnectionError, ConnectionError, ClusterDownError, TryAgainError) as exc:
                last = exc
                await asyncio.sleep(_PAUSE)
                await self._refresh()
                server, asking = self._server_of(key), False
            except (TimeoutError, RedisTimeoutError, asyncio.CancelledError):
                self._refresh_soon()
                raise
        raise last

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
