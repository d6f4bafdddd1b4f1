"""Gateways under load while their Redis fails: what every client was told, how long it took, what is stored.

Half of the replies are streamed, half of the clients send an Idempotency-Key. A provider's time is PROVIDER seconds,
so all beyond it is the gateway's and the store's.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import Running, provider, running
from tests.scripted import Say, Seen

PROVIDER = 0.05
BUDGET = 0.25
"""`sessions.redis.timeout`, the default."""
DEADLINE = 5.0
CLIENTS = 8
PATIENCE = 60.0
"""Seconds in which every worker must have stored a turn again."""
KEY = "manage-me-please"

Fault = Callable[[], Awaitable[None]]
"""Makes the fault, and returns when it is over."""


def answer(seen: Seen) -> Say:
    return Say(f"{seen.body['messages'][-1]['content']} is {uuid4().hex}", wait=PROVIDER)


@dataclass
class Told:
    """One request as its client saw it. `state` is the header's, or `unsaved` if the stream's last comment says so."""

    session: str
    question: str
    worker: int
    sent: float
    ended: float
    status: int
    state: str
    code: str = ""

    @property
    def acknowledged(self) -> bool:
        return self.status == 200 and self.state in ("new", "resumed", "replayed")

    @property
    def took(self) -> float:
        return self.ended - self.sent


@dataclass
class Run:
    """A run's requests; when the fault began and when it was over; what is stored, counted and logged in the end."""

    told: list[Told] = field(default_factory=list)
    begun: float = 0.0
    over: float = 0.0
    stored: dict[str, Counter[str]] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    logged: list[dict[str, Any]] = field(default_factory=list)

    def states(self) -> Counter[str]:
        return Counter(one.state if one.status == 200 else f"{one.status} {one.code}" for one in self.told)

    def lost(self) -> list[Told]:
        """Acknowledged turns that are not there."""
        return [one for one in self.told if one.acknowledged and not self.stored[one.session][one.question]]

    def doubled(self) -> list[str]:
        return [question for kept in self.stored.values() for question, times in kept.items() if times > 1]

    def longest(self) -> float:
        """The longest that any request took, in seconds."""
        return max(one.took for one in self.told)

    def beyond(self) -> float:
        """The longest that a served request spent beyond its provider's time, by the gateway's own account."""
        return max(line["duration"] - line["upstream"] for line in self.logged if line.get("upstream"))

    def recovery(self) -> float:
        """Seconds from the end of the fault until every worker had stored a turn again."""
        workers = {one.worker for one in self.told}
        first = [
            min(one.ended for one in self.told if one.worker == worker and one.sent > self.over and one.acknowledged)
            for worker in workers
        ]
        return max(first) - self.over

    def untold(self) -> list[str]:
        """What the counters say otherwise than the clients were told."""
        seen = Counter(
            "unsaved" if one.code == "session_unsaved" else one.state
            for one in self.told
            if one.status == 200 or one.code == "session_unsaved"
        )
        return [f"{s}: {seen[s]} told, {self.counted[s]} counted" for s in seen if seen[s] != self.counted[s]]


async def _client(run: Run, gateways: list[Running], number: int, stop: asyncio.Event) -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        n = 0
        while not stop.is_set():
            worker = (number + n) % len(gateways)
            run.told.append(await _ask(http, gateways[worker].url, number, n))
            run.told[-1].worker = worker
            n += 1
            await asyncio.sleep(0.02)


async def _ask(http: httpx.AsyncClient, url: str, number: int, n: int) -> Told:
    session, question = f"s{number}", f"q{number}-{n}"
    body = {"model": "m", "messages": [{"role": "user", "content": question}], "stream": n % 2 == 0}
    headers = {"x-session-id": session} | ({"idempotency-key": uuid4().hex} if number % 2 else {})
    sent = monotonic()
    try:
        got = await http.post(f"{url}/v1/chat/completions", json=body, headers=headers)
    except httpx.HTTPError as error:
        return Told(session, question, 0, sent, monotonic(), 0, "", repr(error))
    state, code = got.headers.get("x-session-state", ""), ""
    if ": the turn was not saved" in got.text or '"session_unsaved"' in got.text:
        state = "unsaved"
    if got.status_code != 200:
        with suppress(ValueError, LookupError):
            code = got.json()["error"]["code"]
    elif n % 2 == 0 and "data: [DONE]" not in got.text and state != "unsaved":
        code = state = "cut"
    return Told(session, question, 0, sent, monotonic(), got.status_code, state, code)


