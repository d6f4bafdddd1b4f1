"""What a failover loses: a replica that is behind, turns under load, the master killed, the replica promoted. A table.

`python tests/chaos/replication_window.py [TIMES]`; the replica's link goes through a proxy that delays it or swallows
everything, and what is under way when the master dies does not arrive. The gateways reach Redis through another proxy,
which points to the replica afterwards, as a service's name would. TIMES failovers a row, each of new servers.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from time import monotonic

from tests.chaos.proxy import Proxy
from tests.chaos.redis_load import Run, counted, two_gateways, under_load
from tests.servers import Process, servers, wait

TIMES = 5
CLIENTS = 24
NOTICED = 0.5
"""Seconds until the replica is promoted, as a Sentinel would take."""
SILENT = 6.0
"""Seconds that the link is silent before the master dies."""
PATIENT = "timeout: 1s, wait_timeout: 400ms"
GUARDED = ("--min-replicas-to-write", 1, "--min-replicas-max-lag", 1)


@dataclass(frozen=True)
class Case:
    """A link that delays for so many seconds, or is silent for so many before the end; what Redis and gateways do."""

    delay: float = 0.0
    silent: float = 0.0
    replicas: int = 0
    options: tuple[object, ...] = ()

    def __str__(self) -> str:
        link = f"silent for {self.silent:g} s" if self.silent else f"{self.delay * 1000:.0f} ms behind"
        waits = ", wait_replicas 1" if self.replicas else ""
        return f"{link}{waits}{', min-replicas-to-write 1, max-lag 1' if self.options else ''}"


@dataclass
class Pair:
    """A master, its replica, the link between them, and what the gateways take for Redis."""

    master: Process
    replica: Process
    link: Proxy
    front: Proxy

    async def fail_over(self) -> None:
        """The master and all that is on its way die at once; a little later the replica takes its place."""
        self.link.swallow = True
        self.master.process.kill()
        self.master.process.wait()
        self.front.upstream = self.replica.port
        self.front.reset()
        await asyncio.sleep(NOTICED)
        await asyncio.to_thread(self.replica.ask, "REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def pair(case: Case) -> AsyncIterator[Pair]:
    with servers() as made:
        master = made.start("--appendonly", "no", "--repl-diskless-sync-delay", 0, *case.options)
        wait(master.ready)
        async with Proxy(master.port).serving() as link, Proxy(master.port).serving() as front:
            replica = made.start("--appendonly", "no", "--replicaof", "127.0.0.1", link.port)
            await asyncio.to_thread(wait, lambda: replica.info("replication").get("master_link_status") == "up")
            link.delay = case.delay
            yield Pair(master, replica, link, front)


async def failover(case: Case, *, before: float = 2.0, clients: int = CLIENTS) -> tuple[Run, int]:
    """One failover under load; and how many turns were counted as unreplicated until then."""
    async with pair(case) as redis:
        url = f'url: "redis://127.0.0.1:{redis.front.port}/0"'
        async with two_gateways(f"{url}, {PATIENT}, wait_replicas: {case.replicas}") as gateways:
            begun, short = 0.0, 0

            async def fault() -> None:
                nonlocal short, begun
                redis.link.swallow = case.silent > 0
                await asyncio.sleep(case.silent)
                begun = monotonic()
                await redis.fail_over()
                short = (await asyncio.to_thread(counted, gateways))["gateway_store_unreplicated_total"]

            run = await under_load(gateways, fault, before=before, clients=clients)
            return replace(run, begun=begun), short


HEADER = """\
| the replica | acknowledged | lost | the oldest, ms before the end | the newest | delivered as unsaved \
| counted as unreplicated |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""

CASES = [
    *(Case(delay, replicas=replicas) for replicas in (0, 1) for delay in (0.0, 0.01, 0.1, 0.5)),
    Case(silent=SILENT),
    Case(silent=SILENT, replicas=1),
    Case(silent=SILENT, options=GUARDED),
]


def row(case: Case, runs: list[tuple[Run, int]]) -> str:
    until = [[one for one in run.told if one.ended < run.begun] for run, _ in runs]
    cells = [
        sum(one.acknowledged for told in until for one in told),
        sum(len(run.lost()) for run, _ in runs),
        round(max(run.window()[0] for run, _ in runs) * 1000),
        max(round(min(run.window()[1] for run, _ in runs) * 1000), 0),
        sum(one.state == "unsaved" for told in until for one in told),
        sum(short for _, short in runs),
    ]
    return f"| {case} | " + " | ".join(f"{cell:,}" for cell in cells) + " |"


def main(times: int) -> None:
    sys.stdout.write(f"{HEADER}\n")
    for case in CASES:
        runs = [asyncio.run(failover(case)) for _ in range(times)]
        sys.stdout.write(f"{row(case, runs)}\n")
        for run, _ in runs:
            for wrong in filter(None, (run.untold(), run.doubled(), run.astray())):
                sys.stdout.write(f"    {len(wrong)}: {str(wrong)[:300]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TIMES)
