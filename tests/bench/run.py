"""Measures gateways against one instant mock provider: CPU, rate, latency, memory, cold start.

    python tests/bench/run.py --quick --only gateway nginx     # a minute: CPU per request of the loads that matter
    python tests/bench/run.py --save bench.jsonl               # everything that is installed; takes hours
    python tests/bench/run.py --report bench.jsonl             # the tables of what was measured before
    python tests/bench/run.py --report bench.jsonl --docs      # into docs/bench.md and its plot

The gateway has a core of its own; load, mock and Redis share the others. In each round every gateway is started, asked
and stopped, one at a time, in random order; the tables show medians over the rounds. CPU is microseconds of the
gateway's whole process tree per request (of `paced-500` per event): of all figures the one that survives noise. Compare
only what was measured in the same run. `python tests/bench/others.py` installs what there is to compare with.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from tests.bench import driver, histories
from tests.bench.contestants import CONTESTANTS, Contestant
from tests.bench.driver import Outcome, Request
from tests.bench.loads import CLOSED, HALF, LOADS, ONCE, QUICK, Load
from tests.bench.plot import plot
from tests.bench.processes import OTHERS, cpu, resident
from tests.bench.report import Results, Sample, Start, machine, report, saved, write
from tests.bench.stage import Place, answered, launched, mock

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"
ALL = [load.name for load in LOADS]
STREAMS = 100
"""Connections of a load that runs once."""
MOST = 64
SETTLED = 3.0
"""Seconds after the last load, until what a program gives back is given back."""
WARM, WARM_TRIES = 2000, 5
"""Requests before the first measurement, for each second of one; the most times that they are asked for."""


def say(text: str, where: TextIO = sys.stdout) -> None:
    where.write(f"{text}\n")
    where.flush()


def measured(place: Place, load: Load, connections: int, seconds: float, asked: int) -> tuple[Outcome, float]:
    """What came of one measurement, and the microseconds of CPU that it took. `asked`: requests that went before."""
    request = load.request(place.contestant, place.port, place.provider)
    if load.shape == HALF:
        return at_half(place, request, connections, seconds)
    before = cpu(place.pid)
    if load.shape == ONCE:
        outcome = driver.run(driver.once(request, connections, asked))
    else:
        outcome = driver.run(driver.closed(request, connections, seconds, asked))
    return outcome, cpu(place.pid) - before


def at_half(place: Place, request: Request, connections: int, seconds: float) -> tuple[Outcome, float]:
    """At half of the highest rate; the latencies are what comes on top of the mock's own at that rate."""
    full = driver.run(driver.closed(request, connections, 1))
    rate = full.requests / full.seconds / 2
    time.sleep(1)  # what a full second left behind is not of this load
    before = cpu(place.pid)
    outcome = driver.run(driver.open_loop(request, rate, seconds, connections))
    used = cpu(place.pid) - before
    direct = replace(request, port=place.provider, path="/v1/chat/completions")
    alone = driver.run(driver.open_loop(direct, rate, seconds, connections))
    return replace(outcome, p50=outcome.p50 - alone.p50, p99=outcome.p99 - alone.p99), used


def samples(place: Place, load: Load, args: argparse.Namespace, turn: int) -> Iterator[Sample]:
    """All measurements of one load."""
    load = load.lasting(args.seconds)
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


def warm(place: Place, seconds: float) -> None:
    """Ask until it is as fast as it will be: some compile what runs often."""
    asked = 0
    for _ in range(WARM_TRIES):
        asked += measured(place, LOADS[0], MOST, seconds, 0)[0].requests
        if asked >= WARM * seconds:
            return


def measure(contestant: Contestant, provider: int, args: argparse.Namespace, turn: int) -> Iterator[Sample | Start]:
    """One contestant in one round. It is started once for each store that the loads need."""
    loads = [load for load in LOADS if load.name in args.loads and load.possible(contestant)]
    for store in sorted({load.store or "file" for load in loads}):
        with launched(contestant, provider, store) as (place, cold):
            idle = resident(place.pid)
            warm(place, args.seconds)
            for load in loads:
                if (load.store or "file") == store:
                    yield from samples(place, load, args, turn)
            time.sleep(SETTLED)
            yield Start(contestant.name, store, turn, cold, idle / 2**20, resident(place.pid) / 2**20)


def rounds(args: argparse.Namespace) -> Iterator[Sample | Start]:
    """All rounds of all that are installed; one that does not answer as it should is left out from then on."""
    chosen = [contestant for contestant in CONTESTANTS if contestant.name in args.only]
    for contestant in [contestant for contestant in chosen if contestant.program() is None]:
        say(f"{contestant.name}: not installed", sys.stderr)
        chosen.remove(contestant)
    with mock() as provider:
        for turn in range(args.rounds):
            random.shuffle(chosen)
            for contestant in list(chosen):
                try:
                    yield from measure(contestant, provider, args, turn)
                except RuntimeError as error:
                    say(f"{contestant.name}: {error}", sys.stderr)
                    chosen.remove(contestant)


def publish(first: Results, results: Results) -> None:
    """Write the tables into the documentation, between its marks, and the plot beside it."""
    page = DOCS / "bench.md"
    before, _, rest = page.read_text().partition("<!-- measured -->")
    _, _, after = rest.partition("<!-- end -->")
    about = f"{machine()}; medians of {first.rounds()} rounds or more."
    text = f"<!-- measured -->\n\n{about}\n\n{report(first, results, ALL)}\n\n<!-- end -->"
    page.write_text(before + text + after)
    (DOCS / "bench.svg").write_text(plot(results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--loads", nargs="+", choices=ALL, metavar="LOAD", help=", ".join(ALL))
    parser.add_argument("--connections", type=int, nargs="+")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one measurement")
    parser.add_argument("--quick", action="store_true", help=f"one round, 16 connections, {', '.join(QUICK)}")
    parser.add_argument("--save", type=Path, metavar="FILE", help="append what is measured, a JSON object a line")
    parser.add_argument(
        "--report", type=Path, nargs="+", metavar="FILE", help="tables of what was saved; the bars are of the first"
    )
    parser.add_argument("--docs", action="store_true", help="with --report: write them into docs/bench.md")
    args = parser.parse_args()
    short = (list(QUICK), [16], 1, 2.0) if args.quick else (ALL, [1, 16, 64], 5, 2.0)
    for name, value in zip(("loads", "connections", "rounds", "seconds"), short, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def main() -> None:
    args = arguments()
    if args.report:
        first, results = Results(saved(args.report[:1])), Results(saved(args.report))
        say(report(first, results, ALL))
        if args.docs:
            publish(first, results)
        return
    os.sched_setaffinity(0, OTHERS)
    found = []
    for one in rounds(args):
        found.append(one)
        say(str(one), sys.stderr)
        if args.save:
            write(args.save, one)
    results = Results(found)
    say(report(results, results, args.loads))


if __name__ == "__main__":
    main()
