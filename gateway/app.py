"""The composition root: the one place that names concrete classes."""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any

import httpx
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
from gateway.console.routes import console_router
from gateway.dialects.dialect import Dialect
from gateway.dialects.dialect import Request as Opened
from gateway.dialects.registry import DIALECTS
from gateway.errors import StoreUnavailable
from gateway.fleet.file_board import FileBoard
from gateway.fleet.fleet import Fleet
from gateway.fleet.limits import Limits
from gateway.fleet.redis_board import RedisBoard
from gateway.ledger.book import Book
from gateway.ledger.file_ledger import FileLedger
from gateway.ledger.ledger import Ledger
from gateway.ledger.redis_ledger import RedisLedger
from gateway.logs import ExchangeLog
from gateway.metrics import Metrics, Record
from gateway.routing.table import Table
from gateway.sessions.breaker import Breaker
from gateway.sessions.digest import Digests
from gateway.sessions.file import FileStore
from gateway.sessions.memory import Memory
from gateway.sessions.redis import RedisStore
from gateway.sessions.redis_connect import connect
from gateway.sessions.sealed import SealedStore
from gateway.sessions.sealing import Seal
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
    metrics = Metrics(registry or REGISTRY)
    store = sessions or make_store(config, metrics)
    seal = Seal(config.sessions.encryption, compress=config.sessions.compression == "zstd")
    opened, digests = SealedStore(store, seal), Digests(seal.digest_keys)
    table, readiness = Table(config), Readiness()
    upstream = Upstream(config, transport or Transport())
    fleet, limits = make_fleet(config, metrics, alone=sessions is not None)
    book = Book(make_ledger(config) if sessions is None else None, fleet.disable)
    callers = Callers(config, book)
    gateway = Gateway(
        table=table,
        fleet=fleet,
        upstream=upstream,
        memory=Memory(opened, config, metrics, time.perf_counter, digests),
        turns=count(),
        attempts=config.routing.attempts,
        max_turns=config.history.max_turns,
        wall=time.time,
    )
    lines = ExchangeLog(sys.stderr.buffer)
    inference = Inference(
        config=config,
        gateway=gateway,
        callers=callers,
        limits=limits,
        metrics=metrics,
        finished=_both(metrics.observe, finished or lines.add),
    )
    registries = partial(_gathered, metrics, metrics_directory)

    desk = _desk(config, table, fleet, book, registries, digests)

    return Litestar(
        route_handlers=[
            *_data_plane(inference, Models(table, callers)),
            management_router(opened, desk, digest_of(config.management), DIALECTS),
            console_router(managed=digest_of(config.management) is not None),
            *probes(readiness, store, registries, needs_store=config.sessions.on_failure == "reject"),
        ],
        lifespan=[partial(_lifespan, readiness, (book, limits, fleet, upstream, store, lines))],
        openapi_config=None,
        exception_handlers={HTTPException: _http_error},
        logging_config=None,
    )


def _desk(
    config: Config, table: Table, fleet: Fleet, book: Book, registry: Callable[[], CollectorRegistry], digests: Digests
) -> Desk:
    return Desk(
        config=lambda: config,
        table=lambda: table,
        fleet=fleet,
        book=book,
        registry=registry,
        clock=time.monotonic,
        wall=time.time,
        digests=digests,
    )


def _both(first: Callable[[Record], None], second: Callable[[Record], None]) -> Callable[[Record], None]:
    def tell(record: Record) -> None:
        first(record)
        second(record)

    return tell


@asynccontextmanager
async def _lifespan(readiness: Readiness, parts: tuple[Any, ...], _: Litestar) -> AsyncIterator[None]:
    """From the first request to the last: what has work of its own is started, and all is closed in this order."""
    for part in parts:
        if isinstance(part, RedisStore):
            with suppress(StoreUnavailable):  # a gateway starts without its store, and says so when asked
                await part.check()
        if isinstance(part, Fleet | Limits):
            part.start()
        if isinstance(part, Book):
            await part.start()
    try:
        yield
    finally:
        readiness.draining = True
        for part in parts:
            await part.close()


def _data_plane(inference: Inference, models: Models) -> Iterator[ASGIRouteHandler]:
    for name, path in POSTS.items():
        yield inference.route(path, DIALECTS[name], _body_opener(DIALECTS[name]))
    for path in MODELS:
        yield inference.route(path, DIALECTS["gemini"], open_gemini, models.serve)


def make_store(config: Config, metrics: Metrics | None = None) -> SessionStore:
    """The configured session store."""
    tombstone = config.routing.deadline + TOMBSTONE_GRACE
    if config.sessions.store == "redis":
        redis = config.sessions.redis
        return RedisStore(
            connect(redis),
            prefix=redis.prefix,
            timeout=float(redis.timeout),
            tombstone=tombstone,
            breaker=Breaker(time.monotonic, told=metrics.store_breaker if metrics else None),
        )
    return FileStore(str(Path(config.sessions.file.directory).expanduser()), tombstone=tombstone)


def make_fleet(config: Config, metrics: Metrics, *, alone: bool) -> tuple[Fleet, Limits]:
    """What this worker shares with the others: through Redis where sessions are there, else cool-downs by a file."""
    if alone:
        return Fleet(None, time.monotonic, metrics), Limits(None, time.monotonic)
    if config.sessions.store == "redis":
        redis = config.sessions.redis
        board = RedisBoard(connect(replace(redis, connections=1)), prefix=redis.prefix, timeout=redis.timeout)
        limits = Limits(connect(redis), time.monotonic, prefix=redis.prefix, timeout=redis.timeout)
        return Fleet(board, time.monotonic, metrics), limits
    board_file = FileBoard(Path(config.sessions.file.directory).expanduser())
    return Fleet(board_file, time.monotonic, metrics), Limits(None, time.monotonic)


def make_ledger(config: Config) -> Ledger:
    """Where this worker and the others find what operators decide: beside the sessions."""
    if config.sessions.store == "redis":
        redis = config.sessions.redis
        link = connect(replace(redis, connections=1))
        return RedisLedger(link, prefix=redis.prefix, timeout=redis.timeout)
    return FileLedger(Path(config.sessions.file.directory).expanduser())


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
