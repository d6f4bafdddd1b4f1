"""Redis behind Sentinel: who the master is, whether it knows, and when it is another.

How a client is meant to ask: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

Address = tuple[str, int]

_LOOK = 0.5
"""Seconds between two looks at who the master is, as soon as there was one."""


class Sentinels(Sentinel):
    """Several sentinels, asked one after another; the one that answered last is asked first.

    While none of them answers there is no failover either: then the master is the one that was named last.
    After a failover the old master takes writes, all of which are lost, until a sentinel tells it, which may be ten
    seconds later. So they are asked twice a second, and `moved` is called when they name another.
    """

    moved: Callable[[], None] = staticmethod(lambda: None)
    _named: Address | None = None
    _looking: "asyncio.Task[None] | None" = None

    async def discover_master(self, service_name: str) -> Address:
        """Raises MasterNotFoundError, and AuthenticationError if all that could be reached want other credentials."""
        silent: list[Exception] = []
        for place, sentinel in enumerate(self.sentinels):
            try:
                known: Any = await sentinel.sentinel_masters()
            except (RedisConnectionError, RedisTimeoutError) as exc:
                silent.append(exc)
                continue
            state = known.get(service_name)
            if state and self.check_master_state(state, service_name):
                self.sentinels[0], self.sentinels[place] = sentinel, self.sentinels[0]
                return self._name((state["ip"], state["port"]), service_name)
        if len(silent) < len(self.sentinels):
            raise MasterNotFoundError(f"no sentinel knows a master {service_name!r} that is up")
        if self._named is not None:
            return self._named
        refused = [exc for exc in silent if isinstance(exc, AuthenticationError)]
        raise refused[0] if refused else MasterNotFoundError(f"no sentinel answers: {silent[-1]}")

    async def aclose(self) -> None:
        """Look no more, and close the connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await super().aclose()

    def _name(self, address: Address, service_name: str) -> Address:
        if self._named not in (None, address):
            self.moved()
        self._named = address
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(service_name))
        return address

    async def _look(self, service_name: str) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            with suppress(RedisError, OSError):
                await self.discover_master(service_name)


async def be_master(connection: AbstractConnection) -> None:
    """What a new connection begins with. Raises ReadOnlyError if the server is a replica, whatever a sentinel said."""
    await connection.on_connect()
    await connection.send_command("HELLO")
    try:
        said = await connection.read_response()
        role = said[said.index(b"role") + 1]
    except (ResponseError, ValueError, AttributeError):  # some services forbid HELLO
        return
    if role != b"master":
        raise ReadOnlyError("this server is a replica")
