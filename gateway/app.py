"""The composition root: the one place that names concrete classes."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp, LifeSpanReceive, LifeSpanScope, LifeSpanSend, Receive, Scope, Send
from msgspec.structs import replace
from prometheus_client import REGISTRY, CollectorRegistry, multiprocess

from gateway import logs
from gateway.api.auth import Callers
from gateway.api.conversations import Conversations
from gateway.api.desk import Desk, Reloaded
from gateway.api.extras import extra_routes
from gateway.api.guard import digest_of
from gateway.api.inference import Inference, open_gemini
from gateway.api.management import management_router
from gateway.api.models import Models
from gateway.api.own_sessions import own_sessions_router
from gateway.api.probes import probes
from gateway.api.responses import Responses
from gateway.api.setup import Current, Setup
from gateway.api.work import Work
from gateway.ask import Gateway
from gateway.config import Config
from gateway.console.routes import console_router
from gateway.credentials import Credentials
from gateway.dialects.dialect import Dialect
from gateway.dialects.dialect import Request as Opened
from gateway.dialects.registry import DIALECTS
from gateway.errors import StoreUnavailable
from gateway.fleet.file_board import FileBoard
from gateway.fleet.file_spending import FileSpending
from gateway.fleet.fleet import Fleet
from gateway.fleet.limits import Limits
from gateway.fleet.meters import Meters
from gateway.fleet.redis_board import RedisBoard
from gateway.fleet.redis_tally import RedisTally
from gateway.journal import Journal
from gateway.ledger.book import Book
from gateway.ledger.file_ledger import FileLedger
from gateway.ledger.ledger import Ledger
from gateway.ledger.redis_ledger import RedisLedger
from gateway.logs import ExchangeLog
from gateway.metrics import Metrics, Record
from gateway.reload import Reloader
from gateway.routing.table import Table
from gateway.sessions.breaker import Breaker
from gateway.sessions.digest import Digests
from gateway.sessions.file.store import FileStore
from gateway.sessions.memory import Memory
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.sealed import SealedStore
from gateway.sessions.sealing import Seal
from gateway.sessions.seen import Seen
from gateway.sessions.store import SessionStore
from gateway.traces import Traces
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

    `finished` takes the record of each exchange as it ends; by default it is logged as one JSON line.
    `metrics_directory` is where several workers of one server keep their instruments, to be read as one.
    `app.state.reloader` reads the configuration again from its `source`, `app.state.work` is what is under way: both
    for whoever runs the worker.
    """
    metrics = Metrics(registry or REGISTRY)
    journal = Journal(metrics.observe, *([] if finished else [ExchangeLog(sys.stderr.buffer).observe]))
    shared = make_shared(config, metrics, sessions)
    traces = Traces(config.tracing) if config.tracing.endpoint else None
    worker = _Worker(
        config,
        shared,
        metrics,
        transport or Transport(limit=config.server.max_concurrency),
        *([journal, traces] if traces else [journal]),
    )
    inference = Inference(
        current=worker.current,
        work=worker.work,
        limits=shared.limits,
        finished=_both(journal.add, finished) if finished else journal.add,
        traces=traces,
    )
    registries = partial(_gathered, metrics, journal, metrics_directory)
    metrics.samplers.append(lambda: metrics.active.set(len(worker.work)))
    app = Application(
        inference.direct,
        route_handlers=[
            *_data_plane(inference, Models(worker.current), Responses(shared.opened, worker.current)),
            Conversations(shared.opened, worker.current).route(),
            own_sessions_router(shared.opened, worker.current, DIALECTS),
            management_router(shared.opened, worker.desk(registries), digest_of(config.management), DIALECTS),
            *probes(worker.work, shared.store, registries, worker.needs_store),
            console_router(managed=digest_of(config.management) is not None, port=config.management.port),
        ],
        lifespan=[worker.lifespan],
        openapi_config=None,
        exception_handlers={HTTPException: _http_error},
        logging_config=None,
    )
    app.state.reloader, app.state.work, app.state.metrics = worker.reloader, worker.work, registries
    return app


