"""Redis servers and stores for the tests of this folder."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from gateway.config import Duration, RedisSessions
from gateway.sessions.redis import RedisStore
from gateway.sessions.redis_connect import connect
from tests import servers


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.Process]:
    """A server of our own; what a test changes in it, it puts back."""
    with servers.one() as process:
        yield process


@pytest.fixture
async def open_store() -> AsyncIterator[Callable[..., RedisStore]]:
    """Makes stores that are closed in the end: `open_store(url, mode=..., timeout=..., prefix=...)`."""
    opened: list[RedisStore] = []

    def make(url: str, *, timeout: float = 5.0, prefix: str = "", settings: Any = None, **options: Any) -> RedisStore:
        given = {"url": url, "timeout": Duration(timeout), "connect_timeout": Duration(timeout), **(settings or {})}
        link = connect(replace(RedisSessions(), **given))
        opened.append(RedisStore(link, prefix=prefix or f"t-{uuid4().hex}:", timeout=timeout, **options))
        return opened[-1]

    yield make
    for store in opened:
        await store.close()


@pytest.fixture
def store(redis_server: servers.Process, open_store: Callable[..., RedisStore]) -> RedisStore:
    return open_store(redis_server.url)
