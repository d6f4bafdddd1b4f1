"""Sessions as people read them: the neutral form of what is stored, in any dialect."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gateway.conversation import AnyPart, Message, Opaque, Role, Said, Text, Usage
from gateway.dialects.dialect import Dialect
from gateway.errors import GatewayError
from gateway.sessions.store import Head, Turn

Dialects = Mapping[str, Dialect]
Content = str | list[dict[str, Any]]
"""A message's content: its text, or its parts where there is more to it than one text."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Tokens(Struct, frozen=True):
    """Tokens of a turn or of a session's life. `input` includes `cached` and `cache_write`, `output` `reasoning`."""

    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int


class Metadata(Struct, frozen=True, kw_only=True):
    """What is known of a session beside its messages. Names are None until there is one.

    `cost` is in dollars, None as long as no turn has a known one; it leaves `unpriced_turns` out.
    """

    preferred_provider: str | None
    last_provider: str | None
    last_model: str | None
    total_turns: int
    total_messages: int
    total_tokens: int
    usage: Tokens
    cost: float | None
    unpriced_turns: int
    user_context: dict[str, Any]


class Session(Struct, frozen=True, kw_only=True):
    """A session without its messages. Times are RFC 3339 in UTC; `user` is the owner's end user, "" for none.

    Turns `first_turn` to `last_turn` are stored; none are if the last is before the first.
    """

    id: str
    owner: str
    user: str
    created_at: str
    updated_at: str
    expires_at: str
    first_turn: int
    last_turn: int
    metadata: Metadata


class Line(Struct, frozen=True, kw_only=True):
    """One message. Only replies have `provider` and `model`; a turn's `tokens_used` and `cost` stand at its end.

    So do `usage`, what `tokens_used` is made of, and `elapsed_ms`, the turn's time from question to end of reply.
    `incomplete`: the reply was cut short. `replaced`: the turn took the place of so many others. Turn 0 is what stands
    in front of the conversation.
    """

    role: str
    content: Content
    provider: str | None = None
    model: str | None = None
    timestamp: str | None = None
    tokens_used: int | None = None
    cost: float | None = None
    turn: int = 0
    incomplete: bool = False
    replaced: int = 0
    usage: Tokens | None = None
    elapsed_ms: int | None = None


class Transcript(Session, frozen=True, kw_only=True):
    """A session with messages; `next` is the turn to go on with, None at the end.

    `system` is the prompt that the newest request brought, `preamble` the examples in front of the conversation.
    """

    system: Content | None
    preamble: list[Line]
    messages: list[Line]
    next: int | None


def session_of(head: Head) -> Session:
    """The session without its messages."""
    return Session(**_fields(head))


def transcript_of(head: Head, turns: Mapping[int, Turn], dialects: Dialects) -> Transcript:
    """The session with these turns."""
    last = max(turns, default=head.next - 1) + 1
    return Transcript(
        **_fields(head),
        system=_system(head.system, dialects),
        preamble=[_line(message) for message in _said(head.preamble, dialects)],
        messages=[line for number in sorted(turns) for line in _lines(number, turns[number], dialects)],
        next=last if last < head.next else None,
    )


def rfc3339(milliseconds: int) -> str:
    """A time in Unix milliseconds as text."""
    return f"{(_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec='milliseconds')[:-6]}Z"


def _fields(head: Head) -> dict[str, Any]:
    usage = head.totals.usage
    return {
        "id": head.key.id,
        "owner": head.key.owner,
        "user": head.key.user,
        "created_at": rfc3339(head.created),
        "updated_at": rfc3339(head.updated),
        "expires_at": rfc3339(head.expires),
        "first_turn": head.first,
        "last_turn": head.next - 1,
        "metadata": Metadata(
            preferred_provider=head.pin.provider if head.pin else None,
            last_provider=head.last.provider if head.last else None,
            last_model=head.last.model if head.last else None,
            total_turns=head.totals.turns,
            total_messages=head.totals.messages,
            total_tokens=_total(usage),
            usage=_tokens(usage),
            cost=head.totals.cost if head.totals.turns > head.totals.unpriced else None,
            unpriced_turns=head.totals.unpriced,
            user_context=msgspec.json.decode(head.context, type=dict[str, Any]),
        ),
    }


def _lines(number: int, turn: Turn, dialects: Dialects) -> Iterator[Line]:
    asked = rfc3339(turn.at - turn.elapsed)
    lines = [_line(message, turn=number, timestamp=asked) for message in _said(turn.question, dialects)]
    origin = turn.reply.origin
    lines += [
        _line(
            message,
            turn=number,
            timestamp=rfc3339(turn.at),
            provider=origin.provider if origin else None,
            model=origin.model if origin else None,
            incomplete=turn.incomplete,
            replaced=turn.replaced,
        )
        for message in _said(turn.reply, dialects)
    ]
    if lines:
        lines[-1] = replace(lines[-1], elapsed_ms=turn.elapsed)
    if lines and turn.usage is not None:
        usage = _tokens(turn.usage)
        lines[-1] = replace(lines[-1], tokens_used=_total(turn.usage), usage=usage, cost=turn.cost)
    yield from lines


def _line(message: Message, **about: Any) -> Line:  # noqa: ANN401 - the other fields of a Line
    return Line(role=message.role, content=_content(message.parts), **about)


def _said(said: Said | None, dialects: Dialects) -> tuple[Message, ...]:
    """The messages; what cannot be read any more is shown as it is stored rather than hidden."""
    if said is None:
        return ()
    try:
        return dialects[said.dialect].decode_messages(said.messages, said.origin)
    except (GatewayError, KeyError):
        role: Role = "assistant" if said.origin else "user"
        return tuple(Message(role, (Opaque(said.dialect, "unreadable", msgspec.Raw(raw)),)) for raw in said.messages)


def _system(said: Said | None, dialects: Dialects) -> Content | None:
    if said is None or not said.messages:
        return None
    try:
        return _content(tuple(dialects[said.dialect].decode_system(said.messages)))
    except (GatewayError, KeyError):
        return [msgspec.json.decode(raw) for raw in said.messages]


def _content(parts: tuple[AnyPart, ...]) -> Content:
    match parts:
        case (Text(text=text),):
            return text
        case _:
            return [_part(part) for part in parts]


def _part(part: AnyPart) -> dict[str, Any]:
    """A part without its signature, which only its maker can read."""
    whole = msgspec.json.decode(msgspec.json.encode(part), type=dict[str, Any])
    return {name: value for name, value in whole.items() if name != "signature"}


def _tokens(usage: Usage) -> Tokens:
    return Tokens(usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning)


def _total(usage: Usage) -> int:
    return usage.input + usage.output
