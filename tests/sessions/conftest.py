"""Redis servers and stores for the tests of this folder."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from gateway.config import Duration, RedisSessions
from gateway.sessions.file.store import FileStore
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import SessionStore
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


@pytest.fixture(scope="session")
def redis_nodes() -> Iterator[list[servers.Process]]:
    """A cluster of three masters."""
    with servers.cluster() as nodes:
        yield nodes


@pytest.fixture(params=["file", "redis", "cluster"])
async def every_store(
    request: pytest.FixtureRequest, tmp_path: Path, open_store: Callable[..., RedisStore]
) -> AsyncIterator[SessionStore]:
    """Each store in its turn; what is asked over HTTP must not show which."""
    if request.param == "file":
        store = FileStore(str(tmp_path / "sessions"))
        yield store
        await store.close()
    elif request.param == "redis":
        yield open_store(request.getfixturevalue("redis_server").url, timeout=20.0)
    else:
        nodes = request.getfixturevalue("redis_nodes")
        yield open_store(nodes[0].url.removesuffix("/0"), timeout=20.0, settings={"mode": "cluster"})


@pytest.fixture
def store(redis_server: servers.Process, open_store: Callable[..., RedisStore]) -> RedisStore:
    return open_store(redis_server.url)
