"""The composition root: the one place that names concrete classes."""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import sha256
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
from prometheus_client import REGISTRY, CollectorRegistry, multiprocess

from gateway.api.auth import Callers
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
from gateway.metrics import Metrics, Record
from gateway.routing.health import Health
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
    table, callers, readiness = Table(config), Callers(config), Readiness()
    upstream = Upstream(config, transport or Transport())
    gateway = Gateway(
        table=table,
        health=Health(),
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

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if isinstance(store, RedisStore):
            with suppress(StoreUnavailable):  # a gateway starts without its store, and says so when asked
                await store.check()
        try:
            yield
        finally:
            readiness.draining = True
            await upstream.close()
            await store.close()

    return Litestar(
        route_handlers=[
            *_data_plane(inference, Models(table, callers)),
            management_router(store, _management_key(config), DIALECTS),
            console_router(managed=_management_key(config) is not None),
            *probes(readiness, store, registries, needs_store=config.sessions.on_failure == "reject"),
        ],
        lifespan=[lifespan],
        openapi_config=None,
        exception_handlers={HTTPException: _http_error},
        logging_config=None,
    )


def _data_plane(inference: Inference, models: Models) -> Iterator[ASGIRouteHandler]:
    for name, path in POSTS.items():
        yield inference.route(path, DIALECTS[name], _body_opener(DIALECTS[name]))
    for path in MODELS:
        yield inference.route(path, DIALECTS["gemini"], open_gemini, models.serve)


def _management_key(config: Config) -> bytes | None:
    """The SHA-256 of the management key, None if there is none."""
    management = config.management
    if management.sha256:
        return bytes.fromhex(management.sha256)
    return sha256(management.key.encode()).digest() if management.key else None


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
