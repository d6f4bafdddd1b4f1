"""How a request aligns with the session it belongs to (rule S5), and what goes up to a target (rules S6, S13).

Pure: a session and a request go in, values come out.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from msgspec import Struct

from gateway.conversation import Message, Said, ToolCall, ToolResult
from gateway.dialects.dialect import Dialect, Spoken
from gateway.errors import GatewayError, Kind
from gateway.sessions.digest import PLAIN, Digests
from gateway.sessions.store import Head, Mark, Memo, Session, Turn

T = TypeVar("T")

Mode = Literal["auto", "delta", "resend", "reset", "append", "follow"]
"""X-Session-History's, and two in which all that is sent is new: `append`, where the same question next may be a
retry, and `follow`, where it never is, since it answers one response among others."""


_WHOLE = ("append", "follow")


class Asked(Struct, kw_only=True):
    """A request as a session sees it. `turn` is X-Session-Turn; `retry`: the client's SDK says it is a retry.

    `digests` makes and knows the session's digests. `runs` are its messages, decoded when somebody asks first, and
    `questions` the digests of those from an index on.
    """

    dialect: Dialect
    spoken: Spoken
    mode: Mode = "auto"
    turn: int | None = None
    retry: bool = False
    digests: Digests = PLAIN
    runs: "list[_Run] | None" = None
    questions: dict[int, tuple[bytes, ...]] = {}


class Aligned(Struct, frozen=True, kw_only=True):
    """What a request means in its session.

    `turns` go in front of `sent`, by number. `question` is what is stored as this turn's. `replace_from` and
    `replay` are turn numbers. `system`, `preamble`, `tools` are what is used upstream; `brought_*` what is stored.
    `calls` are the tool calls that wait for a result: id to name. `memo` is the session's.
    """

    dialect: str
    mode: Literal["delta", "resend"]
    sent: tuple[bytes, ...]
    question: tuple[bytes, ...]
    mark: Mark
    prefill: tuple[Message, ...] = ()
    turns: Mapping[int, Turn]
    marks: Mapping[int, Mark]
    calls: dict[str, str]
    replace_from: int | None = None
    replay: int | None = None
    system: Said | None = None
    preamble: Said | None = None
    tools: Said | None = None
    brought_system: Said | None = None
    brought_preamble: Said | None = None
    brought_tools: Said | None = None
    memo: Memo | None = None
    first: int = 1
    replaced: int = 0


class _Run(Struct, frozen=True):
    """Neighbouring messages of one side, `start` to `end` in the request's list."""

    assistant: bool
    start: int
    end: int
    messages: tuple[Message, ...]


class _Place(Struct, frozen=True):
    """Where the new turn begins in the request, and which stored turns it stands for."""

    mode: Literal["delta", "resend"]
    start: int
    replace_from: int | None = None
    inject_before: int = 0
    replay: int | None = None
    anew: bool = False


def has_replies(asked: Asked) -> bool:
    """Whether the request has assistant messages before its end: only then can it be a resend."""
    return len(_runs(asked)) > 1 and any(run.assistant for run in _runs(asked)[:-1])


def align(asked: Asked, session: Session | None) -> Aligned:
    """What the request means. Raises GatewayError (INVALID) where it fits nowhere.

    `session.marks` must be complete if `has_replies(asked)`.
    """
    if not asked.spoken.messages and not (session and asked.mode in _WHOLE):
        raise GatewayError(Kind.INVALID, "The request has no message.", param="messages")
    runs = _runs(asked)
    place = (_whole if asked.mode in _WHOLE else _place)(asked, runs, session)
    raws = asked.spoken.messages
    question = raws[place.start :]
    new = _messages(runs, place.start)
    results = tuple([part for message in new for part in message.parts if isinstance(part, ToolResult)])
    brought_preamble = _preamble(asked, place) if place.start or place.anew else None
    marks, turns = _shown(session, place)
    calls = _open_calls(marks, place)
    if results and place.mode == "delta":
        _check_results(results, runs, calls)
    name = asked.dialect.NAME
    head = session.head if session else None
    brought_system = Said(name, asked.spoken.system) if asked.spoken.system else None
    brought_tools = Said(name, (asked.spoken.tools,)) if asked.spoken.tools else None
    return Aligned(
        dialect=name,
        mode=place.mode,
        sent=question if place.mode == "delta" else raws,
        question=question,
        mark=_mark(new, question, _questions(runs, place.start, asked)[0], results),
        prefill=_prefill(runs, place) if runs and runs[-1].assistant else (),
        turns=turns,
        marks=marks,
        calls=calls,
        replace_from=place.replace_from,
        replay=place.replay,
        system=None if brought_system or head is None else head.system,
        preamble=None if place.mode == "resend" else brought_preamble or (head.preamble if head else None),
        tools=_session_tools(head, marks) if head and head.tools and not brought_tools else None,
        brought_system=brought_system,
        brought_preamble=brought_preamble,
        brought_tools=brought_tools,
        memo=session.memo if session else None,
        first=head.first if head else 1,
        replaced=head.next - place.replace_from if head and place.replace_from is not None else 0,
    )


