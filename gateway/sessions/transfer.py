"""Sessions as lines of JSON: what export writes and import reads, the same from either store.

A line is one session, with all its turns. Messages are text, each the JSON of its dialect exactly as it is stored, so
that nothing is lost on the way; digests are hexadecimal, times Unix milliseconds.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.conversation import Origin, Said, Usage
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError, Kind
from gateway.sessions.store import FORMAT, Head, Mark, Pin, Session, SessionKey, Totals, Turn

ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_DIGEST = re.compile(r"(?:[0-9a-f]{2}){0,64}")
_LATEST = 1 << 43
"""Times are 13 digits in a store."""


class Spoken(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Messages; a reply's `provider` and `model` are who made it."""

    dialect: str
    messages: tuple[str, ...]
    provider: str | None = None
    model: str | None = None


class Marked(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A turn's Mark."""

    question: str
    reply: str
    tokens: int = 0
    fresh: bool = True
    unconfirmed: bool = False
    calls: tuple[tuple[str, str], ...] = ()
    results: tuple[str, ...] = ()


class Counted(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Tokens."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


class Summed(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A session's Totals."""

    turns: int = 0
    messages: int = 0
    usage: Counted = Counted()
    cost: float = 0.0
    unpriced: int = 0


class Told(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One turn."""

    number: int
    question: Spoken
    reply: Spoken
    mark: Marked
    usage: Counted | None = None
    stop: str = ""
    at: int = 0
    elapsed: int = 0
    incomplete: bool = False
    cost: float | None = None


class Seat(Struct, frozen=True, forbid_unknown_fields=True):
    """A Pin."""

    provider: str
    credential: str


class Served(Struct, frozen=True, forbid_unknown_fields=True):
    """An Origin."""

    provider: str
    model: str


class Line(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One session."""

    format: int
    owner: str
    id: str
    user: str = ""
    created: int
    updated: int
    expires: int
    kept: int = 0
    first: int = 1
    cut: int = 0
    resends: bool = False
    system: Spoken | None = None
    preamble: Spoken | None = None
    tools: Spoken | None = None
    pin: Seat | None = None
    last: Served | None = None
    totals: Summed = Summed()
    user_context: Raw = Raw(b"{}")
    turns: tuple[Told, ...] = ()


_LINE = msgspec.json.Decoder(Line)
_ENCODER = msgspec.json.Encoder()


def line_of(session: Session) -> bytes:
    """The session as a line, with its line feed. Every turn of `head.first` to `head.next - 1` must be there."""
    head = session.head
    context = _ENCODER.encode(msgspec.json.decode(head.context))
    line = Line(
        format=FORMAT,
        owner=head.key.owner,
        id=head.key.id,
        user=head.key.user,
        created=head.created,
        updated=head.updated,
        expires=head.expires,
        kept=head.kept,
        first=head.first,
        cut=head.cut,
        resends=head.resends,
        system=_spoken(head.system),
        preamble=_spoken(head.preamble),
        tools=_spoken(head.tools),
        pin=Seat(head.pin.provider, head.pin.credential) if head.pin else None,
        last=Served(head.last.provider, head.last.model) if head.last else None,
        totals=Summed(
            head.totals.turns, head.totals.messages, _counted(head.totals.usage), head.totals.cost, head.totals.unpriced
        ),
        user_context=Raw(context),
        turns=tuple(
            _told(number, session.turns[number], session.marks[number]) for number in range(head.first, head.next)
        ),
    )
    return _ENCODER.encode(line) + b"\n"


def read_line(data: bytes) -> Session:
    """The session of a line. Raises GatewayError (INVALID) that says what is wrong with it."""
    try:
        line = _LINE.decode(data)
        session = _session(line)
        _check(line)
    except (msgspec.MsgspecError, ValueError) as exc:
        raise GatewayError(Kind.INVALID, f"{exc}", code="invalid_line") from None
    return session


def _told(number: int, turn: Turn, mark: Mark) -> Told:
    question, reply = _spoken(turn.question), _spoken(turn.reply)
    assert question is not None and reply is not None  # noqa: S101, PT018 - a turn has both
    return Told(
        number=number,
        question=question,
        reply=reply,
        usage=_counted(turn.usage) if turn.usage else None,
        stop=turn.stop,
        at=turn.at,
        elapsed=turn.elapsed,
        incomplete=turn.incomplete,
        cost=turn.cost,
        mark=Marked(
            mark.question.hex(),
            mark.reply.hex(),
            mark.tokens,
            mark.fresh,
            mark.unconfirmed,
            mark.calls,
            mark.results,
        ),
    )


def _spoken(said: Said | None) -> Spoken | None:
    if said is None:
        return None
    origin = (said.origin.provider, said.origin.model) if said.origin else (None, None)
    return Spoken(said.dialect, tuple(raw.decode() for raw in said.messages), *origin)


def _counted(usage: Usage) -> Counted:
    return Counted(usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning)


def _session(line: Line) -> Session:
    turns = {told.number: _turn(told) for told in line.turns}
    usage = line.totals.usage
    head = Head(
        key=SessionKey(line.owner, line.user, line.id),
        generation="",
        revision=0,
        first=line.first,
        next=line.first + len(line.turns),
        created=line.created,
        updated=line.updated,
        expires=line.expires,
        kept=line.kept,
        cut=line.cut,
        resends=line.resends,
        system=_said(line.system),
        preamble=_said(line.preamble),
        tools=_said(line.tools),
        pin=Pin(line.pin.provider, line.pin.credential) if line.pin else None,
        last=Origin(line.last.provider, line.last.model) if line.last else None,
        totals=Totals(
            turns=line.totals.turns,
            messages=line.totals.messages,
            usage=_usage(usage),
            cost=line.totals.cost,
            unpriced=line.totals.unpriced,
        ),
        context=Raw(bytes(line.user_context)),
    )
    return Session(head=head, turns=turns, marks={told.number: _mark(told) for told in line.turns})


def _turn(told: Told) -> Turn:
    question, reply = _said(told.question), _said(told.reply)
    assert question is not None and reply is not None  # noqa: S101, PT018 - a line has both
    return Turn(
        question=question,
        reply=reply,
        usage=_usage(told.usage) if told.usage else None,
        stop=told.stop,
        at=told.at,
        elapsed=told.elapsed,
        incomplete=told.incomplete,
        cost=told.cost,
    )


def _mark(told: Told) -> Mark:
    mark = told.mark
    return Mark(
        question=bytes.fromhex(mark.question),
        reply=bytes.fromhex(mark.reply),
        tokens=mark.tokens,
        fresh=mark.fresh,
        incomplete=told.incomplete,
        unconfirmed=mark.unconfirmed,
        calls=mark.calls,
        results=mark.results,
    )


def _said(spoken: Spoken | None) -> Said | None:
    if spoken is None:
        return None
    origin = Origin(spoken.provider, spoken.model) if spoken.provider and spoken.model is not None else None
    return Said(spoken.dialect, tuple(text.encode() for text in spoken.messages), origin)


def _usage(counted: Counted) -> Usage:
    return Usage(counted.input, counted.output, counted.cached, counted.cache_write, counted.reasoning)


# ---------------------------------------------------------------- what types cannot say


def _check(line: Line) -> None:
    """Raises ValueError, MsgspecError."""
    if not 1 <= line.format <= FORMAT:
        raise ValueError(f"format {line.format} is not one that this gateway reads (1 to {FORMAT})")
    if not ID.fullmatch(line.id):
        raise ValueError("id is 1 to 128 letters, digits, dashes and underscores")
    if not line.owner:
        raise ValueError("owner is empty")
    times = (line.created, line.updated, line.expires, line.kept, *(told.at for told in line.turns))
    if not all(0 <= time < _LATEST for time in times):
        raise ValueError("a time is not in Unix milliseconds")
    if line.first < 1 or line.cut < 0:
        raise ValueError("first is at least 1, cut at least 0")
    _check_conversation(line)
    if not isinstance(msgspec.json.decode(line.user_context), dict):
        raise ValueError("user_context is not an object")  # noqa: TRY004 - told as any other mistake in a line


def _check_conversation(line: Line) -> None:
    for number, told in enumerate(line.turns, line.first):
        if told.number != number:
            raise ValueError(f"turn {told.number} stands where turn {number} must")
        _check_turn(told)
    for spoken in (line.system, line.preamble, line.tools):
        if spoken is not None:
            _check_messages(spoken)


def _check_turn(told: Told) -> None:
    for name, digest in (("question", told.mark.question), ("reply", told.mark.reply)):
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"turn {told.number}: mark.{name} is not hexadecimal")
    _check_messages(told.question)
    _check_messages(told.reply)


def _check_messages(spoken: Spoken) -> None:
    if spoken.dialect not in DIALECTS:
        raise ValueError(f"there is no dialect {spoken.dialect!r}; known are {', '.join(_sorted(DIALECTS))}")
    for text in spoken.messages:
        msgspec.json.decode(text)


def _sorted(names: Iterable[Any]) -> list[str]:
    return sorted(map(str, names))
