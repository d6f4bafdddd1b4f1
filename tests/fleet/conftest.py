"""Boards over a real Redis and over a file."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec.structs import replace

from gateway.config import Duration, RedisSessions
from gateway.fleet.board import Board
from gateway.fleet.file_board import FileBoard
from gateway.fleet.redis_board import RedisBoard
from gateway.sessions.redis.connect import connect
from tests import servers


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.Process]:
    with servers.one() as process:
        yield process


@pytest.fixture(params=["redis", "file"])
async def boards(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], Board]]:
    """Makes boards that share: each is another worker's."""
    opened: list[Board] = []
    prefix = f"t-{uuid4().hex}:"

    def make() -> Board:
        if request.param == "file":
            opened.append(FileBoard(tmp_path / "sessions"))
        else:
            url = request.getfixturevalue("redis_server").url
            link = connect(replace(RedisSessions(), url=url, connections=1, connect_timeout=Duration(5)))
            opened.append(RedisBoard(link, prefix=prefix, timeout=5))
        return opened[-1]

    yield make
    for board in opened:
        await board.close()
