"""F6: streams that are cut at random, by clients and by the provider, and what a worker holds in memory meanwhile.

`python tests/chaos/cut_streams.py [STREAMS]`: a line for each twentieth of them; 20,000 take about five minutes.
"""

import asyncio
import json
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.processes import resident
from tests.processes import Running, provider, running
from tests.scripted import Say, Seen
from tests.servers import one

AT_ONCE = 16
MODELS = ("gpt", "opus")
CONFIG = """
server: {{port: PORT}}
sessions:
  store: {store}
  max_turns: 10
  file: {{directory: "{folder}/sessions"}}
  redis: {{url: "{redis}", timeout: 5s, connect_timeout: 5s}}
providers:
  chat: {{kind: openai, base_url: "{url}/v1", keys: [k]}}
  claude: {{kind: anthropic, base_url: "{url}", keys: [k]}}
models:
  gpt: {{targets: [{{provider: chat, model: up}}]}}
  opus: {{targets: [{{provider: claude, model: up}}]}}
"""


def words(_: Seen) -> Say:
    """A stream of thirty words; the provider cuts one in five."""
    return Say("word " * 30, pause=0.001, cut=random.choice((None, None, None, None, random.randrange(1, 30))))


@contextmanager
def one_worker(store: str) -> Iterator[Running]:
    with ExitStack() as stack:
        _, url = stack.enter_context(provider(words))
        redis = stack.enter_context(one()).url if store == "redis" else ""
        folder = stack.enter_context(TemporaryDirectory())
        yield stack.enter_context(running(CONFIG.format(store=store, folder=folder, redis=redis, url=url)))


async def cut_one(url: str, number: int) -> None:
    """One stream, left after some bytes; two in three belong to one of thirty sessions."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    asked = {"model": MODELS[number % 2], "messages": [{"role": "user", "content": f"q{number}"}], "stream": True}
    body = json.dumps(asked).encode()
    session = f"x-session-id: s{number % 30}\r\n" if number % 3 else ""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n{session}\r\n"
    writer.write(head.encode() + body)
    left = random.randrange(1, 6000)
    while left > 0 and (data := await reader.read(1024)):
        left -= len(data)
        if b"[DONE]" in data or b'"error"' in data:
            break
    writer.transport.abort()


async def cut_many(url: str, numbers: Iterator[int], streams: int) -> None:
    """So many, AT_ONCE at a time."""
    left = iter(range(streams))

    async def some() -> None:
        for _ in left:
            await cut_one(url, next(numbers))

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def settled(gateway: Running) -> int:
    """Bytes resident."""
    return resident(gateway.process.pid)


def main(streams: int) -> None:
    for store in ("file", "redis"):
        with one_worker(store) as gateway:
            numbers, sizes = count(), []
            for done in range(20):
                asyncio.run(cut_many(gateway.url, numbers, streams // 20))
                sizes.append(settled(gateway) / (1 << 20))
                sys.stdout.write(f"{store}: {streams // 20 * (done + 1):6} streams {sizes[-1]:6.1f} MiB\n")
                sys.stdout.flush()
            sys.stdout.write(f"{store}: {sizes[-1] - sizes[9]:+.1f} MiB over the second half\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 20_000)
