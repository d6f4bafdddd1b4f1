"""`gateway serve`: the gateway itself, in one process or several."""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE

from gateway import logs
from gateway.commands import heap
from gateway.commands.load import CommandFailed, chosen_file, load
from gateway.commands.together import Protocol
from gateway.commands.workers import SAME_INTERRUPT, Supervisor
from gateway.config import Config, ConfigError
from gateway.errors import GatewayError
from gateway.reload import Reload, Source

if TYPE_CHECKING:
    from litestar import Litestar

log = logging.getLogger("gateway.serve")

AppFactory: TypeAlias = "Callable[[], Litestar]"

BACKLOG = 2048
KEEP_ALIVE = 75
"""Seconds that an idle client connection is kept: longer than load balancers usually do, so that they close first."""
GC_THRESHOLDS = (10_000, 20, 50)
"""Allocations until a collection: what a request makes is freed by counting, and what the start has made is frozen."""
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


FILES_A_REQUEST, OTHER_FILES = 2, 256


class Server(uvicorn.Server):
    """A uvicorn server that tells when it is ready, reads its configuration again on SIGHUP, and stops gracefully.

    A second SIGINT cuts the replies in progress, but not if it comes at once: a terminal and what runs in it may both
    pass on the same Ctrl-C. A `supervised` server leaves SIGINT to its parent altogether.
    """

    def __init__(self, app: "Litestar", config: Config, ready: Callable[[], None], *, supervised: bool = False) -> None:
        super().__init__(settings(app))
        self._app = app
        self._delay, self._grace = float(config.server.shutdown_delay), float(config.server.shutdown_grace)
        self._reloads: set[asyncio.Task[Reload]] = set()
        self._ready = ready
        self._supervised = supervised
        self._asked = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        if counter % heap.EVERY == 0:
            heap.give_back()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT and self._supervised:
            return
        if not self.should_exit:
            self._asked = time.monotonic()
        elif time.monotonic() - self._asked < SAME_INTERRUPT:
            return
        self._app.state.work.leaving = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """First the exchanges, while probes and latecomers are still told that this worker stops; then the rest."""
        closing = (b"connection", b"close")
        self.server_state.default_headers = [*self.server_state.default_headers, closing]
        await self._app.state.work.linger(self._delay, lambda: self.force_exit)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._app.state.work.drain(self._grace, lambda: self.force_exit)
        await super().shutdown(sockets)

    def _reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self._app.state.reloader.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)


def run(arguments: Namespace, environ: MutableMapping[str, str]) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code. Raises ConfigError, CommandFailed."""
    config = load(arguments, environ)
    source = Source(partial(load, arguments, dict(environ)), chosen_file(arguments, environ))
    logs.configure(logs.secrets_in(config))
    allow_files(FILES_A_REQUEST * config.server.max_concurrency + OTHER_FILES)
    sockets = listen(config.server.host, config.server.port)
    about = {"url": url_of(config.server.host, sockets), "workers": config.server.workers}
    if config.management.port is not None:
        own = listen(config.server.host, config.management.port)
        about["management"] = url_of(config.server.host, own)
        sockets += own
    ready = partial(log.info, "listening", extra=about)
    if config.server.workers == 1:
        code = serve(partial(_application, config, source), config, sockets, ready)
    else:
        ready()
        with metrics_directory(environ) as directory:
            code = Supervisor(
                _worker,
                (partial(_application, config, source, directory), config, sockets),
                config.server.workers,
                grace=config.server.shutdown_delay + config.server.shutdown_grace,
                buried=partial(mark_process_dead, path=directory),
                stopping=partial(close, sockets),
            ).run()
    log.info("stopped")
    return code


def allow_files(wanted: int) -> None:
    """Let each worker open so many files, as far as the system permits: containers often begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        about = {"limit": most, "wanted": wanted}
        log.warning("fewer files may be open than server.max_concurrency needs: raise ulimit -Hn", extra=about)


def serve(
    factory: AppFactory,
    config: Config,
    sockets: Sequence[socket.socket],
    ready: Callable[[], None],
    *,
    supervised: bool = False,
) -> int:
    """Serve in this process; returns the exit code. `supervised`: a parent decides when to stop."""
    heap.join_arenas()
    try:
        app = factory()
    except (ConfigError, GatewayError, OSError) as exc:
        log.error("the gateway cannot start: %s", exc)  # noqa: TRY400 - the message says it all
        return STARTUP_FAILURE
    except Exception:
        log.exception("the gateway cannot start")
        return STARTUP_FAILURE
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn raises a signal again once it has obeyed it
    Server(app, config, ready, supervised=supervised).run(list(sockets))
    return 0


def settings(app: "Litestar") -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        app,
        http=Protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=1,
    )


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of `host`; port 0 takes a free one. Raises CommandFailed."""
    if not 0 <= port <= 65535:  # noqa: PLR2004 - TCP
        raise CommandFailed(f"A port is 0 to 65535, not {port}.")
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            at = (str(address[0]), sockets[0].getsockname()[1] if sockets else port)
            dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
            sockets.append(socket.create_server(at, family=family, backlog=BACKLOG, dualstack_ipv6=dual))
    except OSError as exc:
        close(sockets)
        why = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise CommandFailed(f"Cannot listen on {host}, port {port}: {why}.") from None
    return sockets


def close(sockets: Sequence[socket.socket]) -> None:
    """Stop listening here; whoever shares the sockets goes on."""
    for opened in sockets:
        opened.close()


def url_of(host: str, sockets: Sequence[socket.socket]) -> str:
    """Where the gateway can be reached from this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{name}]' if ':' in name else name}:{sockets[0].getsockname()[1]}"


@contextmanager
def metrics_directory(environ: MutableMapping[str, str]) -> Iterator[str]:
    """Where the workers keep their metrics, so that any of them can report for all: fresh, and gone afterwards.

    The metrics library looks for it in the environment of the workers, who inherit ours.
    """
    if given := environ.get(METRICS_VARIABLE):
        Path(given).mkdir(parents=True, exist_ok=True)
        for left in Path(given).glob("*.db"):
            left.unlink()
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="gateway-metrics-") as directory:
        environ[METRICS_VARIABLE] = directory
        try:
            yield directory
        finally:
            del environ[METRICS_VARIABLE]


def _application(config: Config, source: Source, metrics_directory: str | None = None) -> "Litestar":
    from gateway.app import create_app  # noqa: PLC0415 - 20 MB that a supervisor does without

    app = create_app(config, metrics_directory=metrics_directory)
    app.state.reloader.source = source
    return app


def _worker(factory: AppFactory, config: Config, sockets: Sequence[socket.socket]) -> None:
    logs.configure(logs.secrets_in(config))
    sys.exit(serve(factory, config, sockets, partial(log.info, "worker ready"), supervised=True))