def _preamble(asked: Asked, place: _Place) -> Said | None:
    """The client's own examples in front of its question; none at all clears those of a session begun anew."""
    if place.mode == "resend":
        return None
    return Said(asked.dialect.NAME, asked.spoken.messages[: place.start])


def _runs(asked: Asked) -> list[_Run]:
    if asked.runs is not None:
        return asked.runs
    asked.runs = runs = list[_Run]()
    for i, raw in enumerate(asked.spoken.messages):
        messages = asked.dialect.decode_messages([raw])
        assistant = bool(messages) and messages[0].role == "assistant"
        if runs and (runs[-1].assistant == assistant or not messages):
            last = runs.pop()
            runs.append(_Run(last.assistant, last.start, i + 1, last.messages + messages))
        else:
            runs.append(_Run(assistant, i, i + 1, messages))
    return runs


def _place(asked: Asked, runs: list[_Run], session: Session | None) -> _Place:
    own = _delta_start(runs) if len(runs) > 1 else 0
    if session is None:
        return _Place("delta", own)
    head = session.head
    if asked.turn is not None:
        return _numbered(asked, runs, session)
    if asked.mode == "reset":
        return _Place("delta", own, replace_from=head.first, anew=True)
    held = None if asked.mode == "delta" or len(runs) == 1 else _last_held(runs, session, asked.digests)
    if held is not None:
        at, number = held
        return _after(runs, runs[at].end, number, asked, session)
    if asked.mode == "resend" or (asked.mode == "auto" and head.resends):
        return _Place("delta", own, replace_from=head.first, anew=True)
    return _delta(asked, runs, own, session)


def _whole(asked: Asked, runs: list[_Run], session: Session | None) -> _Place:
    """All that is sent is new."""
    if session is None or asked.mode == "follow":
        return _Place("delta", 0, inject_before=session.head.next if session else 0)
    return _delta(asked, runs, 0, session)


def _delta_start(runs: list[_Run]) -> int:
    return next((run.end for run in reversed(runs[:-1]) if run.assistant), 0)


def _numbered(asked: Asked, runs: list[_Run], session: Session) -> _Place:
    head, turn = session.head, asked.turn or 0
    if not head.first <= turn <= head.next:
        raise GatewayError(
            Kind.INVALID,
            f"X-Session-Turn {turn} is not in this session; it has turns {head.first} to {head.next - 1}.",
            param="X-Session-Turn",
        )
    replace_from = turn if turn < head.next else None
    held = None if asked.mode == "delta" else _last_held(runs, session, asked.digests)
    if held is not None:
        return _Place("resend", runs[held[0]].end, replace_from, inject_before=turn)
    return _Place("delta", _delta_start(runs), replace_from, inject_before=turn)


def _last_held(runs: list[_Run], session: Session, digests: Digests) -> tuple[int, int] | None:
    """The last reply in the request that the session holds: its run, and the turn whose question fits best."""
    if not any(run.assistant for run in runs[:-1]):
        return None
    by_reply: dict[bytes, list[int]] = {}
    for number, mark in session.marks.items():
        by_reply.setdefault(mark.reply, []).append(number)
    for at in range(len(runs) - 2, -1, -1):
        if not runs[at].assistant:
            continue
        numbers = [number for found in digests.all(runs[at].messages) for number in by_reply.get(found, ())]
        if numbers:
            questions = digests.all(runs[at - 1].messages) if at else ()
            return at, max(numbers, key=lambda n: (session.marks[n].question in questions, n))
    return None