class Application(Litestar):
    """Litestar, with the way to the inference routes cut short: its router and middleware cost as much as an exchange.

    `direct` is who serves a POST to a path, or to what is directly below it where it ends in a slash.
    """

    def __init__(self, direct: Mapping[str, ASGIApp], **settings: Any) -> None:  # noqa: ANN401 - Litestar's own
        super().__init__(**settings)
        self._direct = direct

    async def __call__(
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        if scope.get("method") == "POST":
            path: str = cast("Scope", scope)["path"]
            serve = self._direct.get(path) or self._direct.get(path[: path.rfind("/") + 1])
            if serve is not None:
                await serve(cast("Scope", scope), cast("Receive", receive), cast("Send", send))
                return
        await super().__call__(scope, receive, send)


class _Shared(NamedTuple):
    """What workers share: the store, as it is and with what it holds opened, the fleet's knowledge, the limits."""

    store: SessionStore
    opened: SealedStore
    digests: Digests
    fleet: Fleet
    limits: Limits
    book: Book


class _Worker:
    """The parts that live as long as the worker, and the setup of the configuration that is in force."""

    def __init__(
        self,
        config: Config,
        shared: _Shared,
        metrics: Metrics,
        wires: httpx.AsyncBaseTransport,
        *told: Journal | Traces,
    ) -> None:
        """`told` are those that want to be closed after the last exchange."""
        self._shared, self._metrics, self._wires, self._told = shared, metrics, wires, told
        self._turns = count()
        self._credentials = Credentials(logs.conceal, shared.fleet.renewed)
        shared.fleet.refused = self._credentials.refused
        self.work = Work()
        self.current = Current(self._setup(config))
        self.reloader = Reloader(config, self._apply, count=metrics.reloaded, wall=time.time)

    def needs_store(self) -> bool:
        """Whether nothing is served while the store is down."""
        return self.current.setup.config.sessions.on_failure == "reject"

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Everything that runs beside the requests, and the end of it all."""
        store, fleet, limits = self._shared.store, self._shared.fleet, self._shared.limits
        if isinstance(store, RedisStore):
            with suppress(StoreUnavailable):  # a gateway starts without its store, and says so when asked
                await store.check()
        fleet.start()
        await limits.start()
        await self._shared.book.start()
        await self._credentials.follow(self.current.setup.config)
        await self.reloader.catch_up()
        watching = asyncio.create_task(self.reloader.watch())
        try:
            yield
        finally:
            self.work.leaving = self.work.draining = True
            watching.cancel()
            await self._wires.aclose()
            for part in (self._credentials, self._shared.book, limits, fleet, store, *self._told):
                await part.close()

    def _setup(self, config: Config) -> Setup:
        shared, table = self._shared, Table(config)
        shared.fleet.shares_load = config.routing.strategy == "least-busy"
        self._metrics.expect((target.seat for target in table.targets()), config.models)
        gateway = Gateway(
            table=table,
            fleet=shared.fleet,
            upstream=Upstream(config, self._wires, self._credentials.key),
            memory=Memory(shared.opened, config, self._metrics, time.perf_counter, shared.digests),
            turns=self._turns,
            attempts=config.routing.attempts,
            wait=config.routing.wait,
            max_turns=config.history.max_turns,
            wall=time.time,
        )
        return Setup(config=config, gateway=gateway, callers=Callers(config, shared.book))

    def desk(self, registry: Callable[[], CollectorRegistry]) -> Desk:
        """The worker as its operator sees it."""

        async def reload() -> Reloaded:
            done = await self.reloader.reload()
            return Reloaded(done.outcome, done.message)

        return Desk(
            config=lambda: self.current.setup.config,
            table=lambda: self.current.setup.gateway.table,
            fleet=self._shared.fleet,
            book=self._shared.book,
            spent=self._shared.limits.spent,
            registry=registry,
            clock=time.monotonic,
            wall=time.time,
            digests=self._shared.digests,
            reload=reload,
        )

    async def _apply(self, config: Config) -> None:
        setup = self._setup(config)
        logs.conceal(logs.secrets_in(config))
        await self._credentials.follow(config)
        self.current.setup = setup


def _both(first: Callable[[Record], None], second: Callable[[Record], None]) -> Callable[[Record], None]:
    def tell(record: Record) -> None:
        first(record)
        second(record)

    return tell


def _data_plane(inference: Inference, models: Models, responses: Responses) -> Iterator[ASGIRouteHandler]:
    for name, path in POSTS.items():
        other = responses.serve if name == "openai_responses" else None
        yield inference.route(path, DIALECTS[name], _body_opener(DIALECTS[name]), other)
    for path in MODELS:
        yield inference.route(path, DIALECTS["gemini"], open_gemini, models.serve)
    yield from extra_routes(inference)


def make_store(config: Config, metrics: Metrics | None = None) -> SessionStore:
    """The configured session store."""
    tombstone = config.routing.deadline + TOMBSTONE_GRACE
    if config.sessions.store == "redis":
        redis = config.sessions.redis
        return RedisStore(
            connect(redis, metrics.unreplicated) if metrics else connect(redis),
            prefix=redis.prefix,
            timeout=float(redis.timeout),
            tombstone=tombstone,
            breaker=Breaker(time.monotonic, told=metrics.store_breaker if metrics else None),
        )
    return FileStore(str(Path(config.sessions.file.directory).expanduser()), tombstone=tombstone)


def make_shared(config: Config, metrics: Metrics, sessions: SessionStore | None) -> _Shared:
    """What the workers share, through Redis where sessions are there; cool-downs through a file beside file sessions.

    A store that is given shares nothing more.
    """
    store = sessions or make_store(config, metrics)
    seal = Seal(config.sessions.encryption, compress=config.sessions.compression == "zstd")
    board: RedisBoard | FileBoard | None = None
    tally: RedisTally | None = None
    spending: FileSpending | None = None
    redis = config.sessions.redis
    if sessions is None and config.sessions.store == "redis":
        board = RedisBoard(connect(replace(redis, connections=1)), prefix=redis.prefix, timeout=redis.timeout)
        tally = RedisTally(connect(redis), prefix=redis.prefix, timeout=redis.timeout)
    elif sessions is None:
        directory = Path(config.sessions.file.directory).expanduser()
        board, spending = FileBoard(directory), FileSpending(directory)
    limits = Limits(tally, time.monotonic, spending=spending, meters=Meters(metrics.registry))
    fleet = Fleet(board, time.monotonic, metrics)
    book = Book(None if sessions else make_ledger(config), fleet.disable)
    seen = Seen(int(config.sessions.cache))
    metrics.samplers.append(lambda: metrics.seen(*seen.news()))
    return _Shared(store, SealedStore(store, seal, seen), Digests(seal.digest_keys), fleet, limits, book)


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


def _gathered(metrics: Metrics, journal: Journal, directory: str | None) -> CollectorRegistry:
    """This worker's instruments as they are now, or those of all workers where several share a directory."""
    journal.flush()
    metrics.sample()
    if directory is None:
        return metrics.registry
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return registry


def _http_error(_: Request[object, object, State], error: HTTPException) -> Response[dict[str, dict[str, str]]]:
    """Errors outside of any dialect: unknown paths, wrong methods."""
    body = {"error": {"code": HTTPStatus(error.status_code).name.lower(), "message": error.detail}}
    return Response(body, status_code=error.status_code)
