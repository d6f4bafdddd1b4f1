"""Stand-ins that tests pass in: a store of sessions in memory."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from gateway.conversation import Usage
from gateway.errors import GatewayError, Kind, SessionChanged, SessionGone, SessionLimit, SessionTooLarge
from gateway.sessions.store import (
    ANY,
    Append,
    Appended,
    Head,
    Listed,
    Mark,
    Patch,
    Session,
    SessionKey,
    Totals,
    Turn,
    Wanted,
)


class MemoryStore:
    """A SessionStore for one process. `now` gives Unix milliseconds; `failure` is raised by every method while set."""

    name: Literal["file", "redis"] = "file"

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.failure: GatewayError | None = None
        self.sessions: dict[SessionKey, tuple[Head, dict[int, Turn], dict[int, Mark]]] = {}
        self._tokens: dict[tuple[SessionKey, str], Appended] = {}
        self._deleted: dict[SessionKey, int] = {}
        self._made = 0
        self.looks = 1 << 30  # sessions that one list looks at

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _find(self, key: SessionKey) -> tuple[Head, dict[int, Turn], dict[int, Mark]] | None:
        self._fail()
        found = self.sessions.get(key)
        return found if found is not None and found[0].expires > self.now() else None

    async def load(
        self, key: SessionKey, *, turns: int, marks: bool, keep: float, below: int = 0, known: Session | None = None
    ) -> Session | None:
        found = self._find(key)
        if found is None:
            return None
        head, every, marked = found
        head = replace(head, expires=max(head.expires, self.now() + int(keep * 1000)))
        self.sessions[key] = head, every, marked
        numbers = [number for number in sorted(every) if not below or number < below]
        newest = {number: every[number] for number in numbers[len(numbers) - min(turns, len(numbers)) :]}
        newest = {number: turn for number, turn in newest.items() if not below or number >= below - turns}
        wanted = set(marked) if marks else set(newest) if below else {*newest, *sorted(marked)[-2:]}
        return Session(head=head, marks={n: marked[n] for n in sorted(wanted)}, turns=newest)

    async def append(self, key: SessionKey, append: Append) -> Appended:
        found = self._find(key)
        if (before := self._tokens.get((key, append.token))) is not None and found is not None:
            return Appended(before.number, before.generation, before.revision, again=True)
        self._admit(key, append, found)
        head, turns, marks = found or (self._new(key), {}, {})
        if append.replace_from is not None:
            self._forget(key, append.replace_from)
            turns = {n: turn for n, turn in turns.items() if n < append.replace_from}
            head = replace(head, next=append.replace_from)
        number = head.next
        turns = {**turns, number: replace(append.turn, at=self.now())}
        marked = replace(append.mark, size=_size(append.turn))
        marks = {**{n: mark for n, mark in marks.items() if n in turns}, number: marked}
        dropped = self._drop(turns, marks, append)
        head = self._updated(replace(head, first=min(turns), next=number + 1), append)
        head = replace(head, size=sum(mark.size for mark in marks.values()))
        self.sessions[key] = head, turns, marks
        done = Appended(number, head.generation, head.revision, trimmed=dropped)
        self._tokens[key, append.token] = done
        return done

    def _forget(self, key: SessionKey, first: int) -> None:
        """A token is known as long as its turn lives."""
        gone = [known for known, done in self._tokens.items() if known[0] == key and done.number >= first]
        for known in gone:
            del self._tokens[known]

    def _admit(self, key: SessionKey, append: Append, found: tuple[Head, dict[int, Turn], dict[int, Mark]] | None):
        limits = append.limits
        if _size(append.turn) > limits.max_bytes:
            raise SessionTooLarge("The turn is larger than a session may be.")
        if append.generation is not None and (found is None or found[0].generation != append.generation):
            raise SessionGone("The session is gone.")
        if append.generation is None and found is None and self._buried(key, append):
            raise SessionGone("The session was deleted.")
        if append.replace_from is not None and found is not None and found[0].revision != append.revision:
            raise SessionChanged("Another turn came between.")
        mine = [other for other in self.sessions if other.owner == key.owner and self._find(other)]
        if found is None and limits.max_sessions and len(mine) >= limits.max_sessions:
            raise SessionLimit("There are too many sessions.")

    def _buried(self, key: SessionKey, append: Append) -> bool:
        at = self._deleted.get(key)
        return at is not None and (append.since is None or at >= self.now() - append.since * 1000)

    def _new(self, key: SessionKey) -> Head:
        self._made += 1
        now = self.now()
        generation = f"generation-{self._made}"
        return Head(key=key, generation=generation, revision=0, first=1, next=1, created=now, updated=now, expires=now)

    def _updated(self, head: Head, append: Append) -> Head:
        now, limits = self.now(), append.limits
        usage = append.turn.usage or Usage()
        sums = head.totals
        added = Usage(*(a + b for a, b in zip(_numbers(sums.usage), _numbers(usage), strict=True)))
        totals = Totals(
            turns=sums.turns + 1,
            messages=sums.messages + append.messages,
            usage=added,
            cost=sums.cost + append.cost,
        )
        pin = head.pin
        if append.pin_was == head.pin:
            pin = None if append.drop_pin else append.pin or head.pin
        return replace(
            head,
            revision=head.revision + 1,
            updated=now,
            expires=min(now + int(limits.ttl * 1000), head.created + int(limits.max_age * 1000)),
            system=append.system or head.system,
            preamble=append.preamble or head.preamble,
            tools=append.tools or head.tools,
            resends=head.resends or bool(append.resends),
            cut=head.cut if append.cut is None else append.cut,
            pin=pin,
            last=append.turn.reply.origin or head.last,
            totals=totals,
        )

    @staticmethod
    def _drop(turns: dict[int, Turn], marks: dict[int, Mark], append: Append) -> int:
        limits, before = append.limits, len(turns)
        while len(turns) > limits.max_turns or sum(mark.size for mark in marks.values()) > limits.max_bytes:
            cut = next((number for number in sorted(turns)[1:] if marks[number].fresh), None)
            if cut is None:
                break
            for number in [number for number in turns if number < cut]:
                del turns[number], marks[number]
        return before - len(turns)

    async def flag(self, key: SessionKey, number: int, token: str, *, unconfirmed: bool) -> bool:
        found, done = self._find(key), self._tokens.get((key, token))
        if found is None or done is None or done.number != number:
            return False
        found[2][number] = replace(found[2][number], unconfirmed=unconfirmed)
        return True

    async def turns(self, key: SessionKey, *, first: int, count: int) -> dict[int, Turn]:
        found = self._find(key)
        return {n: found[1][n] for n in range(first, first + count) if n in found[1]} if found else {}

    async def head(self, key: SessionKey) -> Head | None:
        found = self._find(key)
        return found[0] if found else None

    async def delete(self, key: SessionKey) -> bool:
        existed = self._find(key) is not None
        self.sessions.pop(key, None)
        self._forget(key, 0)
        self._deleted[key] = self.now()
        return existed

    async def patch(self, key: SessionKey, patch: Patch) -> bool:
        found = self._find(key)
        if found is None:
            return False
        head, turns, marks = found
        if patch.generation not in (None, head.generation):
            raise SessionGone("The session is another.")
        following = max(head.first, head.next - patch.drop_last)
        head = replace(
            head,
            revision=head.revision + 1,
            next=following,
            expires=head.expires if patch.keep is None else self.now() + int(patch.keep * 1000),
            pin=head.pin if patch.pin is UNSET else patch.pin,
            context=head.context if patch.context is None else patch.context,
        )
        kept = [n for n in turns if n < following]
        self.sessions[key] = head, {n: turns[n] for n in kept}, {n: marks[n] for n in kept}
        return True

    async def write(self, key: SessionKey, session: Session, *, over: Head | bool = False) -> bool:
        found = self._find(key)
        if found is not None and not over:
            return False
        if isinstance(over, Head) and (found is None or found[0].revision != over.revision):
            return False
        self._made += 1
        head = replace(session.head, key=key, generation=f"generation-{self._made}", revision=len(session.turns))
        self.sessions[key] = head, dict(session.turns), dict(session.marks)
        return True

    async def count(self, owner: str | None = None, *, since: int = 0) -> int:
        return sum(1 for key in self.sessions if owner in (None, key.owner) and self._find(key))

    async def owners(self, id: str) -> list[SessionKey]:
        self._fail()
        return [key for key in self.sessions if key.id == id and self._find(key)]

    async def cleanup(self) -> int:
        self._fail()
        expired = [key for key in self.sessions if self._find(key) is None]
        for key in expired:
            del self.sessions[key]
        return len(expired)

    async def ping(self) -> None:
        self._fail()

    async def close(self) -> None:
        pass

    async def scan(self, owner: str | None = None) -> AsyncIterator[SessionKey]:
        for key in [key for key in self.sessions if owner in (None, key.owner) and self._find(key)]:
            yield key

    async def list(
        self, *, owner: str | None = None, cursor: str | None = None, limit: int = 100, wanted: Wanted = ANY
    ) -> Listed:
        if cursor is not None and not re.fullmatch(r"after-\d+", cursor):
            raise GatewayError(Kind.INVALID, "This is no cursor.", param="cursor")
        self._fail()
        heads = [found[0] for key in self.sessions if owner in (None, key.owner) and (found := self._find(key))]
        ranged = Wanted(since=wanted.since, until=wanted.until)
        heads = sorted(filter(ranged.passes, heads), key=lambda head: -head.updated)
        start = end = int((cursor or "after-0").removeprefix("after-"))
        page: list[Head] = []
        while end < len(heads) and len(page) < limit and end - start < self.looks:
            page += filter(wanted.passes, [heads[end]])
            end += 1
        return Listed(heads=tuple(page), next=f"after-{end}" if end < len(heads) else None, looked=end - start)


def _size(turn: Turn) -> int:
    return len(msgspec.msgpack.encode(turn))


def _numbers(usage: Usage) -> tuple[int, ...]:
    return usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning
