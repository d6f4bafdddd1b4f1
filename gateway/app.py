"""The composition root: the one place that names concrete classes."""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from itertools import count
from pathlib import Path

import httpx
import msgspec
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler
from litestar.types import Scope
from msgspec.structs import replace
from prometheus_client import REGISTRY, CollectorRegistry, multiprocess

from gateway.api.auth import Callers
from gateway.api.desk import Desk
from gateway.api.guard import digest_of
from gateway.api.inference import Inference, open_gemini
from gateway.api.management import management_router
from gateway.api.models import Models
from gateway.api.probes import Readiness, probes
from gateway.ask import Gateway
from gateway.config import Config
from gateway.dialects.dialect import Dialect
from gateway.dialects.dialect import Request as Opened
from gateway.dialects.registry import DIALECTS
from gateway.errors import StoreUnavailable
from gateway.fleet.file_board import FileBoard
from gateway.fleet.fleet import Fleet
from gateway.fleet.redis_board import RedisBoard
from gateway.ledger.book import Book
from gateway.ledger.file_ledger import FileLedger
from gateway.ledger.ledger import Ledger
from gateway.ledger.redis_ledger import RedisLedger
from gateway.metrics import Metrics, Record
from gateway.routing.table import Table
from gateway.sessions.breaker import Breaker
from gateway.sessions.file import FileStore
from gateway.sessions.memory import Memory
from gateway.sessions.redis import RedisStore
from gateway.sessions.redis_connect import connect
from gateway.sessions.store import SessionStore
from gateway.transport import Transport
from gateway.upstream import Upstream

POSTS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
}
MODELS = ("/v1/models", "/v1beta/models")
"""Listed with GET; below them Gemini's methods are POSTs."""


TOMBSTONE_GRACE = 60.0
"""Seconds beyond a request's deadline for which a deleted session is kept from coming back (rule S11)."""


def create_app(
    config: Config,
    *,
    sessions: SessionStore | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    registry: CollectorRegistry | None = None,
    finished: Callable[[Record], None] | None = None,
    metrics_directory: str | None = None,
) -> Litestar:
    """A worker's application. What is given replaces what the configuration would make; tests give fakes.

    `finished` takes the record of each exchange beside the metrics; by default it is logged as one JSON line.
    `metrics_directory` is where several workers of one server keep their instruments, to be read as one.
    """
    store = sessions or make_store(config)
    metrics = Metrics(registry or REGISTRY)
    table, readiness = Table(config), Readiness()
    upstream = Upstream(config, transport or Transport())
    fleet = make_fleet(config) if sessions is None else Fleet(None, time.monotonic)
    book = Book(make_ledger(config) if sessions is None else None, fleet.disable)
    callers = Callers(config, book)
    gateway = Gateway(
        table=table,
        fleet=fleet,
        upstream=upstream,
        memory=Memory(store, config, metrics, time.perf_counter),
        turns=count(),
        attempts=config.routing.attempts,
        max_turns=config.history.max_turns,
        wall=time.time,
    )
    tell = finished or log_line

    def observe(record: Record) -> None:
        metrics.observe(record)
        tell(record)

    inference = Inference(config=config, gateway=gateway, callers=callers, metrics=metrics, finished=observe)
    registries = partial(_gathered, metrics, metrics_directory)

    desk = _desk(config, table, fleet, book, registries)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await _begin(store, fleet)
        await book.start()
        try:
            yield
        finally:
            readiness.draining = True
            for part in (book, fleet, upstream, store):
                await part.close()

    return Litestar(
        route_handlers=[
            *_data_plane(inference, Models(table, callers)),
            management_router(store, desk, digest_of(config.management), DIALECTS),
            *probes(readiness, store, registries, needs_store=config.sessions.on_failure == "reject"),
        ],
        lifespan=[lifespan],
        openapi_config=None,
        exception_handlers={HTTPException: _http_error},
        logging_config=None,
    )


def _desk(config: Config, table: Table, fleet: Fleet, book: Book, registry: Callable[[], CollectorRegistry]) -> Desk:
    return Desk(
        config=lambda: config,
        table=lambda: table,
        fleet=fleet,
        book=book,
        registry=registry,
        clock=time.monotonic,
        wall=time.time,
    )


async def _begin(store: SessionStore, fleet: Fleet) -> None:
    if isinstance(store, RedisStore):
        with suppress(StoreUnavailable):  # a gateway starts without its store, and says so when asked
            await store.check()
    fleet.start()


def _data_plane(inference: Inference, models: Models) -> Iterator[ASGIRouteHandler]:
    for name, path in POSTS.items():
        yield inference.route(path, DIALECTS[name], _body_opener(DIALECTS[name]))
    for path in MODELS:
        yield inference.route(path, DIALECTS["gemini"], open_gemini, models.serve)


def make_store(config: Config) -> SessionStore:
    """The configured session store."""
    tombstone = config.routing.deadline + TOMBSTONE_GRACE
    if config.sessions.store == "redis":
        redis = config.sessions.redis
        return RedisStore(
            connect(redis),
            prefix=redis.prefix,
            timeout=float(redis.timeout),
            tombstone=tombstone,
            breaker=Breaker(time.monotonic),
        )
    return FileStore(str(Path(config.sessions.file.directory).expanduser()), tombstone=tombstone)


def make_fleet(config: Config) -> Fleet:
    """What this worker shares with the others: through Redis where sessions are there, else through a file."""
    if config.sessions.store == "redis":
        redis = config.sessions.redis
        link = connect(replace(redis, connections=1))
        return Fleet(RedisBoard(link, prefix=redis.prefix, timeout=redis.timeout), time.monotonic)
    return Fleet(FileBoard(Path(config.sessions.file.directory).expanduser()), time.monotonic)


def make_ledger(config: Config) -> Ledger:
    """Where this worker and the others find what operators decide: beside the sessions."""
    if config.sessions.store == "redis":
        redis = config.sessions.redis
        link = connect(replace(redis, connections=1))
        return RedisLedger(link, prefix=redis.prefix, timeout=redis.timeout)
    return FileLedger(Path(config.sessions.file.directory).expanduser())


def log_line(record: Record) -> None:
    """One JSON line an exchange on standard error: no message content, no keys."""
    sys.stderr.buffer.write(msgspec.json.encode(record) + b"\n")
    sys.stderr.buffer.flush()


def _body_opener(dialect: Dialect) -> Callable[[Scope, bytes], Opened]:
    def opened(_: Scope, body: bytes) -> Opened:
        return dialect.open_request(body)

    return opened


def _gathered(metrics: Metrics, directory: str | None) -> CollectorRegistry:
    """This worker's instruments, or those of all workers where several share a directory."""
    if directory is None:
        return metrics.registry
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return registry


def _http_error(_: Request[object, object, State], error: HTTPException) -> Response[dict[str, dict[str, str]]]:
    """Errors outside of any dialect: unknown paths, wrong methods."""
    body = {"error": {"code": HTTPStatus(error.status_code).name.lower(), "message": error.detail}}
    return Response(body, status_code=error.status_code)
