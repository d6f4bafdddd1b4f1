"""TLS and ACL users, on a server that has them: Debian's Redis."""

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
from tests.contract.making import KEY, first, load, texts
from tests.servers import free_port, wait

SERVER = shutil.which("redis-server")
ACL = "user gateway on >secret ~gw:* &* +@read +@write +@scripting +@connection +time"

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
    (folder / "acl").write_text(f"{ACL}\nuser default off\n")
    port = free_port()
    options = {
        "port": "0", "tls-port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": "",
        "tls-auth-clients": "no",
        "tls-cert-file": str(folder / "cert.pem"), "tls-key-file": str(folder / "key.pem"),
        "tls-ca-cert-file": str(folder / "ca.pem"), "aclfile": str(folder / "acl"), "logfile": str(folder / "log"),
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
