"""How many workers and how much Redis: `python deploy/scaling.py --rate 500 --sessions 1000000 --turns 20`.

The figures are those of the table in docs/scaling.md. `--write` works the examples of that page out anew.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path

FILE = Path(__file__).parents[1] / "docs" / "scaling.md"

BUSY = 0.6
"""How much of a core a worker may use on average: the rest is for peaks and for a neighbour that went away."""
AT_ONCE = 1000
"""Replies in progress that a worker holds on average: half of server.max_concurrency."""
SLACK = 2.0
"""Redis' memory beyond what it holds: fragmentation, and pages that are copied while it rewrites its log."""
GIB = 1 << 30


@dataclass(frozen=True)
class Need:
    """Requests a second, events of a reply (0: whole), seconds that it takes, sessions that live, their turns."""

    name: str
    rate: float
    events: int
    seconds: float
    sessions: int
    turns: int
    kilobytes: float = 2.0


EXAMPLES = (
    Need("an office assistant: 20,000 people, 20 turns a day", 20, 300, 8, 20_000, 60),
    Need("a support chat on a web page", 200, 200, 5, 1_000_000, 12),
    Need("agents that keep their own history (affinity only)", 300, 500, 12, 0, 0),
    Need("a busy service", 2000, 200, 5, 10_000_000, 20),
)


def figures(text: str) -> dict[str, float]:
    """The table's, by their symbols."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d.,]+) \|", text, re.MULTILINE)
    return {name: float(value.replace(",", "")) for name, value in rows}


def answer(need: Need, known: dict[str, float]) -> tuple[str, ...]:
    """Workers, replies in progress, memory of a worker, and of Redis: cores, memory, traffic."""
    with_session = need.sessions > 0
    cost = known["whole"] + need.events * known["event"] + with_session * known["session"]
    open_now = need.rate * need.seconds
    workers = max(ceil(need.rate * cost / 1e6 / BUSY), ceil(open_now / AT_ONCE), 2)
    resident = known["resident"] + known["stream"] * open_now / workers / 1024
    told = [f"{workers}", f"{open_now:,.0f}", f"{resident:,.0f} MiB"]
    if not with_session:
        return (*told, "none", "none", "none")
    held = need.sessions * (known["head"] + need.turns * (known["turn"] + need.kilobytes * 1024))
    traffic = need.rate * need.kilobytes * 1024 * (need.turns / 2 + 1)
    cores = need.rate * known["redis"] / 1e6
    return (*told, f"{cores:.2f}", f"{held * SLACK / GIB:,.1f} GiB", f"{traffic / 1e6:,.1f} MB/s")


def rendered(text: str) -> str:
    """The page with its examples worked out by its own table."""
    known = figures(text)
    told = "workers | in progress | a worker | Redis: cores | memory | traffic"
    lines = [f"| | requests/s | events | reply | sessions x turns | {told} |", "|" + " --- |" * 11]
    for need in EXAMPLES:
        kept = f"{need.sessions:,} x {need.turns}" if need.sessions else "none"
        cells = (need.name, f"{need.rate:,.0f}", f"{need.events}", f"{need.seconds:.0f} s", kept, *answer(need, known))
        lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines)
    return re.sub(
        r"(<!-- examples -->\n).*?\n?(<!-- end -->)",
        lambda found: f"{found[1]}{table}\n{found[2]}",
        text,
        flags=re.DOTALL,
    )


def main() -> int:
    """Answer, or write."""
    parser = argparse.ArgumentParser(description="How many workers and how much Redis a load needs.")
    parser.add_argument("--write", action="store_true", help="work the examples of docs/scaling.md out anew")
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    parser.add_argument("--events", type=int, default=200, help="events of a streamed reply; 0: whole replies")
    parser.add_argument("--seconds", type=float, default=5, help="how long a reply takes")
    parser.add_argument("--sessions", type=int, default=0, help="sessions that live at once; 0: none are kept")
    parser.add_argument("--turns", type=int, default=10, help="turns a session")
    parser.add_argument("--kilobytes", type=float, default=2.0, help="question and answer of a turn together")
    given = vars(parser.parse_args())
    if given.pop("write"):
        FILE.write_text(rendered(FILE.read_text()))
        return 0
    names = ("workers", "replies in progress", "memory of a worker", "Redis: cores", "Redis: memory", "Redis: traffic")
    for name, value in zip(names, answer(Need("", **given), figures(FILE.read_text())), strict=True):
        sys.stdout.write(f"{name:22} {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
