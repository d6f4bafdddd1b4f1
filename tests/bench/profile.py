"""Where the gateway's time goes under one load, function by function, with py-spy.

    python tests/bench/profile.py whole streamed-20            # any loads of run.py; needs `pip install py-spy`
    python tests/bench/profile.py whole --native               # inside C extensions too

Percent of the samples in which a function was the innermost one: C functions count for the Python function that called
them. `total` is with everything below it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.bench import driver, histories
from tests.bench.contestants import CONTESTANTS, OTHERS, ROOT
from tests.bench.loads import CLOSED, LOADS, ONCE, Load
from tests.bench.processes import OTHERS as CORES
from tests.bench.stage import Place, launched, mock

RATE = 500
"""Samples a second."""


def profiled(place: Place, load: Load, args: argparse.Namespace) -> Counter[tuple[str, ...]]:
    """How often each stack was seen, outermost frame first."""
    request = load.request(place.contestant, place.port, place.provider)
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "stacks"
        options = ["--rate", str(RATE), "--duration", str(args.seconds), "--format", "raw", "--output", str(out)]
        command = [args.py_spy, "record", "--pid", str(place.pid), "--nonblocking", *options]
        process = subprocess.Popen(
            command + (["--native"] if args.native else []), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        seconds = args.seconds + 2
        if load.shape == ONCE:
            driver.run(driver.once(request, 100))
        else:
            driver.run(driver.closed(request, 16, seconds))
        process.wait()
        stacks: Counter[tuple[str, ...]] = Counter()
        for line in out.read_text().splitlines():
            frames, _, count = line.rpartition(" ")
            stacks[tuple(short(frame) for frame in frames.split(";"))] += int(count)
        return stacks


def short(frame: str) -> str:
    """`function (file)`, without the line, the file from its package on."""
    name, _, place = frame.partition(" (")
    file = place.rstrip(")").partition(":")[0]
    return f"{name} ({file.removeprefix(f'{ROOT}/').rpartition('site-packages/')[2]})"


def table(load: str, stacks: Counter[tuple[str, ...]], rows: int) -> str:
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1]] += count
        for frame in set(stack):
            total[frame] += count
    whole = max(1, sum(own.values()))
    lines = [f"| {load} | own | total |", "| --- | ---: | ---: |"]
    for frame, count in own.most_common(rows):
        lines.append(f"| {frame} | {count / whole:.1%} | {total[frame] / whole:.1%} |")
    return "\n".join(lines)


def main() -> None:
    names = [load.name for load in LOADS if load.shape in (CLOSED, ONCE)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loads", nargs="+", choices=names, metavar="LOAD")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--native", action="store_true")
    args = parser.parse_args()
    args.py_spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(OTHERS / "py-spy" / "bin"))
    if args.py_spy is None:
        raise SystemExit("py-spy is not installed: pip install py-spy")
    os.sched_setaffinity(0, CORES)
    gateway = CONTESTANTS[0]
    with mock() as provider:
        for load in [load for load in LOADS if load.name in args.loads]:
            with launched(gateway, provider, load.store) as (place, _):
                if load.turns:
                    histories.fill(load, place.port)
                sys.stdout.write(table(load.name, profiled(place, load, args), args.rows) + "\n\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
