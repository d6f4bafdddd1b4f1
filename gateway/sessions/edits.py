"""Changes of single turns, for the API that lists them. Rare, so the session is written anew, whole."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from gateway.errors import SessionBusy
from gateway.sessions.digest import Digests
from gateway.sessions.items import marked
from gateway.sessions.store import Session, SessionKey, SessionStore, Turn

_ROUNDS = 8
_ALL = 1 << 30


class Place(Struct, frozen=True):
    """A turn of a session, and what makes the session's digests."""

    key: SessionKey
    number: int
    digests: Digests


async def edit_turn(store: SessionStore, place: Place, edit: Callable[[Turn], Turn | None]) -> bool:
    """Put what `edit` makes of a turn in its place, or take it out for None; whether the turn is there.

    A turn that is stored meanwhile is never lost: then the change is made again. Raises StoreUnavailable, SessionBusy.
    """
    for _ in range(_ROUNDS):
        session = await store.load(place.key, turns=_ALL, marks=True, keep=0)
        if session is None or place.number not in session.turns:
            return False
        turn = session.turns[place.number]
        changed = _with(session, place, edit(turn) or _emptied(turn))
        if await store.write(place.key, changed, over=session.head):
            return True
    raise SessionBusy("The conversation changes too fast; try again.", code="conversation_locked", retry_after=1.0)


def _with(session: Session, place: Place, turn: Turn) -> Session:
    mark = marked(turn, session.marks[place.number], place.digests)
    turns, marks = {**session.turns, place.number: turn}, {**session.marks, place.number: mark}
    return Session(head=session.head, turns=turns, marks=marks)


def _emptied(turn: Turn) -> Turn:
    """Turns stay where they are: an empty one keeps the number, since ids and branches count on it."""
    response = replace(turn.response, token="", echo=b"{}") if turn.response else None
    question, reply = replace(turn.question, messages=()), replace(turn.reply, messages=())
    return replace(turn, question=question, reply=reply, response=response)
