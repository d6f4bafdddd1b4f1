"""From the configuration to a Link.

A URL is redis://user:password@host:port/db, rediss:// for TLS, unix:///path. For Sentinel and Cluster it names
several servers, `host:port,host:port`: the sentinels, or some of the cluster.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection
from redis.asyncio.sentinel import SentinelManagedSSLConnection as SentinelTLS
from redis.backoff import NoBackoff

from gateway.config import RedisSessions
from gateway.sessions.redis.cluster import Address, Cluster
from gateway.sessions.redis.lanes import Lanes, Wait
from gateway.sessions.redis.link import Link, Server
from gateway.sessions.redis.sentinel import Sentinels, be_master


def connect(settings: RedisSessions, short: Callable[[], None] = lambda: None) -> Link:
    """A Link as `settings` describe it. Nothing is sent yet. Raises ValueError for a URL that cannot be read.

    `short` hears of each write that fewer replicas than are waited for had in time.
    """
    addresses, options = read_url(settings.url, 26379 if settings.mode == "sentinel" else 6379)
    options |= {
        "protocol": 2,
        "socket_timeout": None,
        "socket_connect_timeout": settings.connect_timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }
    wait = Wait(settings.wait_replicas, settings.wait_timeout, short) if settings.wait_replicas else None
    match settings.mode:
        case "sentinel":
            return _sentinel(settings, addresses, options, wait)
        case "cluster":
            return _cluster(settings, addresses, options, wait)
        case "single":
            pool = ConnectionPool.from_url(settings.url, **options)
            return _server(settings, pool, settings.connect_timeout, wait)


def read_url(url: str, default_port: int) -> tuple[tuple[Address, ...], dict[str, Any]]:
    """The servers that a URL names, and everything else in it as options of a connection."""
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    servers = [urlsplit(f"//{host}") for host in hosts.split(",")]
    addresses = tuple((server.hostname or "localhost", server.port or default_port) for server in servers)
    one = SplitResult(parts.scheme, f"{credentials}{at}localhost", parts.path, parts.query, "")
    options = dict(parse_url(urlunsplit(one)))
    options.pop("host", None)
    return addresses, options


def _server(settings: RedisSessions, pool: ConnectionPool, connect_timeout: float, wait: Wait | None) -> Server:
    def new() -> AbstractConnection:
        made: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        return made

    timeout = settings.timeout
    lanes = Lanes(new, size=settings.connections, timeout=timeout, connect_timeout=connect_timeout, wait=wait)
    return Server(lanes, pool.aclose)


def _sentinel(
    settings: RedisSessions, addresses: tuple[Address, ...], options: dict[str, Any], wait: Wait | None
) -> Link:
    tls = "connection_class" in options
    options |= {"connection_class": SentinelTLS if tls else SentinelManagedConnection, "redis_connect_func": be_master}
    asking = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl_", "retry", "prot"))}
    asking |= {"socket_timeout": settings.connect_timeout, "ssl": tls}
    asking |= {"username": settings.sentinel_username or None, "password": settings.sentinel_password or None}
    sentinel = Sentinels(addresses, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    pool = SentinelConnectionPool(settings.sentinel_master, sentinel, **options)  # type: ignore[no-untyped-call]
    # A sentinel is connected to and asked, and then the master is connected to.
    server = _server(settings, pool, settings.connect_timeout * 3, wait)
    sentinel.moved = server.lanes.leave

    async def release() -> None:
        await pool.aclose()
        await sentinel.aclose()

    return Server(server.lanes, release)


def _cluster(
    settings: RedisSessions, addresses: tuple[Address, ...], options: dict[str, Any], wait: Wait | None
) -> Link:
    kind: type[Connection] = options.pop("connection_class", Connection)

    def lanes(address: Address) -> Lanes:
        def new() -> AbstractConnection:
            return kind(host=address[0], port=address[1], **options)

        timeout, connect_timeout = settings.timeout, settings.connect_timeout
        return Lanes(new, size=settings.connections, timeout=timeout, connect_timeout=connect_timeout, wait=wait)

    return Cluster(addresses, lanes, settings.timeout)
