"""What was stored once is read for ever; what a newer version stored is refused and left alone."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace

from gateway.config import Encryption, RedisSessions
from gateway.errors import StoreError
from gateway.sessions import codec
from gateway.sessions.file.store import FileStore
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.sealing import Seal
from gateway.sessions.store import FORMAT, SessionStore
from tests.contract import format_1
from tests.contract.format_1 import KEY, NOW, append_of, mark_of, turn_of
from tests.contract.making import FIXTURES, loaded, stored_files

Opened = Callable[[pytest.FixtureRequest, Path, bool], AbstractAsyncContextManager[SessionStore]]


@asynccontextmanager
async def files(
    request: pytest.FixtureRequest,
    directory: Path,
    newer: bool,  # noqa: FBT001
) -> AsyncIterator[SessionStore]:
    root = stored_files(request.param[-1], directory / "kept")
    if newer:
        for path in root.rglob("*.log"):
            path.write_bytes(b"gwlog\r\n\x03" + path.read_bytes()[8:])
    store = FileStore(str(root), clock=lambda: NOW + 1)
    yield store
    await store.close()


@asynccontextmanager
async def one_redis(request: pytest.FixtureRequest, _: Path, newer: bool) -> AsyncIterator[SessionStore]:  # noqa: FBT001
    url = request.getfixturevalue("redis_url")
    stored = json.loads((FIXTURES / "format-1-redis.json").read_text())
    fields = {bytes.fromhex(name): bytes.fromhex(value) for name, value in stored["fields"].items()}
    if newer:
        fields[b"v"] = str(FORMAT + 1).encode()
    with redis.Redis.from_url(url) as client:
        client.hset(stored["key"], mapping=fields)
        client.expire(stored["key"], 600)
        store = RedisStore(connect(RedisSessions(url=url)), prefix="gw:", timeout=5.0)
        yield store
        await store.close()
        client.delete(stored["key"])


@pytest.fixture(params=["file-1", "file-2", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[SessionStore]]:
    world: Opened = one_redis if request.param == "redis" else files
    if request.param == "redis":
        request.getfixturevalue("redis_url")
    return lambda *, newer=False: world(request, tmp_path, newer)


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_a_stored_session_is_read_whole(opened: Callable[..., AbstractAsyncContextManager[SessionStore]]):
    async with opened() as store:
        session = await loaded(store, KEY)
        head = session.head
        assert (head.key, head.first, head.next, head.revision >= 20) == (KEY, 3, 21, True)
        assert (head.system, head.preamble, head.tools) == (format_1.SYSTEM, format_1.PREAMBLE, format_1.TOOLS)
        assert (head.pin, head.last, head.cut, head.resends) == (format_1.PIN, format_1.ORIGIN, 4, True)
        assert (head.totals.turns, head.totals.messages, head.totals.cost) == (20, 40, 5.0)
        assert head.totals.usage.input == sum(100 + n for n in range(1, 21))
        assert json.loads(bytes(head.context)) == {"plan": "gold"}
        assert set(session.turns) == set(session.marks) == set(range(3, 21))
        for number, turn in session.turns.items():
            assert turn == replace(turn_of(number), at=turn.at)
            mark = session.marks[number]
            assert mark == replace(mark_of(number), size=mark.size, unconfirmed=number == 20)


async def test_a_stored_session_goes_on(opened: Callable[..., AbstractAsyncContextManager[SessionStore]]):
    async with opened() as store:
        head = (await loaded(store, KEY)).head
        again = await store.append(KEY, replace(append_of(20, head.generation, head.revision)))
        assert (again.number, again.again) == (20, True)
        appended = await store.append(KEY, append_of(21, head.generation, head.revision))
        assert appended.number == 21
        assert max((await loaded(store, KEY)).turns) == 21


async def test_what_a_newer_version_stored_is_refused_and_left_alone(
    opened: Callable[..., AbstractAsyncContextManager[SessionStore]], tmp_path: Path
):
    async with opened(newer=True) as store:
        before = contents(tmp_path)
        for work in (
            lambda: store.load(KEY, turns=10, marks=True, keep=60.0),
            lambda: store.append(KEY, append_of(21, None, 0)),
            lambda: store.head(KEY),
            lambda: store.turns(KEY, first=1, count=3),
        ):
            with pytest.raises(StoreError, match="newer version") as caught:
                await work()
            assert caught.value.code == "session_format"
        await store.cleanup()
        assert contents(tmp_path) == before


def test_values_of_format_1_are_read():
    stored = {
        name: bytes.fromhex(data) for name, data in json.loads((FIXTURES / "format-1-codec.json").read_text()).items()
    }
    turn, mark = format_1.PAIR
    assert codec.decode_turn(stored["turn"]) == turn
    assert codec.decode_mark(stored["mark"]) == replace(mark, size=len(stored["turn"]))
    assert codec.decode_head(stored["head"]) == format_1.HEAD
    assert codec.decode_said(stored["said"]) == format_1.SYSTEM
    assert codec.decode_pin(stored["pin"]) == format_1.PIN
    assert codec.decode_origin(stored["origin"]) == format_1.ORIGIN
    assert codec.decode_key(stored["key"]) == KEY


def test_what_was_sealed_opens():
    stored = json.loads((FIXTURES / "format-1-sealed.json").read_text())
    assert Seal(Encryption(), compress=False).open((bytes.fromhex(stored["plain"]),), "place") == format_1.SEALED
    with_keys = Seal(format_1.ENCRYPTION, compress=False)
    assert with_keys.open((bytes.fromhex(stored["encrypted"]),), "place") == format_1.SEALED
