"""Sessions that no exchange made: from messages, or forked from another."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import Message, Said, ToolCall, ToolResult, Usage
from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError, Kind
from gateway.sessions.digest import Digests, digest
from gateway.sessions.store import Head, Mark, Session, SessionKey, Totals, Turn

_MEMBERS = {"openai_chat": "messages", "anthropic": "messages", "openai_responses": "input", "gemini": "contents"}


class _Run:
    """Neighbouring messages of one side."""

    def __init__(self, *, reply: bool) -> None:
        self.reply = reply
        self.raws: list[bytes] = []
        self.messages: list[Message] = []


def session_from(
    key: SessionKey, dialect: Dialect, messages: Sequence[dict[str, Any]], *, now: int, ttl: float
) -> Session:
    """A session with these messages, given as `dialect` has them in a request: questions and replies in turn.

    `now` is Unix milliseconds, `ttl` seconds. Raises GatewayError (INVALID).
    """
    member = _MEMBERS[dialect.NAME]
    body = msgspec.json.encode({"model": "none", "max_tokens": 1, member: messages})
    spoken = dialect.spoken(dialect.open_request(body, model="none")) if messages else None
    turns: dict[int, Turn] = {}
    marks: dict[int, Mark] = {}
    if spoken is not None:
        runs = _runs(dialect, spoken.messages)
        for number, (question, reply) in enumerate(zip(runs[::2], runs[1::2], strict=True), 1):
            turns[number], marks[number] = _turn(dialect, question, reply, now)
    head = Head(
        key=key,
        generation="",
        revision=0,
        first=1,
        next=len(turns) + 1,
        created=now,
        updated=now,
        expires=now + int(ttl * 1000),
        system=Said(dialect.NAME, spoken.system) if spoken and spoken.system else None,
        totals=_copied(turns),
    )
    return Session(head=head, turns=turns, marks=marks)


def fork_of(session: Session, key: SessionKey, at: int | None, *, now: int, ttl: float) -> Session:
    """A session of its own with the turns up to `at`, the newest for None. What the turns cost stays where it was paid.

    Raises GatewayError (INVALID) if there is no such turn.
    """
    head = session.head
    last = head.next - 1 if at is None else at
    if not head.first - 1 <= last < head.next or last < 0:
        kept = f"this session has {head.first} to {head.next - 1}" if session.turns else "this session has none"
        raise GatewayError(Kind.INVALID, f"There is no turn {last}; {kept}.", code="no_such_turn", param="at")
    turns = {number: turn for number, turn in session.turns.items() if number <= last}
    forked = replace(
        head,
        key=key,
        next=last + 1,
        created=now,
        updated=now,
        expires=now + int(ttl * 1000),
        kept=0,
        cut=min(head.cut, last + 1),
        totals=_copied(turns),
    )
    marks = {number: mark for number, mark in session.marks.items() if number <= last}
    return Session(head=forked, turns=turns, marks=marks)


def redigested(session: Session, digests: Digests) -> Session:
    """The session with digests of another making: what is exported has those without a key."""
    marks = {number: _redigested(session.turns[number], mark, digests) for number, mark in session.marks.items()}
    return replace(session, marks=marks)


def _redigested(turn: Turn, mark: Mark, digests: Digests) -> Mark:
    if not {turn.question.dialect, turn.reply.dialect} <= DIALECTS.keys():
        return mark
    asked = _decoded(turn.question)
    prefill = [message for message in asked if message.role == "assistant"]
    answered = tuple(part for message in _decoded(turn.reply) for part in message.parts)
    return replace(mark, question=digests.of(asked), reply=digests.of([*prefill, Message("assistant", answered)]))


def _decoded(said: Said) -> tuple[Message, ...]:
    return DIALECTS[said.dialect].decode_messages(said.messages, said.origin)


def with_context(session: Session, context: dict[str, Any]) -> Session:
    """The session with this user context."""
    return replace(session, head=replace(session.head, context=Raw(msgspec.json.encode(context))))


def _copied(turns: dict[int, Turn]) -> Totals:
    messages = sum(len(turn.question.messages) + len(turn.reply.messages) for turn in turns.values())
    return Totals(turns=len(turns), messages=messages, usage=Usage(), unpriced=len(turns))


def _runs(dialect: Dialect, raws: Sequence[bytes]) -> list[_Run]:
    runs: list[_Run] = []
    for raw in raws:
        messages = dialect.decode_messages([raw])
        reply = bool(messages) and messages[0].role == "assistant"
        if not runs or runs[-1].reply != reply:
            runs.append(_Run(reply=reply))
        runs[-1].raws.append(raw)
        runs[-1].messages += messages
    if runs and runs[0].reply:
        raise GatewayError(Kind.INVALID, "The first message must be a question, not a reply.", param="messages")
    if runs and not runs[-1].reply:
        message = "The last message must be a reply: a question without one is asked, not stored."
        raise GatewayError(Kind.INVALID, message, param="messages")
    return runs


def _turn(dialect: Dialect, question: _Run, reply: _Run, now: int) -> tuple[Turn, Mark]:
    asked, answered = question.messages, [part for message in reply.messages for part in message.parts]
    first = asked[0].parts[0] if asked and asked[0].parts else None
    mark = Mark(
        question=digest(asked),
        reply=digest([Message("assistant", tuple(answered))]),
        tokens=sum(map(len, (*question.raws, *reply.raws))) // 4,
        fresh=not isinstance(first, ToolResult),
        calls=tuple((part.id, part.name) for part in answered if isinstance(part, ToolCall)),
        results=tuple(part.call_id for message in asked for part in message.parts if isinstance(part, ToolResult)),
    )
    turn = Turn(question=Said(dialect.NAME, tuple(question.raws)), reply=Said(dialect.NAME, tuple(reply.raws)), at=now)
    return turn, mark
