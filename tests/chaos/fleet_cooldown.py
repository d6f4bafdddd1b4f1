"""Three processes, two providers, and one credential that answers 429 with Retry-After: 2. How often is it still asked?

Prints the counts of fleets under the same traffic: gateway processes that share what they learn through Redis or a
file, some that each learn for themselves, and naive clients that only try the other provider after a failure.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import httpx

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests import servers
from tests.chaos.misbehaving import Provider, misbehaving
from tests.processes import Running, running

RETRY_AFTER = 2.0
WORKERS = 3

Ask = Callable[[int], Awaitable[int]]


@dataclass
class Outcome:
    """Requests that the limited credential got, and what clients saw."""

    early: int
    quiet: int
    probes: int
    periods: int
    asked: int
    failed: int

    def line(self, name: str) -> str:
        return (
            f"| {name} | {self.early} | {self.quiet} | {self.probes} in {self.periods} periods "
            f"| {self.asked} | {self.failed} |"
        )


async def drive(provider: Provider, ask: Ask, *, seconds: float, rate: float) -> Outcome:
    """Steady traffic over all workers; what came when, counted from the first 429."""
    statuses: list[int] = []

    async def one(number: int) -> None:
        statuses.append(await ask(number))

    begun, running = monotonic(), set[asyncio.Task[None]]()
    for number in count():
        if monotonic() - begun > seconds:
            break
        task = asyncio.ensure_future(one(number))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(1 / rate)
    if running:
        await asyncio.wait(running)
    times = provider.seen["429"]
    after = [when - times[0] for when in times]
    return Outcome(
        early=sum(when < 1 for when in after),
        quiet=sum(1 <= when < RETRY_AFTER for when in after),
        probes=sum(when >= RETRY_AFTER for when in after),
        periods=int((monotonic() - times[0]) // RETRY_AFTER),
        asked=len(statuses),
        failed=sum(status != 200 for status in statuses),
    )


def config_of(provider: Provider, sessions: str) -> str:
    return f"""
server: {{port: PORT}}
sessions: {sessions}
providers:
  limited: {{kind: openai, base_url: "http://127.0.0.1:{provider.port}/429/v1", keys: [k]}}
  well: {{kind: openai, base_url: "http://127.0.0.1:{provider.port}/well/v1", keys: [k]}}
models: {{m: {{targets: [{{provider: limited, model: up}}, {{provider: well, model: up}}]}}}}
"""


@asynccontextmanager
async def started(configs: Iterable[str]) -> AsyncIterator[list[Running]]:
    """A gateway process for each configuration, started side by side."""
    managers = [running(config) for config in configs]
    fleet = await asyncio.gather(*(asyncio.to_thread(manager.__enter__) for manager in managers))
    try:
        yield fleet
    finally:
        await asyncio.gather(*(asyncio.to_thread(manager.__exit__, None, None, None) for manager in managers))


async def gateways(sessions: Callable[[int], str], *, seconds: float, rate: float) -> Outcome:
    """Processes of this gateway; `sessions` is the section of each one's configuration."""
    body = {"model": "m", "messages": [{"role": "user", "content": "count"}]}
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(misbehaving(RETRY_AFTER))
        configs = (config_of(provider, sessions(worker)) for worker in range(WORKERS))
        fleet = await stack.enter_async_context(started(configs))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60))

        async def ask(number: int) -> int:
            url = fleet[number % WORKERS].url
            return (await client.post(f"{url}/v1/chat/completions", json=body)).status_code

        return await drive(provider, ask, seconds=seconds, rate=rate)


async def naive(*, seconds: float, rate: float) -> Outcome:
    """Round robin, and the other provider after a failure; nothing is remembered."""
    body = {"model": "m", "messages": [{"role": "user", "content": "count"}]}
    async with misbehaving(RETRY_AFTER) as provider, httpx.AsyncClient() as client:

        async def ask(number: int) -> int:
            for place in ("429", "well") if number // WORKERS % 2 else ("well", "429"):
                url = f"http://127.0.0.1:{provider.port}/{place}/v1/chat/completions"
                answer = await client.post(url, json=body)
                if answer.status_code == 200:
                    break
            return answer.status_code

        return await drive(provider, ask, seconds=seconds, rate=rate)


async def shared(url: str, *, seconds: float, rate: float) -> Outcome:
    """Workers that share what they learn through the Redis at `url`."""
    section = f'{{store: redis, redis: {{url: "{url}", timeout: 2s, connect_timeout: 2s}}}}'
    return await gateways(lambda _: section, seconds=seconds, rate=rate)


async def apart(directory: str, *, seconds: float, rate: float) -> Outcome:
    """Workers that share nothing: each has a directory of its own."""
    return await gateways(lambda worker: f'{{file: {{directory: "{directory}/{worker}"}}}}', seconds=seconds, rate=rate)


async def beside(directory: str, *, seconds: float, rate: float) -> Outcome:
    """Workers of one machine that share a directory."""
    return await gateways(lambda _: f'{{file: {{directory: "{directory}/all"}}}}', seconds=seconds, rate=rate)


async def main(seconds: float = 7.0, rate: float = 60.0) -> None:
    """Print the table."""
    with servers.one() as redis, TemporaryDirectory() as directory:
        rows = {
            "shared through Redis": await shared(redis.url, seconds=seconds, rate=rate),
            "shared through a file": await beside(directory, seconds=seconds, rate=rate),
            "each for itself": await apart(directory, seconds=seconds, rate=rate),
            "naive": await naive(seconds=seconds, rate=rate),
        }
    sys.stdout.write("| fleet | first second | until the time was over | afterwards | requests | failed |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- |\n")
    for name, row in rows.items():
        sys.stdout.write(row.line(name) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
