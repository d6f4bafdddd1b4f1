"""The nouns of one exchange: what is asked, where the answer goes, what serves it."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import httpx
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.conversation import Event, Failed, Reply, events_of
from gateway.dialects.dialect import Dialect, RelayFilter, ReplyDecoder, ReplyEncoder, ReplyHead, Request
from gateway.dialects.lists import joined
from gateway.dialects.openai_responses.relabel import Relabeller, relabelled
from gateway.dialects.sse import WholeEvents
from gateway.errors import GatewayError, UpstreamError
from gateway.fleet.fleet import Fleet, Trial
from gateway.metrics import Record
from gateway.routing.prices import estimated
from gateway.routing.table import Route, Table, Target
from gateway.sessions.fitting import Fitted
from gateway.sessions.memory import Memory, Recall, SessionAsk
from gateway.traces import Trace
from gateway.upstream import Pieces, Upstream
from gateway.watch import Watch

_NAME = re.compile(r"[\w.:*\[\]-]{1,80}", re.ASCII)
"""What may stand in a header of the names that a client made up."""
_LONGEST = 1024


class Ask(Struct, frozen=True, kw_only=True):
    """A client's request, authenticated and opened. `affinity` names what it belongs to, "" for nothing.

    `models` are the patterns of what the key may use, `priced`: what has a price only; `created` is Unix seconds.
    `metered`: what is said counts, even where the provider does not count it to its end.
    """

    id: str
    created: int
    client: Dialect
    request: Request
    models: tuple[str, ...]
    forwarded: Mapping[str, str]
    session: SessionAsk | None = None
    affinity: str = ""
    priced: bool = False
    metered: bool = False
    trace: Trace | None = None

    def headers_for(self, target: Target) -> Mapping[str, str]:
        """What a target is sent of the client's headers, and where its spans belong. An attempt begins."""
        forwarded = self.forwarded if target.dialect == self.client.NAME else {}
        return {**forwarded, **self.trace.attempt(target)} if self.trace else forwarded

    @property
    def head(self) -> ReplyHead:
        """What a reply made by us begins with."""
        return ReplyHead(self.id, self.created, self.request)


def reply_head(ask: Ask, recall: Recall | None) -> ReplyHead:
    """What a reply made by us begins with: under its stored response's name, if it has one."""
    if recall is None or recall.ask.stored is None:
        return ask.head
    if not recall.name or recall.state == "unsaved":
        ask.request.fields["store"] = Raw(b"false")
    if not recall.name:
        return ask.head
    return ReplyHead(recall.name, ask.created, ask.request)


class Outlet(Protocol):
    """The way back to the client. One that left is told to the watch, never raised here."""

    async def start(self, headers: list[tuple[str, str]]) -> None:
        """Status 200 and the headers of a stream, unless a keep-alive has sent them already."""

    async def write(self, data: bytes) -> None:
        """Some of a stream; waits while the client is slow."""

    async def finish(self, data: bytes) -> None:
        """The end of a stream."""

    async def whole(self, headers: list[tuple[str, str]], body: bytes) -> None:
        """A whole reply, with status 200."""


class Gateway(Struct, frozen=True, kw_only=True):
    """What every exchange of a worker works with. `turns` counts requests, `wall` tells Unix seconds.

    `wait`: how long a request waits where all targets cool down, in seconds.
    """

    table: Table
    fleet: Fleet
    upstream: Upstream
    memory: Memory | None
    turns: Iterator[int]
    attempts: int
    max_turns: int
    wall: Callable[[], float]
    wait: float = 0.0


Arrival = tuple[bytes, list[Event]]
"""A piece of a provider's stream, and the events in it."""


class Answer(Struct, kw_only=True):
    """A target that serves: a whole `reply`, or a stream whose first `events` were decoded from `data`.

    `started` is the watch's time at which the attempt began, `idle` how long its stream may be silent, in seconds.
    """

    target: Target
    trial: Trial
    fitted: Fitted
    response: httpx.Response
    started: float
    idle: float
    route: Route = Route("", ())
    data: bytes = b""
    events: list[Event] = []
    reply: Reply | None = None
    decoder: ReplyDecoder | None = None
    pieces: Pieces | None = None

    @property
    def begun(self) -> Arrival:
        """What is there of a stream: what was read ahead, or the whole reply of a provider that does not stream."""
        return (self.data, self.events) if self.decoder is not None else (b"", events_of(self.reply or Reply()))

    async def let_go(self) -> None:
        """The reply has ended, what is left of the answer does not matter."""
        if self.pieces is not None:
            await self.pieces.let_go()

    def note(self, record: Record, route: Route, now: float) -> None:
        """By which route it came, and what the record of the exchange says of who serves it."""
        self.route, target, fitted = route, self.target, self.fitted
        record.provider, record.provider_dialect, record.upstream_model = target.provider, target.dialect, target.model
        record.dropped, record.injected, record.trimmed = fitted.dropped, fitted.injected, fitted.trimmed
        if self.decoder is not None:
            record.first = now - self.started


