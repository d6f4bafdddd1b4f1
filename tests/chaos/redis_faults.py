"""F4 for Redis: two gateways under load, and everything that can happen to their Redis. Prints a table.

`python tests/chaos/redis_faults.py [NAME...]`; about six minutes for all.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests import servers
from tests.chaos.proxy import Proxy
from tests.chaos.redis_load import HEADER, Run, line, two_gateways, under_load
from tests.servers import Process

SECONDS = 5.0

ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")


def at(process: Process) -> str:
    return f'url: "{process.url}"'


async def paused(seconds: float, more: str = "") -> Run:
    """Stopped, so that connections stay and nothing answers."""
    with servers.one() as redis:
        async with two_gateways(at(redis), more) as gateways:

            async def fault() -> None:
                with redis.paused():
                    await asyncio.sleep(seconds)

            return await under_load(gateways, fault)


async def killed(seconds: float, more: str = "") -> Run:
    """Killed, and started again after a while, with every turn synced before it was acknowledged."""
    with servers.one(*ALWAYS) as redis:
        async with two_gateways(at(redis), more) as gateways:

            async def fault() -> None:
                redis.kill()
                await asyncio.sleep(seconds)
                redis.start()
                await asyncio.to_thread(servers.wait, redis.ready)

            return await under_load(gateways, fault)


async def restarted(seconds: float, more: str = "") -> Run:
    """Killed and started again at once, again and again: it knows no script then."""
    with servers.one(*ALWAYS) as redis:
        async with two_gateways(at(redis), more) as gateways:

            async def fault() -> None:
                for _ in range(3):
                    await asyncio.to_thread(redis.restart)
                    await asyncio.sleep(seconds / 3)

            return await under_load(gateways, fault)


async def forgetful(seconds: float, more: str = "") -> Run:
    """Its scripts are flushed all the time."""
    with servers.one() as redis:
        async with two_gateways(at(redis), more) as gateways:

            async def fault() -> None:
                for _ in range(round(seconds / 0.02)):
                    await asyncio.to_thread(redis.ask, "SCRIPT", "FLUSH")
                    await asyncio.sleep(0.02)

            return await under_load(gateways, fault)


async def swallowed(seconds: float, more: str = "") -> Run:
    """Connections open, and nothing comes through them in either direction."""
    with servers.one() as redis:
        async with (
            Proxy(redis.port).serving() as proxy,
            two_gateways(f'url: "redis://127.0.0.1:{proxy.port}/0"', more) as gateways,
        ):

            async def fault() -> None:
                proxy.swallow = True
                await asyncio.sleep(seconds)
                proxy.swallow = False

            return await under_load(gateways, fault)


async def cut(seconds: float, more: str = "") -> Run:
    """All connections are reset, ten times a second."""
    with servers.one() as redis:
        async with (
            Proxy(redis.port).serving() as proxy,
            two_gateways(f'url: "redis://127.0.0.1:{proxy.port}/0"', more) as gateways,
        ):

            async def fault() -> None:
                for _ in range(round(seconds * 10)):
                    proxy.reset()
                    await asyncio.sleep(0.1)

            return await under_load(gateways, fault)


async def sentinel(_: float, more: str = "", wait: int = 0, *, back: bool = False) -> Run:
    """The master is killed, and Sentinel makes a replica the master; or it stands still for so long and comes back."""
    with servers.sentinels(quick=False) as trio:
        settings = f'url: "{trio.url}", mode: sentinel, sentinel_master: gw, wait_replicas: {wait}'
        async with two_gateways(settings, more) as gateways:
            master = next(process for process in trio.data if process.port == trio.master())

            async def fault() -> None:
                with master.paused() if back else nullcontext(master.kill()):
                    await asyncio.to_thread(servers.wait, lambda: trio.master() != master.port)

            return await under_load(gateways, fault, after=15.0 if back else 1.0)


async def planned(seconds: float, more: str = "", wait: int = 0, *, pause: bool = False) -> Run:
    """An operator asks Sentinel for a failover, perhaps having paused writes: the old master is told much later."""
    with servers.sentinels(quick=False) as trio:
        settings = f'url: "{trio.url}", mode: sentinel, sentinel_master: gw, wait_replicas: {wait}'
        async with two_gateways(settings, more) as gateways:
            old = next(process for process in trio.data if process.port == trio.master())

            def over() -> bool:
                return old.info("replication")["role"] != "master"

            async def fault() -> None:
                if pause:
                    await asyncio.to_thread(old.ask, "CLIENT", "PAUSE", 5000, "WRITE")
                await asyncio.to_thread(trio.sentinels[0].ask, "SENTINEL", "FAILOVER", "gw")
                await asyncio.to_thread(servers.wait, over)

            return await under_load(gateways, fault, after=seconds)


async def unwatched(seconds: float, more: str = "") -> Run:
    """All sentinels are dead, and all connections to the master are cut ten times a second."""
    with servers.sentinels(quick=False) as trio:
        settings = f'url: "{trio.url}", mode: sentinel, sentinel_master: gw'
        async with two_gateways(settings, more) as gateways:
            master = next(process for process in trio.data if process.port == trio.master())

            async def fault() -> None:
                for sentinel in trio.sentinels:
                    sentinel.kill()
                for _ in range(round(seconds * 10)):
                    await asyncio.to_thread(master.ask, "CLIENT", "KILL", "TYPE", "normal")
                    await asyncio.sleep(0.1)

            return await under_load(gateways, fault)


async def cluster(_: float, more: str = "", wait: int = 0, *, kill: bool = True) -> Run:
    """One of three masters is killed, and its replica takes its place; or an operator tells the replica to."""
    with servers.cluster(3, replicas=1) as nodes:
        addresses = ",".join(f"127.0.0.1:{node.port}" for node in nodes[:3])
        settings = f'url: "redis://{addresses}", mode: cluster, wait_replicas: {wait}'
        async with two_gateways(settings, more) as gateways:

            def taken_over() -> bool:
                return nodes[3].info("replication")["role"] == "master"

            async def fault() -> None:
                if kill:
                    nodes[0].kill()
                else:
                    await asyncio.to_thread(nodes[3].ask, "CLUSTER", "FAILOVER")
                await asyncio.to_thread(servers.wait, taken_over)

            return await under_load(gateways, fault, after=4.0)


SCENARIOS: dict[str, Callable[[float], Awaitable[Run]]] = {
    "paused": paused,
    "paused, reject": partial(paused, more="on_failure: reject"),
    "killed, appendfsync always": killed,
    "restarted three times, appendfsync always": restarted,
    "scripts flushed": forgetful,
    "black-holed": swallowed,
    "connections reset": cut,
    "failed over by Sentinel": sentinel,
    "failed over by Sentinel, wait_replicas 1": partial(sentinel, wait=1),
    "master frozen, failed over, and back": partial(sentinel, back=True),
    "failed over by an operator": planned,
    "failed over by an operator, wait_replicas 1": partial(planned, wait=1),
    "failed over by an operator, wait_replicas 2": partial(planned, wait=2),
    "failed over by an operator who paused writes": partial(planned, pause=True),
    "all sentinels dead, connections cut": unwatched,
    "failed over by Cluster": cluster,
    "failed over by Cluster, wait_replicas 1": partial(cluster, wait=1),
    "failed over by an operator, Cluster": partial(cluster, kill=False),
}


def main(names: list[str]) -> None:
    sys.stdout.write(f"{HEADER}\n")
    for name, scenario in SCENARIOS.items():
        if names and name not in names:
            continue
        run = asyncio.run(scenario(SECONDS))
        sys.stdout.write(f"{line(name, run)}\n")
        for what in filter(None, (run.untold(), run.doubled(), run.astray())):
            sys.stdout.write(f"    {len(what)}: {str(what)[:300]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
