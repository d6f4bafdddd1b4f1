"""What was measured, as tables."""

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


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
        return (
            f"{self.contestant} {self.store}: ready in {self.cold:.2f} s, {self.idle:.0f} MiB, then {self.busy:.0f} MiB"
        )


def write(path: Path, one: Sample | Start) -> None:
    with path.open("a") as file:
        file.write(json.dumps(asdict(one)) + "\n")


def saved(path: Path) -> list[Sample | Start]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [Sample(**line) if "load" in line else Start(**line) for line in lines]


def report(found: Iterable[Sample | Start]) -> str:
    found = list(found)
    return "\n".join(table([one for one in found if isinstance(one, Sample)]))


def table(samples: list[Sample]) -> Iterator[str]:
    yield "| gateway | load | connections | CPU us | requests/s | p50 ms | p99 ms |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for key in dict.fromkeys((s.contestant, s.load, s.connections) for s in samples):
        group = [s for s in samples if (s.contestant, s.load, s.connections) == key]
        cpu, rate, p50, p99 = (
            statistics.median(getattr(s, name) for s in group) for name in ("cpu", "rate", "p50", "p99")
        )
        errors = sum(s.errors for s in group)
        flaw = f" ({errors} errors)" if errors else ""
        yield f"| {key[0]}{flaw} | {key[1]} | {key[2]} | {cpu:.0f} | {rate:.0f} | {p50:.2f} | {p99:.2f} |"
