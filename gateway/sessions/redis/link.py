"""How Redis is reached: few connections that many commands share, one server, Sentinel or Cluster.

Everything that can go wrong on the way becomes StoreUnavailable with a message of ours.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import StoreUnavailable
from gateway.sessions.redis.lanes import FAILURES, Lanes
from gateway.sessions.redis.wire import Script, pack

T = TypeVar("T")

_NO_WRITES = ("NOREPLICAS", "MISCONF")


class Link(Protocol):
    """A way to Redis. Raises lanes.FAILURES; each command is limited in time as Lanes says."""

    def call(self, key: str, *args: str | bytes | float) -> Coroutine[Any, Any, Any]:
        """What Redis answers to one command about `key`, which chooses the server."""

    def run(
        self, script: Script, keys: tuple[str, ...], *args: str | bytes | float, durable: bool = False
    ) -> Coroutine[Any, Any, Any]:
        """The result of a script on its keys. `durable`: where replicas are to be waited for, their word is awaited."""

    async def everywhere(self, *args: str) -> list[Any]:
        """One command to every server that takes writes."""

    async def close(self) -> None:
        """Let go of all connections; calls that wait fail."""


def takes_no_writes(exc: BaseException) -> bool:
    """Whether the server answered at once that it stores nothing now: what is stored can be read all the same."""
    return isinstance(exc, OutOfMemoryError) or str(exc).startswith(_NO_WRITES)


def unavailable(exc: BaseException) -> StoreUnavailable:
    """What a failure means, in words of ours."""
    match exc:
        case OutOfMemoryError():
            message = "The session store is full."
        case ResponseError() if takes_no_writes(exc):
            message = "The session store takes no writes now."
        case TimeoutError() | RedisTimeoutError():
            message = "The session store did not answer in time."
        case AuthenticationError() | NoPermissionError():
            message = "The session store refuses the gateway's credentials."
        case ResponseError() if "unauthenticated" in str(exc):  # a command longer than strangers may send
            message = "The session store refuses the gateway's credentials."
        case MasterNotFoundError():
            message = "Sentinel names no master of the session store."
        case ReadOnlyError() | BusyLoadingError() | ClusterDownError():
            message = "The session store is not ready to serve."
        case ResponseError():
            message = "The session store answered with an error."
        case _:
            message = "The session store cannot be reached."
    return StoreUnavailable(message, code="store_unavailable")


async def within(seconds: float, step: Awaitable[T]) -> T:
    """What a step over a Link comes to, in so many seconds. Raises StoreUnavailable."""
    try:
        async with asyncio.timeout(seconds):
            return await step
    except FAILURES as exc:
        raise unavailable(exc) from exc


class Server:
    """One server, or the master that Sentinel names."""

    def __init__(self, lanes: Lanes, release: Callable[[], Awaitable[None]]) -> None:
        self.lanes = lanes
        self._release = release

    def call(self, key: str, *args: str | bytes | float) -> Coroutine[Any, Any, Any]:  # noqa: ARG002 - Cluster needs it
        return self.lanes.call(pack(args))

    def run(
        self, script: Script, keys: tuple[str, ...], *args: str | bytes | float, durable: bool = False
    ) -> Coroutine[Any, Any, Any]:
        return (self.lanes.durable if durable else self.lanes).call(script.packed(keys, args), script=script)

    async def everywhere(self, *args: str) -> list[Any]:
        return [await self.lanes.call(pack(args))]

    async def close(self) -> None:
        await self.lanes.close()
        await self._release()
