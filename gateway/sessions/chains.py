"""Stored responses as turns of sessions: their names, the chains they make, and where the next one is stored.

A chain of responses is a session, and each response is one turn of it. A second answer to the same response begins a
branch: a session of its own whose first turn says which turns of which sessions it goes on from. Those are shared,
not copied, so each response costs one append, and every session stays within its own slot.

A name says where to look: the exchange's token, the number that the turn was to have, the session. If another turn
took that place meanwhile, the turn is a little further on, or in the branch that has the token for its name.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from gateway.sessions.store import Append, Mark, Responded, Session, SessionKey, SessionStore, Turn

CHAIN = "chain_"
"""How the ids of sessions begin that are made of nothing but responses. Only there a chain goes on in place."""

_TOKEN = 20
_NAME = re.compile(r"resp_([0-9a-f]{20})_([1-9][0-9]{0,8})_([A-Za-z0-9_-]{1,128})", re.ASCII)
_SHIFT = 1 << 20
"""Added to a branch's turn numbers where they stand behind those that it shares."""
_LOOK = 200
"""Turns looked through behind the place that a name says."""


class Name(Struct, frozen=True):
    """A stored response: its token, the number its turn was to have, the id of the session."""

    token: str
    number: int
    session: str

    def __str__(self) -> str:
        return f"{self.token}_{self.number}_{self.session}"


class Stored(Struct, frozen=True, kw_only=True):
    """What a Responses request says about state: `previous` is the response it goes on from, "" for none.

    `conversation`: the session must be there. `keep`: the reply becomes a response that can be asked for, `asked` in
    so many words; `echo` is then the request's parameters.
    """

    previous: str = ""
    conversation: bool = False
    keep: bool = True
    asked: bool = False
    token: str = ""
    echo: bytes = b"{}"


class Found(Struct, frozen=True):
    """A stored response: where it is, and that session up to it, with its newest turns."""

    key: SessionKey
    number: int
    session: Session

    @property
    def turn(self) -> Turn:
        """The response's turn."""
        return self.session.turns[self.number]

    @property
    def last(self) -> bool:
        """Whether nothing follows it there."""
        return self.session.head.next == self.number + 1


class Place(Struct, frozen=True):
    """Where the answer to a response is stored: behind it, or (`branch`) as the first turn of a session of its own.

    `after` is what a branch goes on from; `base` is how much higher the turns are numbered than they will be there.
    """

    branch: SessionKey
    after: tuple[tuple[str, int, int], ...]
    key: SessionKey | None = None
    base: int = 0
    last: int = 0

    @property
    def number(self) -> int:
        """The number that the answer's turn will have, if no other comes first."""
        return 1 if self.key is None else self.last - self.base + 1


class Path(Struct, frozen=True):
    """The chain that ends with a response, as one session, and where its answer goes."""

    session: Session
    place: Place


def short_token(token: str) -> str:
    """The part of an exchange's token, of hexadecimal digits, that is in names."""
    return token[:_TOKEN]


def chain_id(token: str) -> str:
    """The session that a response with this token begins."""
    return CHAIN + token


def read_name(id: str) -> Name | None:
    """What a response's id says, None if it is none of ours."""
    match = _NAME.fullmatch(id)
    return Name(match[1], int(match[2]), match[3]) if match else None


async def find(store: SessionStore, owner: SessionKey, id: str, *, turns: int, keep: float = 0) -> Found | None:
    """The response with this id, if it is `owner`'s (whose own id does not matter). Raises StoreUnavailable."""
    name = read_name(id)
    if name is None:
        return None
    key = replace_id(owner, name.session)
    found = await _at(store, key, name.number, name.token, turns=turns, keep=keep)
    if found is not None:
        return found
    behind = await store.turns(key, first=name.number + 1, count=_LOOK)
    for number, turn in behind.items():
        if turn.response is not None and turn.response.token == name.token:
            return await _at(store, key, number, name.token, turns=turns, keep=keep)
    return await _at(store, replace_id(owner, chain_id(name.token)), 1, name.token, turns=turns, keep=keep)


