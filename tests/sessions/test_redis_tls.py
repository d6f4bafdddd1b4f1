"""TLS and ACL users, also of Sentinel, on a server that has them: Debian's Redis."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import trustme

from gateway.config import Duration, RedisSessions
from gateway.errors import StoreUnavailable
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import SessionKey
from tests.contract.making import KEY, first, load, texts
from tests.servers import free_port, wait

SERVER = shutil.which("redis-server")
BEHIND = SessionKey("acme", "", "behind")
TLS_FILES = (("cert", "cert"), ("key", "key"), ("ca-cert", "ca"))
ACL = "user gateway on >secret ~gw:* &* +@read +@write +@scripting +@connection +time"
WATCHING = (
    "user watcher on >watching &* +multi +exec +slaveof +ping +subscribe +publish +info +role +client +config|rewrite"
)
ASKING = "user asker on >asking +@connection +sentinel|masters"

pytestmark = pytest.mark.skipif(SERVER is None, reason="redis-server is not installed here")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A server that takes TLS only, and a user that may do what the store needs and no more."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    (folder / "acl").write_text(f"{ACL}\n{WATCHING}\nuser default off\n")
    port = free_port()
    options = {
        "port": "0", "tls-port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": "",
        "tls-auth-clients": "no",
        **{f"tls-{name}-file": str(folder / f"{file}.pem") for name, file in TLS_FILES},
        "aclfile": str(folder / "acl"), "logfile": str(folder / "log"),
    }  # fmt: skip
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    process = subprocess.Popen([str(SERVER), *arguments])
    try:
        client = redis.Redis(
            port=port, ssl=True, ssl_ca_certs=str(folder / "ca.pem"), username="gateway", password="secret"
        )
        with client:
            wait(client.ping)
        yield port, folder / "ca.pem"
    finally:
        process.terminate()
        process.wait(10)


def store_at(port: int, authority: Path, user: str = "gateway:secret") -> RedisStore:
    url = f"rediss://{user}@127.0.0.1:{port}/0?ssl_ca_certs={authority}"
    return RedisStore(connect(RedisSessions(url=url, connect_timeout=Duration(20))), timeout=20.0)


async def test_sessions_are_kept_over_tls_by_a_user_with_few_rights(secured: tuple[int, Path]) -> None:
    store = store_at(*secured)
    try:
        await store.append(KEY, first("over tls"))
        assert texts(await load(store)) == ["over tls"]
        assert [head.key for head in (await store.list()).heads] == [KEY]
        await store.check()
        assert await store.delete(KEY)
    finally:
        await store.close()


@pytest.mark.parametrize("user", ["gateway:wrong", "default:"])
async def test_a_wrong_password_is_an_unavailable_store(secured: tuple[int, Path], user: str) -> None:
    store = store_at(*secured, user)
    try:
        with pytest.raises(StoreUnavailable):
            await store.ping()
    finally:
        await store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # asyncio's, of a failed handshake
async def test_a_certificate_of_nobody_is_refused(secured: tuple[int, Path]) -> None:
    port, _ = secured
    settings = RedisSessions(url=f"rediss://gateway:secret@127.0.0.1:{port}/0", connect_timeout=Duration(20))
    store = RedisStore(connect(settings), timeout=20.0)
    try:
        with pytest.raises(StoreUnavailable):
            await store.ping()
    finally:
        await store.close()


@pytest.fixture(scope="module")
def guarded(secured: tuple[int, Path]) -> Iterator[tuple[int, Path]]:
    """A sentinel that takes TLS only, and answers one user only."""
    master, authority = secured
    folder, port = authority.parent, free_port()
    files = "".join(f"tls-{name}-file {folder}/{file}.pem\n" for name, file in TLS_FILES)
    (folder / "sentinel.conf").write_text(
        f"port 0\ntls-port {port}\nbind 127.0.0.1\ntls-replication yes\ntls-auth-clients no\n{files}"
        f"dir {folder}\nlogfile {folder}/sentinel.log\n{ASKING}\nuser default off\n"
        f"sentinel monitor gw 127.0.0.1 {master} 1\n"
        "sentinel auth-user gw watcher\nsentinel auth-pass gw watching\n"
    )
    process = subprocess.Popen([str(SERVER), str(folder / "sentinel.conf"), "--sentinel"])
    try:
        with redis.Redis(
            port=port, ssl=True, ssl_ca_certs=str(authority), username="asker", password="asking"
        ) as client:
            wait(lambda: client.sentinel_masters()["gw"]["flags"] == "master")
        yield port, authority
    finally:
        process.terminate()
        process.wait(10)


def store_behind(port: int, authority: Path, user: str = "gateway:secret", **asking: str) -> RedisStore:
    url = f"rediss://{user}@127.0.0.1:{port}/0?ssl_ca_certs={authority}"
    settings = RedisSessions(
        url=url, mode="sentinel", sentinel_master="gw", connect_timeout=Duration(20), timeout=Duration(20), **asking
    )
    return RedisStore(connect(settings), timeout=20.0)


async def test_sentinel_has_credentials_of_its_own(guarded: tuple[int, Path]) -> None:
    store = store_behind(*guarded, sentinel_username="asker", sentinel_password="asking")
    try:
        await store.append(BEHIND, first("behind sentinel"))
        assert texts(await load(store, BEHIND)) == ["behind sentinel"]
        await store.check()
        assert await store.delete(BEHIND)
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("user", "asking"),
    [
        ("gateway:secret", {}),
        ("gateway:secret", {"sentinel_username": "asker", "sentinel_password": "wrong"}),
        ("gateway:wrong", {"sentinel_username": "asker", "sentinel_password": "asking"}),
    ],
)
async def test_wrong_credentials_are_told_from_a_store_that_is_away(
    guarded: tuple[int, Path], user: str, asking: dict[str, str]
) -> None:
    store = store_behind(*guarded, user, **asking)
    try:
        with pytest.raises(StoreUnavailable, match="credentials"):
            await store.ping()
    finally:
        await store.close()