def _after(runs: list[_Run], start: int, number: int, asked: Asked, session: Session) -> _Place:
    last = session.head.next - 1
    replace_from = number + 1 if number < last else None
    questions = _questions(runs, start, asked)
    mark = session.marks.get(last)
    if number == last - 1 and mark and mark.question in questions and _may_replay(asked, mark):
        return _Place("resend", start, inject_before=last, replay=last)
    return _Place("resend", start, replace_from, inject_before=number + 1)


def _delta(asked: Asked, runs: list[_Run], start: int, session: Session) -> _Place:
    head = session.head
    last = head.next - 1
    mark = session.marks.get(last)
    if mark is not None and mark.question in _questions(runs, start, asked):
        if _may_replay(asked, mark):
            return _Place("delta", start, inject_before=last, replay=last)
        alone = head.first == last and asked.mode == "auto"
        if mark.incomplete or alone:
            return _Place("delta", start, replace_from=last, inject_before=last)
    return _Place("delta", start, inject_before=head.next)


def _may_replay(asked: Asked, mark: Mark) -> bool:
    return not mark.incomplete and (mark.unconfirmed or asked.retry)


def _questions(runs: list[_Run], start: int, asked: Asked) -> tuple[bytes, ...]:
    """Every digest that what is asked from `start` on may have been stored with; the first is the one to store."""
    if start not in asked.questions:
        asked.questions[start] = asked.digests.all(_messages(runs, start))
    return asked.questions[start]


def _messages(runs: list[_Run], start: int) -> Sequence[Message]:
    """What is asked from an index on."""
    if len(runs) == 1 and not start:
        return runs[0].messages
    return [message for run in runs if run.start >= start for message in run.messages]


def _mark(new: Sequence[Message], question: Sequence[bytes], digest: bytes, results: Sequence[ToolResult]) -> Mark:
    first = new[0].parts[0] if new and new[0].parts else None
    return Mark(
        question=digest,
        reply=b"",
        tokens=sum(map(len, question)) // 4,
        fresh=not isinstance(first, ToolResult),
        results=tuple([result.call_id for result in results]) if results else (),
    )


def _prefill(runs: list[_Run], place: _Place) -> tuple[Message, ...]:
    trailing = runs[-1]
    return trailing.messages if trailing.start >= place.start else ()


def _shown(session: Session | None, place: _Place) -> tuple[Mapping[int, Mark], Mapping[int, Turn]]:
    """The marks of the turns that stay in front of the new one, and those turns, as far as they are injected."""
    if session is None:
        return {}, {}
    marks, turns = session.marks, session.turns if place.mode == "delta" else {}
    if place.inject_before >= session.head.next:
        return marks, turns
    return _before(marks, place), _before(turns, place)


def _before(found: Mapping[int, T], place: _Place) -> Mapping[int, T]:
    return {number: value for number, value in found.items() if number < place.inject_before}


def _session_tools(head: Head, marks: Mapping[int, Mark]) -> Said | None:
    """The session's tools, if there are calls of them in its history (rule S6)."""
    return head.tools if any(mark.calls for mark in marks.values()) else None


# ---------------------------------------------------------------- tool calls and their results


def _open_calls(marks: Mapping[int, Mark], place: _Place) -> dict[str, str]:
    last = marks.get(place.inject_before - 1)
    return dict(last.calls) if last and place.mode == "delta" else {}


def _check_results(results: Sequence[ToolResult], runs: list[_Run], calls: dict[str, str]) -> None:
    """Tool results for calls that nobody made are refused by name (rule S13)."""
    known = set(calls)
    for run in runs:
        known.update(part.id for message in run.messages for part in message.parts if isinstance(part, ToolCall))
    unknown = [result.call_id for result in results if result.call_id and result.call_id not in known]
    if unknown:
        raise GatewayError(
            Kind.INVALID,
            f"There is no open tool call {', '.join(map(repr, unknown))} in this session to answer.",
            param="messages",
            code="unknown_tool_call",
        )