def _questions(gateway: Running, session: str) -> Counter[str]:
    found: Counter[str] = Counter()
    first = 1
    while True:
        path = f"/v0/management/sessions/{session}?turn={first}&limit=100"
        status, page = gateway.get(path, Authorization=f"Bearer {KEY}")
        if status == 404:
            return found
        assert status == 200, page
        if not page["messages"]:
            return found
        asked = [m for m in page["messages"] if m["role"] == "user" and not m.get("incomplete")]
        found.update(m["content"] if isinstance(m["content"], str) else m["content"][0]["text"] for m in asked)
        first = page["messages"][-1]["turn"] + 1


def _counted(gateways: list[Running]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for gateway in gateways:
        for family in text_string_to_metric_families(gateway.get("/metrics")[1]):
            for sample in family.samples:
                if sample.name == "gateway_session_requests_total":
                    counts[sample.labels["state"]] += int(sample.value)
                elif sample.name in ("gateway_store_unreplicated_total", "gateway_store_failures_total"):
                    counts[sample.name] += int(sample.value)
    return counts


@contextmanager
def two_gateways(redis: str, more: str = "") -> Iterator[list[Running]]:
    """Two workers on one Redis; `redis` is what the configuration says of it, `more` further settings of sessions."""
    with ExitStack() as stack:
        _, url = stack.enter_context(provider(answer))
        config = f"""
        server: {{port: PORT}}
        management: {{key: {KEY}}}
        routing: {{deadline: {DEADLINE}s}}
        history: {{max_turns: 20}}
        sessions: {{store: redis, redis: {{{redis}}}, max_turns: 100000, {more}}}
        providers: {{p: {{kind: openai, base_url: "{url}/v1", keys: [k]}}}}
        models: {{m: {{targets: [{{provider: p, model: m}}]}}}}
        """
        yield [stack.enter_context(running(config)) for _ in range(2)]


async def under_load(gateways: list[Running], fault: Fault, *, before: float = 1.0, after: float = 0.5) -> Run:
    """Load from `before` seconds ahead of the fault until all workers store turns again, and `after` seconds more."""
    run, stop = Run(), asyncio.Event()
    clients = [asyncio.create_task(_client(run, gateways, number, stop)) for number in range(CLIENTS)]
    await asyncio.sleep(before)
    run.begun = monotonic()
    await fault()
    run.over = monotonic()
    workers = range(len(gateways))
    end = monotonic() + PATIENCE
    while monotonic() < end and not all(_back(run, worker) for worker in workers):  # noqa: ASYNC110 - clients note much
        await asyncio.sleep(0.05)
    await asyncio.sleep(after)
    stop.set()
    await asyncio.gather(*clients)
    await asyncio.sleep(1.0)  # the gateways write their last lines, and finish what nobody waits for
    for number in range(CLIENTS):
        run.stored[f"s{number}"] = await asyncio.to_thread(_questions, gateways[0], f"s{number}")
    run.counted = _counted(gateways)
    run.logged = [line for gateway in gateways for line in gateway.lines() if "request_id" in line and "store" in line]
    return run


def _back(run: Run, worker: int) -> bool:
    return any(one.worker == worker and one.sent > run.over and one.acknowledged for one in reversed(run.told))


class Proxy:
    """Between gateways and Redis. `swallow`: it takes what comes and passes nothing on, in either direction."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.port = 0
        self.swallow = False
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.reset()

    def reset(self) -> None:
        """Break every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers |= {writer, here}
        with suppress(asyncio.CancelledError):  # the end of the test
            await asyncio.gather(self._pump(reader, here), self._pump(there, writer))
        self._writers -= {writer, here}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if not self.swallow:
                    sink.write(data)
                    await sink.drain()
        sink.close()


def line(name: str, run: Run) -> str:
    """The run as a row of a table."""
    states = run.states()
    lost = run.lost()
    window = max((run.begun - one.ended for one in lost), default=0.0)
    others = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state not in ("new", "resumed"))
    if behind := run.counted["gateway_store_unreplicated_total"]:
        others = f"{others}, {behind} counted as unreplicated".removeprefix(", ")
    cells = [
        name,
        str(len(run.told)),
        others or "none",
        f"{run.longest() * 1000:.0f}",
        f"{run.beyond() * 1000:.0f}",
        f"{len(lost)}" + (f" (of the last {window * 1000:.0f} ms)" if lost else ""),
        str(len(run.doubled())),
        f"{run.recovery():.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEADER = """\
| Redis | requests | told otherwise than stored | longest, ms | beyond the provider, ms | acknowledged and lost \
| doubled | back after, s |
| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"""
