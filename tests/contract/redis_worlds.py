"""The Redis store in the contract: on one server, on a cluster, on an imitation in this process."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from gateway.config import Duration, RedisSessions
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.link import Link
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.redis.wire import Script
from gateway.sessions.store import SessionStore
from tests import servers
from tests.contract.making import World

UNIT = 1.0 if os.getloadavg()[0] > 3 * (os.cpu_count() or 1) else 0.25
"""Seconds, by the server's own clock: long against one call, also where the machine is busy."""
TIMEOUT = 20.0
PATIENT = {"timeout": Duration(TIMEOUT), "connect_timeout": Duration(TIMEOUT)}


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with servers.any_url() as url:
        yield url


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    with servers.cluster() as nodes:
        yield ",".join(
            node.url.removesuffix("/0") if not n else f"127.0.0.1:{node.port}" for n, node in enumerate(nodes)
        )


class FakeLink:
    """A Link to an imitation, which has no connection to take over."""

    def __init__(self, server: FakeServer) -> None:
        self._client = FakeAsyncRedis(server=server, protocol=2)
        self._client.response_callbacks.clear()

    async def call(self, key: str, *args: str | bytes | float) -> Any:
        return await self._client.execute_command(*args)

    async def run(
        self, script: Script, keys: tuple[str, ...], *args: str | bytes | float, durable: bool = False
    ) -> Any:
        return await self._client.execute_command("EVAL", script.source, len(keys), *keys, *args)

    async def everywhere(self, *args: str) -> list[Any]:
        return [await self._client.execute_command(*args)]

    async def close(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def world_on(link: Callable[[], Link]) -> AsyncIterator[World]:
    opened: list[SessionStore] = []
    prefix = f"test-{uuid4().hex}:"

    def open_store() -> SessionStore:
        opened.append(RedisStore(link(), prefix=prefix, timeout=TIMEOUT))
        return opened[-1]

    async def elapse(units: float) -> None:
        await asyncio.sleep(units * UNIT)

    yield World(open_store, elapse, unit=UNIT)
    for store in opened:
        await store.close()


@asynccontextmanager
async def redis_world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    settings = RedisSessions(url=request.getfixturevalue("redis_url"), **PATIENT)
    async with world_on(lambda: connect(settings)) as world:
        yield world


@asynccontextmanager
async def cluster_world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    settings = RedisSessions(url=request.getfixturevalue("redis_cluster_url"), mode="cluster", **PATIENT)
    async with world_on(lambda: connect(settings)) as world:
        yield world


@asynccontextmanager
async def fake_world(_: pytest.FixtureRequest) -> AsyncIterator[World]:
    server = FakeServer()
    async with world_on(lambda: FakeLink(server)) as world:
        yield world
