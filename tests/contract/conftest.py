"""The stores that the contract is held against. To add one, write a world and name it in WORLDS."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

import pytest

from gateway.config import Encryption, EncryptionKey
from gateway.sessions.file.store import FileStore
from gateway.sessions.sealed import SealedStore
from gateway.sessions.sealing import Seal
from gateway.sessions.seen import Seen
from gateway.sessions.store import SessionStore
from tests.contract.making import World
from tests.contract.redis_worlds import cluster_world, fake_world, redis_cluster_url, redis_url, redis_world

__all__ = ["redis_cluster_url", "redis_url"]


class Clock:
    """A clock that is moved by hand; it ticks a little with every look, as real ones do."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.000_01
        return self.now


@asynccontextmanager
async def file_world(_: pytest.FixtureRequest) -> AsyncIterator[World]:
    opened: list[SessionStore] = []
    clock = Clock()
    with TemporaryDirectory() as directory:

        def open_store() -> SessionStore:
            opened.append(FileStore(f"{directory}/sessions", clock=clock))
            return opened[-1]

        async def elapse(units: float) -> None:
            clock.now += units

        yield World(open_store, elapse, unit=1.0)
        for store in opened:
            await store.close()


@asynccontextmanager
async def sealed_world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    keys = Encryption(keys=(EncryptionKey(id="k1", key="11" * 32),))
    async with file_world(request) as world:
        yield replace(world, open=lambda: SealedStore(world.open(), Seal(keys, compress=False), Seen(1 << 20)))


WORLDS: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[World]]] = {
    "file": file_world,
    "file-sealed": sealed_world,
    "redis": redis_world,
    "redis-cluster": cluster_world,
    "redis-fake": fake_world,
}


@pytest.fixture(params=sorted(WORLDS))
def world_of(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[World]]:
    """Makes a world without any data, one at a time."""
    return lambda: WORLDS[request.param](request)


@pytest.fixture
async def world(world_of: Callable[[], AbstractAsyncContextManager[World]]) -> AsyncIterator[World]:
    async with world_of() as made:
        yield made


@pytest.fixture
async def store(world: World) -> SessionStore:
    return world.open()


@pytest.fixture
async def other(world: World, store: SessionStore) -> SessionStore:
    """A second store on the same data."""
    return world.open()
