"""The stores that the contract is held against. To add one, write a world and name it in WORLDS."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from gateway.sessions.store import SessionStore
from tests.contract.making import World


WORLDS: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[World]]] = {}


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
