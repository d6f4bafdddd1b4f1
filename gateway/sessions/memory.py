"""A request's way through its session: recalled before the call, committed after it (rules S1 to S15).

Everything that the store may do wrong ends here: by policy the request goes on without memory, or is refused,
and in either case the client, the metrics and the log are told.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from math import inf
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from gateway.config import Config
from gateway.conversation import Message, Reply, Said, Stop, ToolCall
from gateway.dialects.dialect import Dialect, Request
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError, Kind, SessionChanged, SessionLimit, StoreError, StoreUnavailable
from gateway.metrics import Metrics, Record
from gateway.routing.prices import cost_of
from gateway.routing.table import Target
from gateway.sessions import chains
from gateway.sessions.digest import PLAIN, Digests
from gateway.sessions.fitting import Fitted, turn_tokens
from gateway.sessions.history import Aligned, Asked, Mode, align, has_replies
from gateway.sessions.hold import Hold
from gateway.sessions.store import (
    Append,
    Appended,
    Head,
    Limits,
    Mark,
    Pin,
    Reservation,
    Reserved,
    Responded,
    Session,
    SessionKey,
    SessionStore,
    Turn,
)

log = logging.getLogger("gateway.sessions")

_T = TypeVar("_T")

_HURRY = 0.1
"""The share of an exchange's time for the store from which on the clock is watched."""


class SessionAsk(Struct, frozen=True, kw_only=True):
    """What a request's headers say about its session. `made`: the gateway chose the id (`X-Session-ID: new`).

    `token` is unique to the exchange. `retry_key` and `body` are digests of the Idempotency-Key, "" for none, and of
    the request. `stored` is what a Responses request says about state.
    """

    key: SessionKey
    stored: chains.Stored | None = None
    token: str = ""
    retry_key: str = ""
    body: str = ""
    mode: Mode = "auto"
    turn: int | None = None
    retry: bool = False
    made: bool = False


class Recall(Struct, kw_only=True):
    """One request's session while it is served. `state` is the value of X-Session-State.

    `aligned` is None if the request goes on without memory. `replayed` is the stored turn that answers it.
    `name` is the stored response's, "" where there is none to ask for; `place` is set if it answers another one.
    """

    ask: SessionAsk
    state: str
    aligned: Aligned | None = None
    head: Head | None = None
    ended: bool = False
    replayed: Turn | None = None
    committed: Appended | None = None
    hold: Hold | None = None
    place: chains.Place | None = None
    name: str = ""
    seconds: float = 0.0
    loaded: float | None = None

    @property
    def pin(self) -> Pin | None:
        """The session's preferred target."""
        return self.head.pin if self.head else None

    @property
    def seat(self) -> tuple[str, str] | None:
        """The same, as routing knows it."""
        pin = self.pin
        return pin.seat if pin else None

    @property
    def cut(self) -> int:
        """The first turn that is still injected."""
        return self.head.cut if self.head else 0

    def headers(self, fitted: Fitted | None) -> list[tuple[str, str]]:
        """What the client is told (rule S14)."""
        told = [("x-session-id", self.ask.key.id), ("x-session-state", self.state)]
        if self.aligned is not None and fitted is not None:
            history = f"injected={fitted.injected}, trimmed={fitted.trimmed}, replaced={self.aligned.replaced}"
            told.append(("x-session-history", history))
        number = self.committed.number if self.committed else self.aligned.replay if self.aligned else None
        if number is not None:
            told.append(("x-session-turn", str(number)))
        return told

    def note(self, record: Record) -> None:
        """What the record of the exchange says of its session."""
        record.session, record.store = self.state, self.seconds
        record.session_bytes = self.head.size if self.head else 0
        if self.aligned is not None:
            record.replaced = self.aligned.replaced

    def replayed_reply(self) -> Reply:
        """The stored reply, in neutral form."""
        turn = self.replayed
        if turn is None:
            return Reply()
        origin = turn.reply.origin
        messages = DIALECTS[turn.reply.dialect].decode_messages(turn.reply.messages, origin)
        return Reply(
            model=origin.model if origin else "",
            parts=tuple(part for message in messages for part in message.parts),
            stop=Stop(turn.stop) if turn.stop else Stop.END,
            usage=turn.usage,
            said=turn.reply.messages,
        )


class Answered(Struct, frozen=True, kw_only=True):
    """What became of a turn upstream: all that a commit needs. `elapsed` in seconds; `pin` None keeps the pin."""

    token: str
    reply: Reply
    target: Target
    fitted: Fitted
    elapsed: float
    incomplete: bool = False
    overflown: bool = False
    pin: Pin | None = None


