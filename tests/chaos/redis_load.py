"""Gateways under load while their Redis fails: what every client was told, how long it took, what is stored.

Half of the replies are streamed, half of the clients send an Idempotency-Key. A provider's time is PROVIDER seconds,
so all beyond it is the gateway's and the store's.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple
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
    """Names this answer, and those that the model was shown before it."""
    *before, question = seen.body["messages"]
    shown = [message["content"].split()[1] for message in before if message["role"] == "assistant"]
    return Say(" ".join([question["content"], uuid4().hex[:12], *shown]), wait=PROVIDER)


class Kept(NamedTuple):
    """A stored turn: what was asked, the answer's name, and the names of those that it was shown before."""

    question: str
    name: str
    shown: list[str]


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
    stored: dict[str, list[Kept]] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    logged: list[dict[str, Any]] = field(default_factory=list)

    def states(self) -> Counter[str]:
        return Counter(one.state if one.status == 200 else f"{one.status} {one.code}" for one in self.told)

    def lost(self) -> list[Told]:
        """Acknowledged turns that are not there."""
        there = {turn.question for turns in self.stored.values() for turn in turns}
        return [one for one in self.told if one.acknowledged and one.question not in there]

    def window(self) -> tuple[float, float]:
        """How long before the fault the oldest and the newest turn that are lost were acknowledged, in seconds."""
        ages = [self.begun - one.ended for one in self.lost()]
        return max(ages, default=0.0), min(ages, default=0.0)

    def doubled(self) -> list[str]:
        times = Counter(turn.question for turns in self.stored.values() for turn in turns)
        return [question for question in times if times[question] > 1]

    def astray(self) -> list[str]:
        """Turns whose model was not shown the turns that are stored before them, in their order.

        What was told to be unsaved may have come in between. What was lost may have been shown until then.
        """
        told = {one.question: one for one in self.told}
        return [
            f"{turn.question}: {turn.shown} of {[before.name for before in turns[:n]]}"
            for turns in self.stored.values()
            for n, turn in enumerate(turns)
            if not self._shown(turn, turns[:n], told)
        ]

    def _shown(self, turn: Kept, before: list[Kept], told: dict[str, Told]) -> bool:
        names = [one.name for one in before]
        shown = [name for name in turn.shown if name in names or told[turn.question].sent > self.over]
        first = names.index(shown[0]) if shown and shown[0] in names else 0
        known = [one for one in before[first:] if told[one.question].acknowledged or one.name in shown]
        return [one.name for one in known] == shown

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


def _stored(gateway: Running, session: str) -> list[Kept]:
    found: list[Kept] = []
    first = 1
    while True:
        path = f"/v0/management/sessions/{session}?turn={first}&limit=100"
        status, page = gateway.get(path, Authorization=f"Bearer {KEY}")
        if status == 404:
            return found
        assert status == 200, page
        if not page["messages"]:
            return found
        said = [m for m in page["messages"] if m["role"] == "assistant" and not m.get("incomplete")]
        texts = [m["content"] if isinstance(m["content"], str) else m["content"][0]["text"] for m in said]
        found += [Kept(question, name, shown) for question, name, *shown in map(str.split, texts)]
        first = page["messages"][-1]["turn"] + 1


def counted(gateways: list[Running]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for gateway in gateways:
        for family in text_string_to_metric_families(gateway.get("/metrics")[1]):
            for sample in family.samples:
                if sample.name == "gateway_session_requests_total":
                    counts[sample.labels["state"]] += int(sample.value)
                elif sample.name in ("gateway_store_unreplicated_total", "gateway_store_failures_total"):
                    counts[sample.name] += int(sample.value)
    return counts


@asynccontextmanager
async def two_gateways(redis: str, more: str = "") -> AsyncIterator[list[Running]]:
    """Two workers on one Redis; `redis` is what the configuration says of it, `more` further settings of sessions."""
    stack = ExitStack()
    try:
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
        starts = (asyncio.to_thread(stack.enter_context, running(config)) for _ in range(2))
        yield list(await asyncio.gather(*starts))
    finally:
        await asyncio.to_thread(stack.close)


async def under_load(
    gateways: list[Running], fault: Fault, *, before: float = 1.0, after: float = 0.5, clients: int = CLIENTS
) -> Run:
    """Load until all workers store turns, `before` seconds, the fault, until all do again, `after` seconds more."""
    run, stop = Run(), asyncio.Event()
    tasks = [asyncio.create_task(_client(run, gateways, number, stop)) for number in range(clients)]
    await _storing(run, len(gateways), monotonic() + PATIENCE)
    await asyncio.sleep(before)
    run.begun = monotonic()
    await fault()
    run.over = monotonic()
    end = monotonic() + PATIENCE
    await _storing(run, len(gateways), end)
    await asyncio.sleep(after)
    stop.set()
    await asyncio.gather(*tasks)
    for number in range(clients):
        run.stored[f"s{number}"] = await asyncio.to_thread(_stored, gateways[0], f"s{number}")
    while not run.counted or (run.untold() and monotonic() < end):  # the gateways tell their observers a little later
        run.counted = await asyncio.to_thread(counted, gateways)
    run.logged = [line for gateway in gateways for line in gateway.lines() if "request_id" in line and "store" in line]
    return run


async def _storing(run: Run, workers: int, end: float) -> None:
    """Wait until all workers store turns, behind the fault if it is over, but not beyond `end`."""
    while monotonic() < end and not all(_stores(run, n) for n in range(workers)):  # noqa: ASYNC110 - clients note much
        await asyncio.sleep(0.05)


def _stores(run: Run, worker: int) -> bool:
    return any(one.worker == worker and one.sent > run.over and one.acknowledged for one in reversed(run.told))


def line(name: str, run: Run) -> str:
    """The run as a row of a table."""
    states = run.states()
    lost = run.lost()
    oldest, newest = run.window()
    others = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state not in ("new", "resumed"))
    if behind := run.counted["gateway_store_unreplicated_total"]:
        others = f"{others}, {behind} counted as unreplicated".removeprefix(", ")
    cells = [
        name,
        str(len(run.told)),
        others or "none",
        f"{run.longest() * 1000:.0f}",
        f"{run.beyond() * 1000:.0f}",
        f"{len(lost)}" + (f" (of {oldest - newest:.1f} s)" if lost else ""),
        str(len(run.doubled())),
        f"{run.recovery():.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEADER = """\
| Redis | requests | told otherwise than stored | longest, ms | beyond the provider, ms | acknowledged and lost \
| doubled | back after, s |
| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"""
