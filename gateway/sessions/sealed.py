"""A session store behind which everything that was said is sealed (feature B4).

Owners, ids, models, times, sizes and token counts stay readable: listing and routing need them. Digests are keyed by
`Seal.digest_keys` where they are made. What was stored before sealing was turned on is read as it is.
"""

import asyncio
from base64 import b85decode, b85encode
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import Said
from gateway.sessions.known import gone_on
from gateway.sessions.sealing import LONG, MAGIC, Seal
from gateway.sessions.seen import Seen
from gateway.sessions.store import (
    ANY,
    Append,
    Appended,
    Head,
    Limits,
    Listed,
    Mark,
    Patch,
    Reservation,
    Reserved,
    Responded,
    Session,
    SessionKey,
    SessionStore,
    Turn,
    Wanted,
)

T = TypeVar("T")

_SEALED: Final = "\0sealed"
"""Stands in the place of the id of a call, and of a name in the context; neither looks like it."""
_SEALED_JSON: Final = b'{"\\u0000sealed"'
_MARK: Final = MAGIC[:-1]
_HEAD: Final = ("system", "preamble", "tools")


class SealedStore:
    """A SessionStore: `store` with a Seal in front. Beside what the store raises: StoreError for a missing key.

    What it has opened and `seen` it does not read and open again.
    """

    def __init__(self, store: SessionStore, seal: Seal, seen: Seen) -> None:
        self._store = store
        self._seal = seal
        self._seen = seen

    @property
    def name(self) -> Literal["file", "redis"]:
        return self._store.name

    # ------------------------------------------------------------ content

    async def load(
        self, key: SessionKey, *, turns: int, marks: bool, keep: float, below: int = 0, known: Session | None = None
    ) -> Session | None:
        tag = key.tag
        known = known or self._seen.find(tag)
        found = await self._store.load(key, turns=turns, marks=marks, keep=keep, below=below, known=known)
        if found is None:
            self._seen.drop(tag)
            return None
        opened = found if found is known else await self._opened(found, known, tag)
        if keep and not below:  # a turn begins; readers, an export of all sessions above all, leave no trace
            self._seen.keep(tag, opened)
        return opened

    async def _opened(self, found: Session, known: Session | None, tag: str) -> Session:
        marks, turns = _read(found, known)
        called = {number: self._open_mark(mark, tag) for number, mark in marks.items() if mark.calls}
        opened = await self._open_turns(turns, tag) if turns else turns
        head = self._open_head(found.head)
        if not called and opened is turns and head is found.head:
            return found
        return replace(
            found,
            head=head,
            marks={**found.marks, **called} if called else found.marks,
            turns=found.turns if opened is turns else {**found.turns, **opened},
        )

    async def append(self, key: SessionKey, append: Append) -> Appended:
        sealed, tag = append, key.tag
        if self._seal.active:
            sealed = await _run(_size(append.turn), lambda: self._sealed(append, tag))
        done = await self._store.append(key, sealed)
        known = self._seen.find(tag)
        if known is not None and (session := gone_on(known, append, done)) is not None:
            self._seen.go_on(tag, session)
        return done

    async def write(self, key: SessionKey, session: Session, *, over: Head | bool = False) -> bool:
        if self._seal.active:
            size, whole = sum(map(_size, session.turns.values())), session
            session = await _run(size, lambda: self._sealed_session(whole, key.tag))
        return await self._store.write(key, session, over=over)

    async def patch(self, key: SessionKey, patch: Patch) -> bool:
        if self._seal.active and patch.context is not None:
            patch = replace(patch, context=self._seal_context(patch.context, key.tag))
        return await self._store.patch(key, patch)

    async def turns(self, key: SessionKey, *, first: int, count: int) -> Mapping[int, Turn]:
        return await self._open_turns(await self._store.turns(key, first=first, count=count), key.tag)

    async def head(self, key: SessionKey) -> Head | None:
        head = await self._store.head(key)
        return None if head is None else self._open_head(head)

    # ------------------------------------------------------------ the rest, as it is

    async def flag(self, key: SessionKey, number: int, token: str, *, unconfirmed: bool) -> bool:
        return await self._store.flag(key, number, token, unconfirmed=unconfirmed)

    async def delete(self, key: SessionKey) -> bool:
        self._seen.drop(key.tag)
        return await self._store.delete(key)

    async def reserve(self, key: SessionKey, reservation: Reservation) -> Reserved:
        return await self._store.reserve(key, reservation)

    async def renew(self, key: SessionKey, reservation: Reservation) -> bool:
        return await self._store.renew(key, reservation)

    async def release(self, key: SessionKey, reservation: Reservation) -> None:
        await self._store.release(key, reservation)

    async def admit(self, key: SessionKey, limits: Limits) -> None:
        await self._store.admit(key, limits)

    async def owners(self, id: str) -> list[SessionKey]:
        return await self._store.owners(id)

    async def cleanup(self) -> int:
        return await self._store.cleanup()

    async def ping(self) -> None:
        await self._store.ping()

    async def close(self) -> None:
        await self._store.close()

    def scan(self, owner: str | None = None) -> AsyncIterator[SessionKey]:
        return self._store.scan(owner)

    async def count(self, owner: str | None = None, *, since: int = 0) -> int:
        return await self._store.count(owner, since=since)

    async def list(
        self, *, owner: str | None = None, cursor: str | None = None, limit: int = 100, wanted: Wanted = ANY
    ) -> Listed:
        page = await self._store.list(owner=owner, cursor=cursor, limit=limit, wanted=wanted)
        return replace(page, heads=tuple(self._open_head(head) for head in page.heads))

    # ------------------------------------------------------------ sealing and opening

    def _sealed(self, append: Append, tag: str) -> Append:
        said = {
            name: self._seal_said(given, tag, name) for name in _HEAD if (given := getattr(append, name)) is not None
        }
        return replace(append, turn=self._seal_turn(append.turn, tag), mark=self._seal_mark(append.mark, tag), **said)

    def _sealed_session(self, session: Session, tag: str) -> Session:
        head = session.head
        said = {name: self._seal_said(given, tag, name) for name in _HEAD if (given := getattr(head, name)) is not None}
        return Session(
            head=replace(head, context=self._seal_context(head.context, tag), **said),
            marks={number: self._seal_mark(mark, tag) for number, mark in session.marks.items()},
            turns={number: self._seal_turn(turn, tag) for number, turn in session.turns.items()},
        )

    def _seal_turn(self, turn: Turn, tag: str) -> Turn:
        return replace(
            turn,
            question=self._seal_said(turn.question, tag, "question"),
            reply=self._seal_said(turn.reply, tag, "reply"),
            response=self._seal_response(turn.response, tag),
        )

    def _seal_response(self, response: Responded | None, tag: str) -> Responded | None:
        if response is None:
            return None
        return replace(response, echo=self._seal.seal((response.echo,), f"{tag}.echo")[0])

    def _open_response(self, response: Responded | None, tag: str) -> Responded | None:
        if response is None or not response.echo.startswith(MAGIC[:-1]):
            return response
        return replace(response, echo=self._seal.open((response.echo,), f"{tag}.echo")[0])

    def _seal_context(self, context: Raw, tag: str) -> Raw:
        """It is a JSON object in the store, too."""
        if bytes(context) == b"{}":
            return context
        (sealed,) = self._seal.seal((bytes(context),), f"{tag}.context")
        return Raw(msgspec.json.encode({_SEALED: b85encode(sealed).decode()}))

    def _open_context(self, context: Raw, tag: str) -> Raw:
        if not bytes(context).startswith(_SEALED_JSON):
            return context
        sealed = msgspec.json.decode(context, type=dict[str, str])[_SEALED]
        return Raw(self._seal.open((b85decode(sealed),), f"{tag}.context")[0])

    def _seal_said(self, said: Said, tag: str, what: str) -> Said:
        return replace(said, messages=self._seal.seal(said.messages, f"{tag}.{what}"))

    def _seal_mark(self, mark: Mark, tag: str) -> Mark:
        """The names of tools were said, too."""
        if not mark.calls:
            return mark
        flat = [text.encode() for call in mark.calls for text in call]
        (sealed,) = self._seal.seal(flat, f"{tag}.calls")
        return replace(mark, calls=((_SEALED, b85encode(sealed).decode()),))

    def _open_said(self, said: Said, tag: str, what: str) -> Said:
        return replace(said, messages=self._seal.open(said.messages, f"{tag}.{what}"))

    def _open_head(self, head: Head) -> Head:
        found = {name: said for name in _HEAD if (said := getattr(head, name)) is not None}
        if not found and not bytes(head.context).startswith(_SEALED_JSON):
            return head
        tag = head.key.tag
        opened = {name: self._open_said(said, tag, name) for name, said in found.items()}
        context = self._open_context(head.context, tag)
        return replace(head, context=context, **opened) if opened or context is not head.context else head

    def _open_mark(self, mark: Mark, tag: str) -> Mark:
        if not mark.calls or mark.calls[0][0] != _SEALED:
            return mark
        flat = [text.decode() for text in self._seal.open((b85decode(mark.calls[0][1]),), f"{tag}.calls")]
        return replace(mark, calls=tuple(zip(flat[::2], flat[1::2], strict=True)))

    async def _open_turns(self, turns: Mapping[int, Turn], tag: str) -> Mapping[int, Turn]:
        sealed = {
            number: turn
            for number, turn in turns.items()
            if len(said := turn.reply.messages or turn.question.messages) == 1 and said[0].startswith(_MARK)
        }
        if not sealed:
            return turns
        size = sum(_size(turn) for turn in sealed.values())
        opened = await _run(size, lambda: {number: self._open_turn(turn, tag) for number, turn in sealed.items()})
        return {number: opened.get(number, turn) for number, turn in turns.items()}

    def _open_turn(self, turn: Turn, tag: str) -> Turn:
        question = self._seal.open(turn.question.messages, f"{tag}.question")
        reply = self._seal.open(turn.reply.messages, f"{tag}.reply")
        return replace(
            turn,
            question=replace(turn.question, messages=question),
            reply=replace(turn.reply, messages=reply),
            response=self._open_response(turn.response, tag),
        )


def _read(found: Session, known: Session | None) -> tuple[Mapping[int, Mark], Mapping[int, Turn]]:
    """What of a session was read now: the turns that are not known, and the last two turns' marks in any case."""
    marks, turns, end = found.marks, found.turns, found.head.next
    if known is None or found.memo is None or found.memo is not known.memo:
        return marks, turns
    new = range(known.head.next, end)
    return (
        {number: marks[number] for number in range(min(new.start, end - 2), end) if number in marks},
        {number: turns[number] for number in new if number in turns},
    )


def _size(turn: Turn) -> int:
    return sum(map(len, turn.question.messages)) + sum(map(len, turn.reply.messages))


async def _run(size: int, work: Callable[[], T]) -> T:
    """Work on so many bytes: here, or in a thread if it takes long."""
    return work() if size < LONG else await asyncio.to_thread(work)
