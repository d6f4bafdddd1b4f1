"""What a session is, and what a store of sessions promises. Rules S1 to S16 are in ARCHITECTURE.md."""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Literal, Protocol, get_args

from msgspec import UNSET, Raw, Struct, UnsetType

from gateway.conversation import Origin, Said, Usage

FORMAT = 1
"""The version of what is stored. Older versions stay readable; a newer one is refused, never guessed at."""


class SessionKey(Struct, frozen=True, dict=True):
    """Whose session (rule S2): the owner of the client key, the owner's end user ("" for none), the id."""

    owner: str
    user: str
    id: str

    @cached_property
    def tag(self) -> str:
        """22 characters of base64url over owner, user and id: the only thing that reaches a key or a file name."""
        whole = f"{self.owner}\0{self.user}\0{self.id}".encode()
        return urlsafe_b64encode(sha256(whole).digest())[:22].decode()


class Mark(Struct, frozen=True, gc=False, array_like=True):
    """What alignment needs of a turn without loading it.

    `question` and `reply` are digests. `tokens` is what the turn adds to a prompt (the provider's count, or an
    estimate), `size` the stored bytes. `fresh`: it begins with a user message, not with tool results, so that
    history may be cut in front of it. `incomplete` and `unconfirmed` are rule S8's. `calls` are the ids and names of
    the reply's tool calls, `results` the ids of the calls that the question answers.
    """

    question: bytes
    reply: bytes
    tokens: int = 0
    size: int = 0
    fresh: bool = True
    incomplete: bool = False
    unconfirmed: bool = False
    calls: tuple[tuple[str, str], ...] = ()
    results: tuple[str, ...] = ()


class Responded(Struct, frozen=True, gc=False, array_like=True):
    """That a turn is a stored response: its `token`, as in its id, and the request's parameters, a JSON object.

    `after`, in the first turn of a branch: what it goes on from, nearest first, each a session's id with the first
    and the last of its turns that count. Branches share those turns, they do not copy them.
    """

    token: str
    echo: bytes = b"{}"
    after: tuple[tuple[str, int, int], ...] = ()


class Turn(Struct, frozen=True, gc=False, kw_only=True):
    """One turn, whole: what the client said, what was answered, by whom.

    `at` is Unix milliseconds by the store's clock, `elapsed` is in milliseconds.
    `stop` is a value of conversation.Stop. `replaced`: it took the place of so many stored turns. `response` is set
    if the turn is a stored response. `cost` is in dollars, None if it is unknown.
    """

    question: Said
    reply: Said
    usage: Usage | None = None
    stop: str = ""
    at: int = 0
    elapsed: int = 0
    incomplete: bool = False
    replaced: int = 0
    format: int = FORMAT
    response: Responded | None = None
    cost: float | None = None


class Pin(Struct, frozen=True, gc=False, array_like=True):
    """The preferred target: a provider and one of its credentials, by id."""

    provider: str
    credential: str

    @property
    def seat(self) -> tuple[str, str]:
        """The pair, as routing knows it."""
        return self.provider, self.credential


class Totals(Struct, frozen=True, gc=False, kw_only=True):
    """Sums over the session's life, trimmed turns included, replaced ones too: they were paid for.

    `cost` is in dollars and leaves out `unpriced` turns, whose cost is unknown.
    """

    turns: int = 0
    messages: int = 0
    usage: Usage = Usage()
    cost: float = 0.0
    unpriced: int = 0


class Head(Struct, frozen=True, kw_only=True):
    """A session without its turns. Turns `first` to `next - 1` exist; times are Unix milliseconds.

    `generation` is random at creation, `revision` counts every change. `resends` (rule S5): the client keeps its
    own history. `cut` is the first turn that is still injected (rule S13), 0 when nothing was cut.
    `system`, `preamble` and `tools` hold what the newest request brought; `tools.messages` has one item.
    `size` is the bytes of all stored turns. `kept`: an operator wants it to live until then, 0 if none does.
    """

    key: SessionKey
    generation: str
    revision: int
    first: int
    next: int
    created: int
    updated: int
    expires: int
    size: int = 0
    cut: int = 0
    resends: bool = False
    system: Said | None = None
    preamble: Said | None = None
    tools: Said | None = None
    pin: Pin | None = None
    last: Origin | None = None
    totals: Totals = Totals()
    context: Raw = Raw(b"{}")
    kept: int = 0


class Memo:
    """Room for what was made of a session's turns, which the loads share that go on from one another."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: object = None

    def __eq__(self, other: object) -> bool:
        """It is no part of what a session is."""
        return isinstance(other, Memo)

    __hash__ = None  # type: ignore[assignment]


class Session(Struct, frozen=True, kw_only=True):
    """What a load returns: the head; marks by turn number; the newest turns, by number, contiguous up to the last.

    `marks` always has the last two turns' marks and those of every turn in `turns`; all of them if asked for.
    `stamp` names the last turn as it was stored, "" if the store cannot tell what has changed since; `memo` is there
    with it.
    """

    head: Head
    marks: Mapping[int, Mark]
    turns: Mapping[int, Turn]
    stamp: bytes = b""
    memo: Memo | None = None


class Limits(Struct, frozen=True, kw_only=True):
    """Rule S12. Times in seconds, sizes in bytes; `max_sessions` 0 is none."""

    ttl: float
    max_age: float
    max_turns: int
    max_bytes: int
    max_sessions: int = 0


LEASE = 15.0
"""Seconds that a reservation outlives its last renewal: so long does a killed worker's turn stand in the way."""
KEPT = 3600.0
"""Seconds that a retry key is remembered after its turn."""


