"""The composition root: the one place that names concrete classes."""

import asyncio
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
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler
from litestar.types import Scope
from msgspec.structs import replace
from prometheus_client import REGISTRY, CollectorRegistry, multiprocess

from gateway import logs
from gateway.api.auth import Callers
from gateway.api.inference import Inference, open_gemini
from gateway.api.management import management_router
from gateway.api.models import Models
from gateway.api.probes import probes
from gateway.api.setup import Current, Setup
from gateway.api.work import Work
from gateway.ask import Gateway
from gateway.config import Config
from gateway.credentials import Credentials
from gateway.dialects.dialect import Dialect
from gateway.dialects.dialect import Request as Opened
from gateway.dialects.registry import DIALECTS
from gateway.errors import StoreUnavailable
from gateway.fleet.file_board import FileBoard
from gateway.fleet.fleet import Fleet
from gateway.fleet.redis_board import RedisBoard
from gateway.logs import ExchangeLog
from gateway.metrics import Metrics, Record
from gateway.reload import Reloader
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
    `app.state.reloader` reads the configuration again from its `source`, `app.state.work` is what is under way: both
    for whoever runs the worker.
    """
    store = sessions or make_store(config)
    fleet = make_fleet(config) if sessions is None else Fleet(None, time.monotonic)
    metrics = Metrics(registry or REGISTRY)
    worker = _Worker(config, store, fleet, metrics, transport or Transport())
    lines = ExchangeLog(sys.stderr.buffer)
    tell = finished or lines.add

    def observe(record: Record) -> None:
        metrics.observe(record)
        tell(record)

    inference = Inference(current=worker.current, work=worker.work, metrics=metrics, finished=observe)
    registries = partial(_gathered, metrics, metrics_directory)
    app = Litestar(
        route_handlers=[
            *_data_plane(inference, Models(worker.current)),
            management_router(store, _management_key(config), DIALECTS),
            *probes(worker.work, store, registries, worker.needs_store),
        ],
        lifespan=[worker.lifespan],
        openapi_config=None,
        exception_handlers={HTTPException: _http_error},
        logging_config=None,
    )
    app.state.reloader, app.state.work = worker.reloader, worker.work
    return app


class _Worker:
    """The parts that live as long as the worker, and the setup of the configuration that is in force."""

    def __init__(
        self, config: Config, store: SessionStore, fleet: Fleet, metrics: Metrics, wires: httpx.AsyncBaseTransport
    ) -> None:
        self._store, self._fleet, self._metrics, self._wires = store, fleet, metrics, wires
        self._turns = count()
        self._credentials = Credentials(logs.conceal)
        self.work = Work()
        self.current = Current(self._setup(config))
        self.reloader = Reloader(config, self._apply, count=metrics.reloaded, wall=time.time)

    def needs_store(self) -> bool:
        """Whether nothing is served while the store is down."""
        return self.current.setup.config.sessions.on_failure == "reject"

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Everything that runs beside the requests, and the end of it all."""
        await _begin(self._store, self._fleet)
        await self._credentials.follow(self.current.setup.config)
        watching = asyncio.create_task(self.reloader.watch())
        try:
            yield
        finally:
            self.work.draining = True
            watching.cancel()
            await self._wires.aclose()
            for part in (self._credentials, self._fleet, self._store):
                await part.close()

    def _setup(self, config: Config) -> Setup:
        gateway = Gateway(
            table=Table(config),
            fleet=self._fleet,
            upstream=Upstream(config, self._wires, self._credentials.key),
            memory=Memory(self._store, config, self._metrics, time.perf_counter),
            turns=self._turns,
            attempts=config.routing.attempts,
            max_turns=config.history.max_turns,
            wall=time.time,
        )
        return Setup(config=config, gateway=gateway, callers=Callers(config))

    async def _apply(self, config: Config) -> None:
        setup = self._setup(config)
        logs.conceal(logs.secrets_in(config))
        await self._credentials.follow(config)
        self.current.setup = setup


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


def make_fleet(config: Config) -> Fleet:
    """What this worker shares with the others: through Redis where sessions are there, else through a file."""
    if config.sessions.store == "redis":
        redis = config.sessions.redis
        link = connect(replace(redis, connections=1))
        return Fleet(RedisBoard(link, prefix=redis.prefix, timeout=redis.timeout), time.monotonic)
    return Fleet(FileBoard(Path(config.sessions.file.directory).expanduser()), time.monotonic)


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