class Open(Struct, frozen=True, kw_only=True):
    """An exchange whose answer has begun."""

    gateway: Gateway
    ask: Ask
    recall: Recall | None
    answer: Answer
    watch: Watch
    record: Record

    @property
    def verbatim(self) -> bool:
        """Whether client and provider speak the same dialect: then bytes pass unchanged."""
        streamed = self.answer.decoder is not None
        return self.answer.target.dialect == self.ask.client.NAME and streamed == self.ask.request.stream

    @property
    def limit(self) -> int:
        """How much of the reply is collected: nothing without a session, else at most what a session may hold."""
        return self.gateway.memory.max_bytes if self.recall is not None and self.gateway.memory else 0

    @property
    def head(self) -> ReplyHead:
        """What a reply made by us begins with."""
        return reply_head(self.ask, self.recall)

    def note(self, reply: Reply, said: int, *, incomplete: bool) -> None:
        """What the record says of the reply; of a stream `said` are the characters."""
        record, answer = self.record, self.answer
        record.served(reply.usage, self.watch.now - answer.started, incomplete=incomplete)
        estimate = None
        if incomplete or reply.usage is None:
            estimate = estimated(reply.usage, joined(answer.fitted.body), said or len(answer.data))
        record.priced(answer.target.prices, estimate)

    def passage(self) -> "Passage":
        """How the stream reaches the client."""
        client, request = self.ask.client, self.ask.request
        if self.verbatim:
            named = self.recall is not None and self.recall.name
            return Passage(None, Relabeller(self.head) if named else client.relay_filter(request))
        return Passage(client.reply_encoder(self.head), None)

    def body(self, reply: Reply) -> bytes:
        """A whole reply for the client."""
        if not self.verbatim:
            return self.ask.client.encode_reply(reply, self.head)
        named = self.recall is not None and self.recall.name
        return relabelled(self.answer.data, self.head) if named else self.answer.data

    def afterword(self) -> bytes:
        """A comment at the end of a stream whose turn could not be stored (rule S14); Google's SDK refuses comments."""
        unsaved = self.recall is not None and self.recall.state == "unsaved" and self.ask.client.NAME != "gemini"
        return b": the turn was not saved in its session\n\n" if unsaved else b""

    def headers(self) -> list[tuple[str, str]]:
        """What is known by now, for the client (rule S14)."""
        told = [
            ("x-gateway-provider", self.answer.target.provider),
            ("x-gateway-attempts", str(len(self.record.attempts))),
        ]
        if self.answer.fitted.dropped:
            told.append(
                ("x-gateway-dropped", ", ".join(filter(_NAME.fullmatch, self.answer.fitted.dropped))[:_LONGEST])
            )
        return told + (self.recall.headers(self.answer.fitted) if self.recall else [])


class Passage:
    """Carries a stream to the client: verbatim, less what the gateway itself asked for, or encoded anew.

    Of a verbatim stream only whole events pass, so that one that fails can still be ended by an event of ours.
    """

    def __init__(self, encoder: ReplyEncoder | None, relay_filter: RelayFilter | None) -> None:
        self._encoder = encoder
        self._filter = relay_filter or WholeEvents()

    def carry(self, data: bytes, events: list[Event]) -> bytes:
        """The client's bytes for a piece of the provider's stream and the events in it."""
        if self._encoder is None:
            return self._filter.feed(data)
        said = events[:-1] if events and isinstance(events[-1], Failed) else events
        return b"".join([self._encoder.encode(event) for event in said])

    def told(self, reply: Reply) -> Reply:
        """The reply as it was carried: in the provider's own words where those were passed on."""
        said = self._filter.said if isinstance(self._filter, Relabeller) else ()
        return replace(reply, said=said) if said else reply

    def close(self) -> bytes:
        """What was held back."""
        return self._filter.close()

    def fail(self, error: GatewayError, fresh: ReplyEncoder) -> bytes:
        """How a stream ends that cannot be completed; `fresh` has encoded nothing yet.

        Of a verbatim stream a provider's own error event has passed already.
        """
        if self._encoder is not None:
            return self._encoder.error(error) or fresh.error(error)
        passed = isinstance(error, UpstreamError) and error.answer is not None
        return self._filter.close() if passed else self._filter.fail(fresh.error(error))
