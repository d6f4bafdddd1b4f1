"""Changes of single turns, for the API that lists them. Rare, so the session is written anew, whole."""

from collections.abc import Callable

from msgspec.structs import replace

from gateway.errors import SessionBusy
from gateway.sessions.items import marked
from gateway.sessions.store import Session, SessionKey, SessionStore, Turn

_ROUNDS = 8
_ALL = 1 << 30


async def edit_turn(store: SessionStore, key: SessionKey, number: int, edit: Callable[[Turn], Turn | None]) -> bool:
    """Put what `edit` makes of a turn in its place, or take it out for None; whether the turn is there.

    A turn that is stored meanwhile is never lost: then the change is made again. Raises StoreUnavailable, SessionBusy.
    """
    for _ in range(_ROUNDS):
        session = await store.load(key, turns=_ALL, marks=True, keep=0)
        if session is None or number not in session.turns:
            return False
        turn = edit(session.turns[number])
        changed = _without(session, number) if turn is None else _with(session, number, turn)
        if await store.write(key, changed, over=session.head):
            return True
    raise SessionBusy("The conversation changes too fast; try again.", code="conversation_locked", retry_after=1.0)


def _with(session: Session, number: int, turn: Turn) -> Session:
    turns = {**session.turns, number: turn}
    return Session(head=session.head, turns=turns, marks={**session.marks, number: marked(turn, session.marks[number])})


def _without(session: Session, number: int) -> Session:
    """Turns stay where they are: an empty one keeps the number, since ids and branches count on it."""
    turn = session.turns[number]
    empty = replace(turn, question=replace(turn.question, messages=()), reply=replace(turn.reply, messages=()))
    response = replace(turn.response, token="", echo=b"{}") if turn.response else None
    return _with(session, number, replace(empty, response=response))
