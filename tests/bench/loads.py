"""What is asked of a gateway: the requests of each load, and how they are sent."""

import json
import math
from dataclasses import dataclass, replace

from tests.bench.contestants import KEY, SAME, TRANSLATED, Contestant
from tests.bench.driver import MARK, Request

MESSAGE = "Say something nice about foxes, and be brief about it please. "
QUESTION = MESSAGE * 6
"""A turn of a history: with the mock's reply some 500 bytes, so that 200 turns are 100 KB."""
KIB = 1024

CLOSED, ONCE, HALF = "closed", "once", "half"


@dataclass(frozen=True)
class Load:
    """One kind of request.

    `size`: bytes of the message. `gap`: milliseconds between the events of a stream. `store`: what the gateway keeps
    sessions in; with `-first` it remembers none of them, so that each turn is the first that it serves of its
    session. `turns`: the history that each session has before; the sessions are a `pool`, used in turn.
    `affinity`: requests carry an id for that alone. `shape`: a closed loop; once on each of 100 connections; or an
    open loop at half of the rate that a closed one reached.
    """

    name: str
    about: str
    how: str = SAME
    shape: str = CLOSED
    events: int = 0
    gap: int = 0
    size: int = len(MESSAGE)
    store: str = ""
    turns: int = 0
    pool: int = 0
    affinity: bool = False

    def possible(self, contestant: Contestant) -> bool:
        return (
            self.how in contestant.asks
            and (contestant.streams or not self.events)
            and (not (self.store or self.affinity) or bool(contestant.stores))
        )

    def request(self, contestant: Contestant, port: int, provider: int) -> Request:
        ask = contestant.asks[self.how]
        text = (MESSAGE * (self.size // len(MESSAGE) + 1))[: self.size]
        body: dict[str, object] = {"model": ask.model}
        if self.pool:
            text += MARK.decode()
        if self.events:
            text += f"events:{self.events} gap:{self.gap}"
            body["stream"] = True
        body["messages"] = [{"role": "user", "content": text}]
        if self.how == TRANSLATED:
            body["max_tokens"] = 256
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        headers |= {name: value.format(provider=provider) for name, value in ask.headers.items()}
        data = json.dumps(body, separators=(",", ":")).encode()
        return Request(port, ask.path, headers, data, *self.numbered())

    def lasting(self, seconds: float) -> "Load":
        """This load with as many sessions as that time needs."""
        return replace(self, pool=math.ceil(self.pool * min(1, seconds / 2)))

    def numbered(self) -> tuple[str, int]:
        """What the number of a request is put behind, and how many numbers there are."""
        if self.pool:
            return ("x-session-affinity: bench-" if self.affinity else f"x-session-id: {self.name}-"), self.pool
        return "", 0


def session(store: str, turns: int, pool: int, *, start: int = 0, events: int = 0) -> Load:
    """A turn of sessions with so many turns of history; with `start`, they have so few and grow to as many more."""
    name = f"session-{store}-{turns}" + ("-streamed" if events else "")
    met = "each met for the first time, " if store.endswith("-first") else ""
    about = f"a {'streamed ' if events else ''}turn of a session in {store.partition('-')[0]}, {met}"
    about += f"{'about ' if start else ''}{turns} turns of history"
    return Load(name, about, store=store, turns=start or turns, pool=pool, events=events)


LOADS = (
    Load("whole", "whole reply, same dialect"),
    Load("streamed-20", "streamed reply of 20 events", events=20),
    Load("streamed-500", "streamed reply of 500 events", events=500),
    Load("paced-500", "100 streams of 500 events, 5 ms apart; per event", shape=ONCE, events=500, gap=5),
    Load("whole-4k", "whole, message of 4 KB", size=4 * KIB),
    Load("whole-100k", "whole, message of 100 KB", size=100 * KIB),
    Load("whole-2m", "whole, message of 2 MB", size=2048 * KIB),
    Load("translated", "whole, OpenAI's dialect to Anthropic's", how=TRANSLATED),
    Load("translated-20", "20 events, Anthropic's dialect to OpenAI's", how=TRANSLATED, events=20),
    Load("affinity", "whole, with a header for affinity only", affinity=True, pool=1000),
    Load("half", "whole, at half of the rate that 64 connections reached; latency above the mock's own", shape=HALF),
    session("file", 20, 400, start=9),
    session("file", 200, 48, start=160),
    session("file-first", 2, 2000),
    session("file-first", 20, 2000),
    session("file-first", 200, 400),
    Load("whole-redis", "whole, no session, sessions kept in redis", store="redis"),
    session("redis", 20, 400, start=9),
    session("redis", 200, 48, start=160),
    session("redis", 20, 400, start=9, events=20),
    session("redis-first", 2, 2000),
    session("redis-first", 20, 2000),
    session("redis-first", 200, 400),
)
QUICK = ("whole", "streamed-20", "translated", "whole-redis", "session-redis-20")
