"""Redis behind Sentinel: who the master is, and whether it knows.

How a client is meant to ask: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import AuthenticationError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

Address = tuple[str, int]


class Sentinels(Sentinel):
    """Several sentinels, asked one after another; the one that answered last is asked first.

    While none of them answers there is no failover either: then the master is the one that was named last.
    """

    _named: Address | None = None

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
                self._named = state["ip"], state["port"]
                return self._named
        if len(silent) < len(self.sentinels):
            raise MasterNotFoundError(f"no sentinel knows a master {service_name!r} that is up")
        if self._named is not None:
            return self._named
        refused = [exc for exc in silent if isinstance(exc, AuthenticationError)]
        raise refused[0] if refused else MasterNotFoundError(f"no sentinel answers: {silent[-1]}")


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
