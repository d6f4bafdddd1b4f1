"""Redis behind Sentinel: who the master is, whether it knows, and when it is another.

How a client is meant to ask: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisError, ResponseError

Address = tuple[str, int]

_LOOK = 0.5
"""Seconds between two looks at who the master is, as soon as there was one."""
_MOMENT = 0.05


class Sentinels(Sentinel):
    """Several sentinels, asked at once: of what they say the newest counts, since a failover is known to one first.

    While none of them answers there is no failover either: then the master is the one that was named last.
    After a failover the old master takes writes, all of which are lost, until a sentinel tells it, which may be ten
    seconds later. So they are asked twice a second, and `moved` is called when they name another.
    """

    moved: Callable[[], None] = staticmethod(lambda: None)
    _named: Address | None = None
    _epoch = -1
    _looking: "asyncio.Task[None] | None" = None

    async def discover_master(self, service_name: str) -> Address:
        """Raises MasterNotFoundError, and AuthenticationError or NoPermissionError if one wants other credentials."""
        answers = await self._ask(service_name)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        masters = [answer for answer in answers if isinstance(answer, tuple)]
        if masters:
            epoch, address = max(masters)
            late = epoch < self._epoch and len(answers) < len(self.sentinels)
            return self._named if late and self._named else self._name(epoch, address, service_name)
        if len(failures) < len(answers):
            raise MasterNotFoundError(f"no sentinel knows a master {service_name!r} that is up")
        if self._named is not None:
            return self._named
        refused = [exc for exc in failures if isinstance(exc, AuthenticationError | NoPermissionError)]
        raise refused[0] if refused else MasterNotFoundError(f"no sentinel answers: {failures[-1]}")

    async def _ask(self, service_name: str) -> list[tuple[int, Address] | BaseException | None]:
        """What each sentinel says: the master and the epoch in which it became that, None if it knows of none.

        Those that say nothing for a moment are not waited for if another names a master.
        """
        tasks = [asyncio.create_task(self._one(sentinel, service_name)) for sentinel in self.sentinels]
        try:
            done, rest = await asyncio.wait(tasks, timeout=_MOMENT)
            if rest and not any(task.exception() is None and task.result() for task in done):
                done, _ = await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [task.exception() or task.result() for task in done]

    async def _one(self, sentinel: Any, service_name: str) -> tuple[int, Address] | None:  # noqa: ANN401 - a client
        state = (await sentinel.sentinel_masters()).get(service_name)
        if not state or not self.check_master_state(state, service_name):
            return None
        return int(state["config-epoch"]), (state["ip"], state["port"])

    async def aclose(self) -> None:
        """Look no more, and close the connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await super().aclose()

    def _name(self, epoch: int, address: Address, service_name: str) -> Address:
        if self._named not in (None, address):
            self.moved()
        self._named, self._epoch = address, epoch
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
