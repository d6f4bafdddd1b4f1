"""What the scripts of the Redis store are given, and what they answer."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from secrets import token_hex
from typing import Any

from msgspec import Raw, Struct
from msgspec.structs import force_setattr

from gateway.conversation import Usage
from gateway.errors import SessionBusy, SessionChanged, SessionGone
from gateway.sessions import codec
from gateway.sessions.known import begin, behind
from gateway.sessions.store import (
    FORMAT,
    Append,
    Appended,
    Head,
    Limits,
    Mark,
    Memo,
    Reservation,
    Session,
    SessionKey,
    Totals,
    Turn,
)

_BUDGET = 1 << 20
_LONGEST_TOKEN = 200
_TIME = 13
_STORED = 10
"""Values in append.lua's answer of a turn that was stored now."""
NOW = 6
"""Where that says when it was."""
_NOTHING = Usage()


class Window(Struct, frozen=True):
    """What is read of a session: `turns` turns below number `below`, or the newest for 0; `marks`: all of them."""

    turns: int = 0
    below: int = 0
    marks: bool = False
    keep: float = 0.0

    def bottom(self, head: Head) -> int:
        """The first turn of it that there is."""
        return max(head.first, (self.below or head.next) - self.turns)


def load_arguments(window: Window, known: Session | None = None) -> tuple[str | bytes, ...]:
    """ARGV of load.lua."""
    asked = _asked(window)
    if known is None:
        return (asked,)
    head = known.head
    return f"{asked} {head.generation} {head.revision} {head.next}", known.stamp


@lru_cache(maxsize=64)
def _asked(window: Window) -> str:
    return f"{window.turns} {window.below} {int(window.marks)} {int(window.keep * 1000)} {_BUDGET}"


def stored_token(token: str) -> str:
    """A token as it is stored: in one line, and its length is one byte."""
    fits = token.isascii() and token.isprintable() and len(token) <= _LONGEST_TOKEN
    return token if fits else sha256(token.encode()).hexdigest()


def append_arguments(key: SessionKey, append: Append, turn: bytes, mark: bytes) -> list[str | bytes | float]:
    """ARGV of append.lua."""
    pin, was, origin = append.pin, append.pin_was, append.turn.reply.origin
    verb = "set" if pin is not None else "drop" if append.drop_pin else "keep"
    if verb == "keep" or pin == was:  # what is set to what it was stays
        verb, pin, was = "keep", None, None
    args: list[str | bytes | float] = [_lines(append, verb), turn, mark]
    if verb != "keep":
        args.append(b"" if was is None else codec.encode(was))
    if pin is not None:
        args.append(codec.encode(pin))
    if origin is not None:
        args += ("last", codec.encode(origin))
    if not append.generation:
        args += ("owner", key.owner, "user", key.user, "id", key.id)
    for name, said in (("system", append.system), ("preamble", append.preamble), ("tools", append.tools)):
        if said is not None:
            args += (name, codec.encode(said))
    if append.resends is not None:
        args += ("resends", int(append.resends))
    if append.cut is not None:
        args += ("cut", append.cut)
    return args


def _lines(append: Append, pin: str) -> str:
    wish, usage = append.reserved, append.turn.usage or _NOTHING
    session, since, replaced, reserved = f"{append.generation}\n", "", "0\n0", "\n\n"
    if not append.generation:
        session = f"\n{token_hex(8)}"
        since = "" if append.since is None else f"{append.since * 1000:.3f}"
    if append.replace_from is not None or wish is not None:  # else the revision does not count
        replaced = f"{append.revision}\n{append.replace_from or 0}"
    if wish is not None:
        kept = 0 if append.turn.incomplete else int(wish.kept * 1000)
        reserved = f"{int(wish.lease)}\n{wish.body if wish.retry else ''}\n{kept}"
    return (
        f"{FORMAT}\n{stored_token(append.token)}\n{session}\n{replaced}\n{_limits(append.limits)}\n"
        f"{'' if append.cost is None else append.cost}\n"
        f"{append.messages}\n{usage.input}\n{usage.output}\n{usage.cached}\n{usage.cache_write}\n{usage.reasoning}\n"
        f"{pin}\n{reserved}\n{since}\n"
    )