class Reservation(Struct, frozen=True, kw_only=True):
    """What a turn wants for itself while it runs (rules S9 and S10).

    `holder` is the token of the append that it will end in. `lease`: no other turn that wants the session's lease may
    run beside it. `retry` is a digest of the client's Idempotency-Key ("" for none), `body` one of what was asked;
    both are of [A-Za-z0-9_-]. It ends `seconds` after its last renewal; once its turn is stored, the retry key leads
    to that turn for `kept` seconds, as long as the turn lives.
    """

    holder: str
    lease: bool = False
    retry: str = ""
    body: str = ""
    seconds: float = LEASE
    kept: float = KEPT


class Append(Struct, frozen=True, kw_only=True):
    """A turn to store, and everything that changes with it in the same step.

    `token` is unique to the exchange: the same append sent twice stores once.
    `generation` is the one that was loaded, None if there was no session; `revision`, 0 for none, counts with
    `replace_from` and with `reserved`.
    `replace_from`: this turn takes the place of all stored turns from that number on; None appends.
    `system`, `preamble`, `tools`: None keeps what the session has. `resends` can be set, never cleared by None.
    `since` is how many seconds ago the load was that found nothing: a session that was deleted before may be made
    anew; None means that it is not known. `pin` is set if the session's pin still equals `pin_was` (compare and set);
    None keeps it. `drop_pin` with the
    same comparison removes it. `cost` None: it is unknown.
    `reserved` is the reservation that the turn runs under. The append ends it in the same step: the lease is free, and
    the retry key leads to this turn, or is free again if the turn is `incomplete`.
    """

    token: str
    turn: Turn
    mark: Mark
    limits: Limits
    generation: str | None = None
    revision: int = 0
    replace_from: int | None = None
    system: Said | None = None
    preamble: Said | None = None
    tools: Said | None = None
    resends: bool | None = None
    cut: int | None = None
    pin: Pin | None = None
    pin_was: Pin | None = None
    drop_pin: bool = False
    messages: int = 0
    cost: float | None = 0.0
    since: float | None = None
    reserved: Reservation | None = None


class Appended(Struct, frozen=True):
    """Turn `number` is stored and durable (`again`: had been before); `trimmed` turns went for the caps.

    For who knows the session: `stamp` names the turn as `Session.stamp` does, and `behind` what it was put behind, ""
    if that is not told. `at` and the session's `expires` are Unix milliseconds, `size` the turn's stored bytes.
    """

    number: int
    generation: str
    revision: int
    trimmed: int = 0
    again: bool = False
    stamp: bytes = b""
    behind: bytes = b""
    at: int = 0
    expires: int = 0
    size: int = 0


class Patch(Struct, frozen=True, kw_only=True):
    """What an operator changes in a session, in one step; what is left out stays.

    `generation`: only this one is meant. `keep`: the session lives for so many seconds from now, whatever its turns
    and `max_age` would give it; further turns can only prolong that. `pin` None removes the pin. `context` is a JSON
    object. `drop_last`: so many of the newest turns go; the sums stay, since they were paid for.
    """

    generation: str | None = None
    keep: float | None = None
    pin: Pin | UnsetType | None = UNSET
    context: Raw | None = None
    drop_last: int = 0


