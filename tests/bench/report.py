"""What was measured, and the tables made of it: the bars that the project set itself, then everything."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path

US = "gateway"
USUAL = 16
"""Connections, where nothing else is said."""


@dataclass(frozen=True)
class Sample:
    """One measurement: microseconds of CPU per request, requests a second, milliseconds."""

    contestant: str
    load: str
    connections: int
    round: int
    cpu: float
    rate: float
    p50: float
    p99: float
    errors: int

    def __str__(self) -> str:
        errors = f", {self.errors} ERRORS" if self.errors else ""
        return (
            f"{self.contestant}, {self.load}, {self.connections}: {self.cpu:.0f} us, {self.rate:.0f}/s, "
            f"p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms{errors}"
        )


@dataclass(frozen=True)
class Start:
    """One start: seconds to the first answer, MiB then and after all load."""

    contestant: str
    store: str
    round: int
    cold: float
    idle: float
    busy: float

    def __str__(self) -> str:
        return f"{self.contestant}: ready in {self.cold:.2f} s, {self.idle:.0f} MiB, then {self.busy:.0f} MiB"


@dataclass(frozen=True)
class Scale:
    """One figure of scale.py: its name, and KiB or what the name says."""

    scale: str
    value: float


Found = Sample | Start | Scale


def write(path: Path, one: Found) -> None:
    with path.open("a") as file:
        file.write(json.dumps(asdict(one)) + "\n")


def saved(paths: Iterable[Path]) -> list[Found]:
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [Sample(**one) if "load" in one else Scale(**one) if "scale" in one else Start(**one) for one in lines]


def median(values: Iterable[float]) -> float | None:
    values = list(values)
    return statistics.median(values) if values else None


class Results:
    """Medians of what was found. A measurement with errors is left out."""

    def __init__(self, found: Iterable[Found]) -> None:
        found = list(found)
        self.samples = [one for one in found if isinstance(one, Sample) and not one.errors]
        self.starts = [one for one in found if isinstance(one, Start)]
        self.scales = [one for one in found if isinstance(one, Scale)]

    def contestants(self) -> list[str]:
        """The cheapest first."""
        names = dict.fromkeys(sample.contestant for sample in self.samples)
        return sorted(names, key=lambda name: self.of(name, "whole") or 0)

    def of(self, contestant: str, load: str, what: str = "cpu", connections: int = USUAL) -> float | None:
        group = [sample for sample in self.samples if (sample.contestant, sample.load) == (contestant, load)]
        same = [sample for sample in group if sample.connections == connections]
        if not same and len({sample.connections for sample in group}) == 1:
            same = group  # a load with a number of its own
        return median(getattr(sample, what) for sample in same)

    def start(self, contestant: str, what: str) -> float | None:
        """The largest median of the stores that it was started with: each store has loads of its own."""
        own = [start for start in self.starts if start.contestant == contestant]
        stores = {start.store for start in own}
        medians = (median(getattr(start, what) for start in own if start.store == store) for store in stores)
        return max((one for one in medians if one is not None), default=None)

    def scale(self, name: str) -> float | None:
        return median(scale.value for scale in self.scales if scale.scale == name)

    def rounds(self) -> int:
        return max(1, sum(sample.contestant == US and sample.load == "whole" for sample in self.samples))


# ---------------------------------------------------------------- bars


@dataclass(frozen=True)
class Bar:
    """One bar: at most `limit`, infinite where there is only a goal. `format` shows a figure."""

    what: str
    value: float | None
    limit: float
    goal: float
    format: str = "{:.2f} x"

    def line(self) -> str:
        if self.value is None:
            return f"| {self.what} | not measured | {self.show(self.limit)} | {self.show(self.goal)} | |"
        passed = "pass" if self.limit < inf else "not yet"
        verdict = "goal reached" if self.value <= self.goal else passed if self.value <= self.limit else "**miss**"
        figures = map(self.show, (self.value, self.limit, self.goal))
        return f"| {self.what} | {' | '.join(figures)} | {verdict} |"

    def show(self, value: float) -> str:
        return self.format.format(value) if value < inf else ""


def bars(results: Results) -> list[Bar]:
    """The bars in the order in which they were set."""

    def to_other(other: str, load: str) -> float | None:
        return ratio(results.of(US, load), results.of(other, load))

    def to_own(load: str, plain: str) -> float | None:
        return ratio(results.of(US, load), results.of(US, plain))

    return [
        Bar("whole, CPU, to TensorZero", to_other("tensorzero", "whole"), 1.5, 1.0),
        Bar("whole, CPU, to Portkey", to_other("portkey", "whole"), 1 / 5, 1 / 5),
        Bar("whole, CPU, to LiteLLM", to_other("litellm", "whole"), 1 / 40, 1 / 40, "{:.3f} x"),
        Bar("streamed, 20 events, CPU, to TensorZero", to_other("tensorzero", "streamed-20"), 0.8, 0.8),
        Bar("streamed, 20 events, CPU, to vllm-router", to_other("vllm-router", "streamed-20"), inf, 1.0),
        Bar("100 streams of 500 events, 5 ms apart, CPU per event", results.of(US, "paced-500"), 25, 15, "{:.1f} us"),
        Bar("translated, CPU, to the same dialect", to_own("translated", "whole"), 1.5, 1.2),
        Bar("session on Redis, 20 turns, CPU, to none", to_own("session-redis-20", "whole-redis"), 2.0, 1.6),
        Bar("session on Redis, 200 turns (100 KB), to none", to_own("session-redis-200", "whole-redis"), 6, 4),
        Bar(
            "20 turns, met for the first time by this worker", to_own("session-redis-first-20", "whole-redis"), 2.0, 1.6
        ),
        Bar("200 turns, met for the first time", to_own("session-redis-first-200", "whole-redis"), 6, 4),
        Bar("resident after load", results.start(US, "busy"), 90, 60, "{:.0f} MiB"),
        Bar("cold start to the first answer", results.start(US, "cold"), 1.2, 0.6, "{:.2f} s"),
        Bar("p99 at half of the maximum rate, above the mock's own", results.of(US, "half", "p99"), 5, 2, "{:.2f} ms"),
        Bar("an idle open stream", results.scale("idle stream"), 40, 20, "{:.1f} KiB"),
    ]


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


# ---------------------------------------------------------------- tables


def bars_table(results: Results) -> Iterator[str]:
    yield "| bar | measured | at most | goal | |"
    yield "| --- | ---: | ---: | ---: | --- |"
    yield from (bar.line() for bar in bars(results))


def cpu_table(results: Results, loads: Iterable[str]) -> Iterator[str]:
    """CPU by load and contestant."""
    names = results.contestants()
    yield f"| CPU us, {USUAL} connections | {' | '.join(names)} |"
    yield f"| --- |{' ---: |' * len(names)}"
    for load in loads:
        figures = [results.of(name, load) for name in names]
        if any(figure is not None for figure in figures):
            yield f"| {load} | {' | '.join(shown(figure, '{:,.0f}') for figure in figures)} |"


def start_table(results: Results) -> Iterator[str]:
    yield "| | ready after | MiB at start | MiB after load |"
    yield "| --- | ---: | ---: | ---: |"
    for name in results.contestants():
        cold, idle, busy = (results.start(name, what) for what in ("cold", "idle", "busy"))
        yield f"| {name} | {shown(cold, '{:.2f} s')} | {shown(idle, '{:.0f}')} | {shown(busy, '{:.0f}')} |"


def full_table(results: Results, loads: Iterable[str]) -> Iterator[str]:
    yield "| load | gateway | connections | CPU us | requests/s | p50 ms | p99 ms |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    order = {load: place for place, load in enumerate(loads)}
    names = {name: place for place, name in enumerate(results.contestants())}
    kinds = {(order[s.load], names[s.contestant], s.connections): s for s in results.samples if s.load in order}
    for _, sample in sorted(kinds.items(), key=lambda kind: kind[0]):
        key = (sample.contestant, sample.load)
        figures = [results.of(*key, what, sample.connections) for what in ("cpu", "rate", "p50", "p99")]
        formats = ("{:,.0f}", "{:,.0f}", "{:.2f}", "{:.2f}")
        cells = " | ".join(map(shown, figures, formats))
        yield f"| {sample.load} | {sample.contestant} | {sample.connections} | {cells} |"


def shown(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)


def machine() -> str:
    """Where this was measured."""
    about = Path("/proc/cpuinfo").read_text()
    model = next((line.split(": ")[1] for line in about.splitlines() if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"Linux {platform.release()}, CPython {platform.python_version()}"
    return f"{os.cpu_count()} cores of {model} (virtual), {memory:.0f} GiB, {system}"


def report(first: Results, results: Results, loads: list[str]) -> str:
    """The tables, as Markdown: bars of the first run, everything else of all runs."""
    tables = (bars_table(first), start_table(results), cpu_table(results, loads), full_table(results, loads))
    return "\n\n".join("\n".join(table) for table in tables)