@lru_cache(maxsize=8)
def _limits(limits: Limits) -> str:
    return f"{int(limits.ttl * 1000)}\n{int(limits.max_age * 1000)}\n{limits.max_turns}\n{limits.max_bytes}"


def read_appended(reply: list[Any], size: int) -> Appended:
    """What append.lua answers, of a turn of `size` bytes. Raises what `SessionStore.append` does."""
    if len(reply) == _STORED:
        _, number, generation, revision, trimmed, _, now, expires, stamp, behind = reply
        return Appended(
            number,
            generation.decode(),
            revision,
            trimmed,
            stamp=stamp,
            behind=behind,
            at=now,
            expires=expires,
            size=size,
        )
    match reply:
        case [b"ok", number, generation, revision, *_]:
            return Appended(number, generation.decode(), revision, again=True)
        case [b"gone"]:
            raise SessionGone("The session was deleted or has expired while this turn ran.", code="session_gone")
        case [b"changed"]:
            raise SessionChanged(
                "Another turn was stored while this one wanted to replace turns; load the session and try again.",
                code="session_changed",
            )
        case [b"busy"]:
            raise SessionBusy("The turn's reservation ran out and another came between.", code="session_busy")
        case [b"format", version]:
            codec.refuse_newer(version)
    raise ValueError(reply)


def reserve_arguments(verb: str, wish: Reservation) -> tuple[str | int, ...]:
    """ARGV of reserve.lua."""
    holder, body = stored_token(wish.holder), wish.body if wish.retry else ""
    return verb, holder, int(wish.seconds * 1000), int(wish.lease), body


def read_session(reply: list[Any], window: Window, known: Session | None = None) -> tuple[Session, int]:
    """What load.lua answers, and the revision at which turns were replaced last.

    Of what is `known`, if that still holds, remains what is in the window.
    """
    expires, fields, first_mark, marks, first_turn, turns, holds = reply
    head = _head(fields, expires)
    decoded = codec.decode_marks([data[_TIME + 1 + data[_TIME] :] for data in marks])
    read_marks: Mapping[int, Mark] = dict(enumerate(decoded, first_mark))
    read_turns: Mapping[int, Turn] = dict(enumerate(codec.decode_turns(turns), first_turn))
    for turn, mark in zip(read_turns.values(), marks[first_turn - first_mark :], strict=True):
        force_setattr(turn, "at", int(mark[:_TIME]))
    memo: Memo | None = Memo()
    if known is not None and holds:
        lowest, kept = begin(head, turns=window.turns, marks=window.marks)
        read_turns = behind(known.turns, lowest, read_turns)
        read_marks = behind(known.marks, kept, read_marks)
        memo = known.memo
    stamp = b""
    if marks and first_mark + len(marks) == head.next:
        stamp = marks[-1][: _TIME + 1 + marks[-1][_TIME]]
    session = Session(head=head, marks=read_marks, turns=read_turns, stamp=stamp, memo=memo)
    return session, int(fields[10] or 0)


def _head(fields: list[Any], expires: int) -> Head:
    codec.refuse_newer(int(fields[0]))
    system, preamble, tools, pin, last, context = fields[14:20]
    turns, messages, *usage, cost, kept, unpriced = fields[20:30]
    input_, output, cached, written, reasoning = map(int, usage)
    return Head(
        key=SessionKey(fields[11].decode(), fields[12].decode(), fields[13].decode()),
        generation=fields[1].decode(),
        revision=int(fields[2]),
        first=int(fields[3]),
        next=int(fields[4]),
        size=int(fields[5]),
        created=int(fields[6]),
        updated=int(fields[7]),
        expires=expires,
        cut=int(fields[8] or 0),
        resends=fields[9] == b"1",
        system=codec.decode_said(system) if system is not None else None,
        preamble=codec.decode_said(preamble) if preamble is not None else None,
        tools=codec.decode_said(tools) if tools is not None else None,
        pin=codec.decode_pin(pin) if pin is not None else None,
        last=codec.decode_origin(last) if last is not None else None,
        totals=Totals(
            turns=int(turns),
            messages=int(messages),
            usage=Usage(input_, output, cached, written, reasoning),
            cost=float(cost),
            unpriced=int(unpriced or 0),
        ),
        context=Raw(context or b"{}"),
        kept=int(kept or 0),
    )