Outcome = Literal["granted", "busy", "running", "other", "stored"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Reserved(Struct, frozen=True):
    """What became of a wish to run.

    `granted`; `busy`: another turn has the lease; `running`: a turn with this retry key runs; `other`: the retry key
    was used with another body; `stored`: the retry key made turn `number`. Only `granted` reserves anything.
    """

    outcome: Outcome
    number: int = 0


class Wanted(Struct, frozen=True, kw_only=True):
    """Which sessions a list is to have; None is any.

    `provider` is the preferred one or that of the last turn, `model` the upstream model of the last turn. `since` and
    `until` bound the last use, in Unix milliseconds.
    """

    user: str | None = None
    provider: str | None = None
    model: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def is_picky(self) -> bool:
        """Whether sessions must be looked at to know."""
        return any(value is not None for value in (self.user, self.provider, self.model))

    def passes(self, head: Head) -> bool:
        """Whether this session is one of them."""
        since, until = self.since, self.until
        in_time = (since is None or head.updated >= since) and (until is None or head.updated <= until)
        return in_time and self.fits(head.key.user, head.pin, head.last)

    def fits(self, user: str, pin: Pin | None, last: Origin | None) -> bool:
        """Whether its user, provider and model are asked for."""
        return (
            self.user in (None, user)
            and self.provider in (None, pin and pin.provider, last and last.provider)
            and self.model in (None, last and last.model)
        )


ANY = Wanted()


class Listed(Struct, frozen=True, kw_only=True):
    """A page of sessions, newest use first. `next` continues it, None at the end; so many were `looked` at for it."""

    heads: tuple[Head, ...]
    next: str | None = None
    looked: int = 0


class SessionStore(Protocol):
    """Where sessions live. Several processes share one store; each method is one atomic step.

    Promised: what `append` returned is seen by every later `load`, from any process. A turn is stored whole or not
    at all. Numbers are contiguous; a turn that replaces takes the number of the first that it replaces. An expired
    session does not exist.
    Cost is proportional to what is given or returned, never to the history behind it.

    Every method raises StoreUnavailable when the store is down, slow or refusing, within the store's own time
    budget; nothing else leaks out of an implementation.
    """

    @property
    def name(self) -> Literal["file", "redis"]:
        """Which store this is, for metrics and logs."""

    async def load(
        self, key: SessionKey, *, turns: int, marks: bool, keep: float, below: int = 0, known: Session | None = None
    ) -> Session | None:
        """The session with its newest `turns` turns (0: none, at most what fits in memory budgets), or None.

        `below`, if not 0: those of the `turns` numbers below it that there are, with their marks alone (`marks` is
        False then).
        `marks`: the marks of all turns. The session's life is extended to at least `keep` seconds from now.
        `known` is what an earlier load returned: a store may leave unread what cannot have changed since.
        """

    async def append(self, key: SessionKey, append: Append) -> Appended:
        """Store a turn, making the session if `generation` is None and there is none.

        Raises SessionGone if a generation was loaded and is not there any more, or nothing was loaded and the
        session was deleted since (rule S11); SessionChanged if turns were to be replaced and
        `revision` is not the current one; SessionLimit; SessionTooLarge if the turn alone exceeds `max_bytes`.
        Raises SessionBusy if the turn's reservation has passed to another, or has run out and the session has
        changed since: of two turns that both believed to be alone only one is stored.
        """

    async def reserve(self, key: SessionKey, reservation: Reservation) -> Reserved:
        """Reserve for one turn, in one step, or say what is in the way. There need be no session yet."""

    async def renew(self, key: SessionKey, reservation: Reservation) -> bool:
        """Let the reservation last on; False if any of it is not the holder's any more. Nothing is taken back."""

    async def release(self, key: SessionKey, reservation: Reservation) -> None:
        """Give up what the holder still has of it: its turn failed, and a repeat may run."""

    async def admit(self, key: SessionKey, limits: Limits) -> None:
        """Raises SessionLimit if `key` has no session and its owner as many as it may have. Two at once may pass."""

    async def flag(self, key: SessionKey, number: int, token: str, *, unconfirmed: bool) -> bool:
        """Set a turn's `unconfirmed` mark, if turn `number` is still the one that `token` appended."""

    async def turns(self, key: SessionKey, *, first: int, count: int) -> Mapping[int, Turn]:
        """Turns by number, from `first` on, for a reader; does not touch the session's life."""

    async def head(self, key: SessionKey) -> Head | None:
        """The head alone; does not touch the session's life."""

    async def delete(self, key: SessionKey) -> bool:
        """Delete at once, with a tombstone (rule S11); whether there was one."""

    async def owners(self, id: str) -> list[SessionKey]:
        """Every session with this id, whoever owns it: for the management API."""

    async def cleanup(self) -> int:
        """Remove what has expired; the number removed. A store with native expiry answers 0."""

    async def ping(self) -> None:
        """Raises StoreUnavailable if the store cannot serve."""

    async def close(self) -> None:
        """Let go of connections and files."""

    async def patch(self, key: SessionKey, patch: Patch) -> bool:
        """Change a session; whether there is one. Not a use: `updated` stays.

        Raises SessionGone if `patch.generation` is given and the session has another.
        """

    async def write(self, key: SessionKey, session: Session, *, over: Head | bool = False) -> bool:
        """Make a session whole, with these turns and marks and what the head says, in one step that all see at once.

        `head.first` to `head.next - 1` must be there. The key, `generation` and `revision` are new; times, `expires`
        and sums are the head's. `over`: in the place of one that is there, whose running turns then find it gone;
        without it nothing is written over, and False says so. If it is a head, then only what it is the head of.
        A tombstone does not stand in the way.
        """

    def scan(self, owner: str | None = None) -> AsyncIterator[SessionKey]:
        """Every session there is, or an owner's, in no order: whatever is there from beginning to end, once."""

    async def count(self, owner: str | None = None, *, since: int = 0) -> int:
        """About how many sessions were used last at `since` (Unix milliseconds) or later."""

    async def list(
        self, *, owner: str | None = None, cursor: str | None = None, limit: int = 100, wanted: Wanted = ANY
    ) -> Listed:
        """A page of at most `limit` that are `wanted`, newest use first.

        It looks at a bounded number of sessions: a page may be short and have a `next` all the same.
        Raises GatewayError (INVALID) for a cursor that is not ours.
        """