class Memory:
    """Recalls and commits, over one store."""

    def __init__(
        self,
        store: SessionStore,
        config: Config,
        metrics: Metrics,
        clock: Callable[[], float],
        digests: Digests = PLAIN,
    ) -> None:
        self.store = store
        self._digests = digests
        self._sessions = config.sessions
        self._alone = config.sessions.conflict == "reject"
        self._window = config.history.max_turns
        self._keep = float(config.routing.deadline)
        self._budget = float(config.sessions.redis.timeout) if config.sessions.store == "redis" else inf
        self._metrics = metrics
        self._clock = clock
        self._limits = Limits(
            ttl=float(config.sessions.ttl),
            max_age=float(config.sessions.max_age),
            max_turns=config.sessions.max_turns,
            max_bytes=int(config.sessions.max_bytes),
            max_sessions=config.sessions.max_sessions,
        )

    @property
    def digests(self) -> Digests:
        """What makes and knows the sessions' digests."""
        return self._digests

    @property
    def limits(self) -> Limits:
        """Rule S12's."""
        return self._limits

    @property
    def max_bytes(self) -> int:
        """What a session may hold at most."""
        return self._limits.max_bytes

    async def recall(self, ask: SessionAsk, client: Dialect, request: Request) -> Recall:
        """Load the session and align the request with it. Raises GatewayError."""
        asked = Asked(
            dialect=client,
            spoken=client.spoken(request),
            mode=ask.mode,
            turn=ask.turn,
            retry=ask.retry,
            digests=self._digests,
        )
        if sum(map(len, asked.spoken.messages)) > self._limits.max_bytes:
            raise GatewayError(
                Kind.TOO_LARGE, f"The messages are larger than a session may be ({self._limits.max_bytes} bytes)."
            )
        recall = Recall(ask=ask, state="new")
        self._metrics.turns += 1
        try:
            if not ((ask.retry_key or self._alone) and await self._made_already(recall)):
                recall.aligned = await self._aligned(asked, recall)
        except StoreUnavailable as error:
            await self.end(recall)
            return self._without(asked, recall, error)
        except BaseException as error:
            await self.end(recall)
            if ask.stored is None or ask.stored.asked or getattr(error, "code", "") != "session_limit":
                raise
            recall.state = "unsaved"  # nobody asked for it to be stored: no reason to refuse
            return recall
        if recall.replayed is not None:
            recall.state = "replayed"
        if ask.stored is not None or recall.replayed is not None:
            recall.name = self._name(recall)
        return recall

    async def end(self, recall: Recall) -> None:
        """The exchange is over, however it ended, or goes on without memory."""
        if not recall.ended:
            recall.ended = True
            self._metrics.turns -= 1
        if recall.hold is not None:
            left = max(self._budget - recall.seconds, 0.0) if self._budget < inf else None
            await recall.hold.end(stored=recall.committed is not None, within=left)

    async def _made_already(self, recall: Recall) -> bool:
        """Reserve what the turn needs for itself; whether its Idempotency-Key has made it before (rule S10)."""
        ask = recall.ask
        lease = self._alone and not ask.made and not (ask.stored and ask.stored.previous)
        if not (lease or ask.retry_key):
            return False
        wish = Reservation(holder=ask.token, lease=lease, retry=ask.retry_key, body=ask.body)
        recall.hold = Hold(self.store, ask.key, wish)
        reserved = await self._timed("reserve", self._taken(recall.hold, ask), recall)
        if reserved.outcome != "stored":
            return False
        recall.replayed = await self._turn(reserved.number, recall)
        if recall.replayed is None:
            message = "The turn that this Idempotency-Key made was taken out of the session just now; ask again."
            raise GatewayError(Kind.CONFLICT, message, code="idempotency_turn_gone", retry_after=1.0)
        recall.committed = Appended(reserved.number, "", 0, again=True)
        return True

    @staticmethod
    async def _taken(hold: Hold, ask: SessionAsk) -> Reserved:
        try:
            return await hold.take()
        except GatewayError as error:
            if error.code == "session_busy" and ask.stored is not None and ask.stored.conversation:
                error.code = "conversation_locked"  # as the vendor says it
            raise

    @staticmethod
    def _name(recall: Recall) -> str:
        stored, turn = recall.ask.stored, recall.replayed
        token = turn.response.token if turn is not None and turn.response is not None else ""
        if not token and stored is not None and stored.keep and recall.replayed is None:
            token = stored.token
        number = recall.head.next if recall.head else 1
        if recall.committed is not None:
            number = recall.committed.number
        elif recall.place is not None:
            number = recall.place.number
        elif recall.aligned is not None:
            number = recall.aligned.replay or recall.aligned.replace_from or number
        return str(chains.Name(token, number, recall.ask.key.id)) if token else ""

    async def _followed(self, asked: Asked, recall: Recall, stored: chains.Stored) -> Aligned:
        """Goes on from a stored response, whose instructions do not come along (rule S6)."""
        wanted = recall.ask.key, stored.previous
        keep, shared = self._keep, max(self._keep, self._limits.ttl)
        path = chains.follow(self.store, wanted, turns=self._window + 1, keep=keep, shared=shared)
        found = await self._timed("load", path, recall)
        if found is None:
            message = f"Previous response with id '{stored.previous[:200]}' not found."
            code = "previous_response_not_found"
            raise GatewayError(Kind.INVALID, message, param="previous_response_id", code=code)
        recall.head, recall.state = found.session.head, "resumed"
        recall.place = replace(found.place, key=None) if recall.ask.retry_key else found.place
        if recall.place.key is not None:
            recall.ask = replace(recall.ask, key=recall.place.key)
        return align(asked, found.session)

    async def _aligned(self, asked: Asked, recall: Recall) -> Aligned:
        stored = recall.ask.stored
        if stored is not None and stored.previous:
            return await self._followed(asked, recall, stored)
        key, replies = recall.ask.key, asked.mode != "append" and has_replies(asked)
        wanted = 0 if replies else self._window + 1
        session: Session | None = None
        if not recall.ask.made:
            recall.loaded = self._clock()
            load = self.store.load(key, turns=wanted, marks=replies or asked.turn is not None, keep=self._keep)
            session = await self._timed("load", load, recall)
        if session is None and stored is not None and stored.conversation:
            message = f"Conversation with id '{key.id}' not found."
            raise GatewayError(Kind.NOT_FOUND, message, param="conversation", code="conversation_not_found")
        if session is None and self._limits.max_sessions:
            await self._admit(recall)
        aligned = align(asked, session)
        if session is None:
            return aligned
        recall.head, recall.state = session.head, "resumed"
        if aligned.replay is not None:
            recall.replayed = session.turns.get(aligned.replay) or await self._turn(aligned.replay, recall)
            if recall.replayed is None:
                return replace(aligned, replay=None)
        elif aligned.mode == "delta" and aligned.marks and not aligned.turns:
            newest = max(aligned.marks)
            first = max(min(aligned.marks), session.head.cut, newest - self._window)
            turns = self.store.turns(key, first=first, count=newest - first + 1)
            return replace(aligned, turns=await self._timed("turns", turns, recall))
        return aligned

    async def _admit(self, recall: Recall) -> None:
        """Raises GatewayError if the owner has as many sessions as it may have (rule S12)."""
        try:
            await self._timed("admit", self.store.admit(recall.ask.key, self._limits), recall)
        except SessionLimit as full:
            raise GatewayError(full.kind, full.message, code="session_limit") from None

    async def _turn(self, number: int, recall: Recall) -> Turn | None:
        turns = await self._timed("turns", self.store.turns(recall.ask.key, first=number, count=1), recall)
        return turns.get(number)

    def _without(self, asked: Asked, recall: Recall, error: StoreUnavailable) -> Recall:
        """The store is down (rule S15): refuse, or serve without memory and say so."""
        needs_history = False
        try:
            align(asked, None)
        except GatewayError as unknown:
            needs_history = unknown.code == "unknown_tool_call"
        stored = recall.ask.stored
        if stored is not None and (stored.previous or stored.conversation):
            needs_history = True
        if needs_history or self._sessions.on_failure == "reject":
            raise GatewayError(
                Kind.UNAVAILABLE,
                "The session store is not available, and this request cannot be answered without it; try again.",
                code="session_store_unavailable",
                retry_after=error.retry_after or 1.0,
            ) from None
        log.warning("session %s is served without history: %s", recall.ask.key.tag, error.message)
        recall.state = "stateless"
        return recall

    async def commit(self, recall: Recall, answered: Answered) -> None:
        """Store the turn (rule S3), whatever cancels the task meanwhile.

        Raises GatewayError only where `on_failure` is `reject`.
        """
        if recall.aligned is None or (answered.incomplete and self._sessions.partial_turns == "drop"):
            return
        stored = recall.ask.stored
        if stored is not None and stored.previous and not stored.keep:
            return
        if answered.overflown:
            recall.state = "unsaved"
            self._metrics.store_failed("append", "SessionTooLarge")
            return
        append = self._append(recall, recall.aligned, answered)
        if append is None:
            return
        kind = "incomplete" if answered.incomplete else "replacing" if append.replace_from is not None else "complete"
        try:
            recall.committed = await self._timed("append", self._put(recall, append), recall)
        except asyncio.CancelledError:  # the gateway is stopped in a hurry; what is put twice is stored once
            with suppress(StoreError):
                recall.committed = await asyncio.shield(self._timed("append", self._put(recall, append), recall))
                self._metrics.stored(kind)
            raise
        except StoreError as error:
            recall.state = "unsaved"
            log.warning("a turn of session %s is not saved: %s", recall.ask.key.tag, error.message)
            if self._sessions.on_failure == "reject":
                raise GatewayError(
                    Kind.UNAVAILABLE,
                    "The reply could not be stored in its session; try again.",
                    code="session_unsaved",
                    retry_after=1.0,
                ) from None
            return
        self._metrics.stored(kind)

    def _put(self, recall: Recall, append: Append) -> Coroutine[Any, Any, Appended]:
        place = recall.place
        return self.store.append(recall.ask.key, append) if place is None else self._placed(recall, place, append)

    async def _placed(self, recall: Recall, place: chains.Place, append: Append) -> Appended:
        """Store the answer to a response where its chain goes on."""
        if place.key is not None:
            try:
                return await self.store.append(place.key, chains.placed(append, place))
            except SessionChanged:  # another answer to the same response was stored first
                pass
        recall.ask = replace(recall.ask, key=place.branch)
        return await self.store.append(place.branch, chains.branched(append, place))

    async def unconfirmed(self, recall: Recall, token: str) -> None:
        """The end of a committed reply never reached the client: the same question next replays it (rule S8)."""
        if recall.committed is not None:
            flag = self.store.flag(recall.ask.key, recall.committed.number, token, unconfirmed=True)
            try:
                await self._timed("flag", flag, recall)
            except StoreError as error:
                log.warning("a turn of session %s stays confirmed: %s", recall.ask.key.tag, error.message)

    def _append(self, recall: Recall, aligned: Aligned, answered: Answered) -> Append | None:
        provider, origin = DIALECTS[answered.target.dialect], answered.target.origin
        parts, stored = answered.reply.parts, recall.ask.stored
        said = answered.reply.said or provider.encode_messages([Message("assistant", parts)], origin).messages
        if not parts or not said:
            return None
        turn = Turn(
            question=Said(aligned.dialect, aligned.question),
            reply=Said(provider.NAME, said, origin),
            usage=answered.reply.usage,
            stop=(answered.reply.stop or Stop.END) if not answered.incomplete else "",
            elapsed=round(answered.elapsed * 1000),
            incomplete=answered.incomplete,
            cost=cost_of(answered.target.prices, answered.reply.usage),
            replaced=aligned.replaced,
            response=Responded(stored.token, stored.echo) if stored is not None and stored.keep else None,
        )
        head = recall.head
        return Append(
            token=answered.token,
            turn=turn,
            mark=self._mark(aligned, answered, turn),
            limits=self._limits,
            generation=head.generation if head else None,
            revision=head.revision if head else 0,
            replace_from=aligned.replace_from,
            system=aligned.brought_system,
            preamble=aligned.brought_preamble,
            tools=aligned.brought_tools,
            resends=True if aligned.mode == "resend" else None,
            cut=answered.fitted.cut or None,
            pin=answered.pin,
            pin_was=recall.pin,
            messages=len(aligned.question) + len(said),
            cost=turn.cost,
            since=None if recall.loaded is None else self._clock() - recall.loaded,
            reserved=recall.hold.reservation if recall.hold else None,
        )

    def _mark(self, aligned: Aligned, answered: Answered, turn: Turn) -> Mark:
        parts = answered.reply.parts
        return replace(
            aligned.mark,
            reply=self._digests.of([*aligned.prefill, Message("assistant", parts)]),
            tokens=turn_tokens(aligned, turn, answered.fitted),
            incomplete=answered.incomplete,
            calls=tuple([(part.id, part.name) for part in parts if isinstance(part, ToolCall)]),
        )

    async def _timed(self, operation: str, work: Awaitable[_T], recall: Recall) -> _T:
        started = self._clock()
        try:
            result = await (work if recall.seconds < self._budget * _HURRY else self._hurried(work, recall))
        except StoreError as error:
            self._metrics.store_failed(operation, type(error).__name__)
            raise
        finally:
            took = self._clock() - started
            recall.seconds += took
        self._metrics.store_took(operation, took)
        return result

    async def _hurried(self, work: Awaitable[_T], recall: Recall) -> _T:
        """An exchange has one budget for the store (rule S15): what took long leaves less to what comes after it."""
        try:
            async with asyncio.timeout(max(self._budget - recall.seconds, 0.0)):
                return await work
        except TimeoutError:
            raise StoreUnavailable("The session store did not answer in time.", code="store_unavailable") from None