async def follow(
    store: SessionStore, wanted: tuple[SessionKey, str], *, turns: int, keep: float, shared: float
) -> Path | None:
    """The chain up to a response, its newest `turns` turns, and where the answer goes; None if it is not all there.

    `wanted` is the session of a branch, if one is needed, and the response's id. The session's life is extended to
    `keep` seconds from now, and that of those it shares turns with to `shared`. Raises StoreUnavailable.
    """
    branch, id = wanted
    found = await find(store, branch, id, turns=turns, keep=keep)
    if found is None:
        return None
    own, head = found.session.turns, found.session.head
    begun = own[min(own)].response if min(own) == head.first else None
    after = begun.after if begun else ()
    elders = await _elders(store, branch, after, turns=turns - len(own), shared=shared)
    if elders is None:
        return None
    session = _joined(found, elders)
    shift = _SHIFT if elders else 0
    segments = ((found.key.id, head.first, found.number), *after)
    in_place = found.last and found.key.id.startswith(CHAIN)
    last = found.number + shift
    place = Place(branch, segments, found.key if in_place else None, shift, last)
    return Path(session, place)


def placed(append: Append, place: Place) -> Append:
    """The append where the chain goes on in place; refused as changed if another answer came first."""
    cut = None if append.cut is None else append.cut - place.base
    return replace(append, replace_from=place.last - place.base + 1, cut=cut)


def branched(append: Append, place: Place) -> Append:
    """The append as the first turn of a branch."""
    response = append.turn.response or Responded("")
    turn = replace(append.turn, response=replace(response, after=place.after))
    cut = None if append.cut is None else append.cut - place.last
    pin = append.pin or append.pin_was
    return replace(append, turn=turn, generation=None, revision=0, replace_from=None, cut=cut, pin=pin, pin_was=None)


def replace_id(key: SessionKey, id: str) -> SessionKey:
    """Another session of the same owner and user."""
    return SessionKey(key.owner, key.user, id)


async def _at(
    store: SessionStore, key: SessionKey, number: int, token: str, *, turns: int, keep: float
) -> Found | None:
    session = await store.load(key, turns=max(turns, 1), marks=False, keep=keep, below=number + 1)
    turn = session.turns.get(number) if session else None
    if session is None or turn is None or turn.response is None or turn.response.token != token:
        return None
    return Found(key, number, session)


async def _elders(
    store: SessionStore, owner: SessionKey, after: Iterable[tuple[str, int, int]], *, turns: int, shared: float
) -> list[Session] | None:
    """The sessions that a branch shares turns with, nearest first, as many as are needed; None if one is gone."""
    loads, missing = [], turns
    for id, first, last in after:
        if missing <= 0:
            break
        count = min(last - first + 1, missing)
        loads.append((store.load(replace_id(owner, id), turns=count, marks=False, keep=shared, below=last + 1), last))
        missing -= count
    sessions = await asyncio.gather(*(load for load, _ in loads))
    there = [session for session, (_, last) in zip(sessions, loads, strict=True) if session and last in session.turns]
    return there if len(there) == len(loads) else None


def _joined(found: Found, elders: list[Session]) -> Session:
    """One session out of a branch and those it goes on from. The system prompt does not come along (rule S6)."""
    head = found.session.head
    heads = [head, *(elder.head for elder in elders)]
    tools = next((one.tools for one in heads if one.tools), None)
    shift = _SHIFT if elders else 0
    turns = {number + shift: turn for number, turn in found.session.turns.items()}
    marks = {number + shift: mark for number, mark in found.session.marks.items()}
    for elder in elders:
        _prepend(turns, marks, elder.turns, elder.marks)
    turns, marks = dict(sorted(turns.items())), dict(sorted(marks.items()))
    head = replace(
        head,
        first=min(turns) if elders else head.first,
        next=max(turns) + 1,
        cut=head.cut + shift if head.cut else 0,
        system=None,
        preamble=heads[-1].preamble,
        tools=tools,
        resends=False,
    )
    return Session(head=head, marks=marks, turns=turns)


def _prepend(
    turns: dict[int, Turn], marks: dict[int, Mark], earlier: Mapping[int, Turn], marked: Mapping[int, Mark]
) -> None:
    lowest = min(turns)
    for back, number in enumerate(sorted(earlier, reverse=True), 1):
        turns[lowest - back] = earlier[number]
        marks[lowest - back] = marked[number]
