"""Whatever is done in whatever order, a store and a model of twenty lines agree."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test
from msgspec import Struct

from gateway.config import Encryption
from gateway.errors import SessionChanged, SessionGone, StoreError
from gateway.sessions.making import fork_of
from gateway.sessions.sealed import SealedStore
from gateway.sessions.sealing import Seal
from gateway.sessions.seen import Seen as Memory
from gateway.sessions.store import Append, Appended, Pin, Session, SessionKey
from tests.contract.making import KEY, World, after, load, loaded

T = TypeVar("T")
Worlds = Callable[[], AbstractAsyncContextManager[World]]

PINS = [Pin("main", "1"), Pin("claude", "2")]


class MemoryModel:
    """A session as it must be: a turn is its text, whether it is fresh, its token and its flag."""

    def __init__(self) -> None:
        self.turns: dict[int, tuple[str, bool, str, bool]] = {}
        self.generation: str | None = None
        self.pin: Pin | None = None
        self.deleted = False
        self.appends = 0

    def append(self, append: Append, seen: int) -> int | type[StoreError]:
        """The turn's number or the error; `seen` are the appends that its load had seen."""
        if (append.generation or self.generation) != self.generation or (self.deleted and not append.generation):
            return SessionGone
        for number, (_, _, token, _) in self.turns.items():
            if token == append.token:
                return number
        if append.replace_from is not None:
            if seen != self.appends:
                return SessionChanged
            self.turns = {n: turn for n, turn in self.turns.items() if n < append.replace_from}
        number = append.replace_from or max(self.turns, default=0) + 1
        text = append.turn.question.messages[0].decode().strip('"')
        self.turns[number] = (text, append.mark.fresh, append.token, False)
        while len(self.turns) > append.limits.max_turns and (
            cuts := [n for n, (_, fresh, _, _) in self.turns.items() if fresh and n > min(self.turns)]
        ):
            self.turns = {n: turn for n, turn in self.turns.items() if n >= cuts[0]}
        if self.pin == append.pin_was and (append.pin or append.drop_pin):
            self.pin = append.pin
        self.appends += 1
        return number


class Seen(Struct, frozen=True):
    """What an exchange loaded, and when."""

    key: SessionKey
    generation: str | None
    revision: int
    appends: int
    next: int
    pin: Pin | None


class Stores(RuleBasedStateMachine):
    """Two stores on the same data, the second with a worker's memory in front, and what must be in them."""

    seen: Bundle[Seen] = Bundle("seen")
    appended: Bundle[tuple[Seen, Append]] = Bundle("appended")
    slot = st.integers(0, 1)
    origin = st.one_of(slot, slot, seen)
    store = st.integers(0, 1)
    fresh = st.sampled_from([True, True, False])
    most = st.sampled_from([3, 25, 100])

    def __init__(self, worlds: Worlds) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.context = worlds()
        self.world = self.run(self.context.__aenter__())
        self.behind, seal = self.world.open(), Seal(Encryption(), compress=False)
        self.stores = [self.world.open(), SealedStore(self.behind, seal, Memory(1 << 24))]
        self.keys = [KEY, SessionKey("zeta", "jo", KEY.id)]
        self.models = {key: MemoryModel() for key in self.keys}
        self.known: dict[tuple[SessionKey, bool], Session | None] = {}
        self.count = 0

    def run(self, task: Awaitable[T]) -> T:
        async def wait() -> T:
            return await task

        return self.runner.run(wait())

    def teardown(self) -> None:
        self.run(self.context.__aexit__(None, None, None))
        self.runner.close()

    def made(self, seen: Seen, **fields: object) -> Append:
        """An append of a turn that loaded `seen`."""
        self.count += 1
        loaded = {"generation": seen.generation, "revision": seen.revision, "pin_was": seen.pin}
        return after(None, f"turn {self.count}", **{**loaded, "limits": self.world.limits(max_turns=40), **fields})

    async def stored(self, store: int, seen: Seen, append: Append) -> Appended | type[StoreError]:
        try:
            return await self.stores[store].append(seen.key, append)
        except StoreError as exc:
            return type(exc)

    def check(self, seen: Seen, append: Append, result: Appended | type[StoreError]) -> None:
        model = self.models[seen.key]
        expected = model.append(append, seen.appends)
        if isinstance(result, Appended):
            model.generation = model.generation or result.generation
            assert (result.number, result.generation) == (expected, model.generation)
        else:
            assert result is expected

    def load(self, origin: int | Seen, store: int = 0) -> Seen:
        """What an exchange loads that begins now, or what one loaded that began long ago."""
        if isinstance(origin, Seen):
            return origin
        key = self.keys[origin]
        session, appends = self.run(load(self.stores[store], key)), self.models[key].appends
        if session is None:
            return Seen(key, None, 0, appends, 1, None)
        head = session.head
        return Seen(key, head.generation, head.revision, appends, head.next, head.pin)

    @rule(target=seen, slot=slot, store=store)
    def look(self, slot: int, store: int) -> Seen:
        return self.load(slot, store)

    @rule(target=appended, origin=origin, store=store, fresh=fresh, pin=st.sampled_from([None, *PINS]), most=most)
    def append(self, *, origin: int | Seen, store: int, fresh: bool, pin: Pin | None, most: int) -> tuple[Seen, Append]:
        seen = self.load(origin)
        append = self.made(seen, fresh=fresh, pin=pin, limits=self.world.limits(max_turns=most))
        self.check(seen, append, self.run(self.stored(store, seen, append)))
        return seen, append

    @rule(target=appended, origin=origin, store=store)
    def drop_the_pin(self, origin: int | Seen, store: int) -> tuple[Seen, Append]:
        seen = self.load(origin)
        append = self.made(seen, drop_pin=True)
        self.check(seen, append, self.run(self.stored(store, seen, append)))
        return seen, append

    @rule(target=appended, origin=origin, store=store, back=st.sampled_from([1, 2, 3, 20]))
    def replace(self, origin: int | Seen, store: int, back: int) -> tuple[Seen, Append]:
        seen = self.load(origin)
        model = self.models[seen.key]
        if seen.generation is None or seen.next - back < min(model.turns, default=1):
            return multiple()
        append = self.made(seen, replace_from=seen.next - back)
        self.check(seen, append, self.run(self.stored(store, seen, append)))
        return seen, append

    @rule(appended=appended, store=store)
    def append_again(self, appended: tuple[Seen, Append], store: int) -> None:
        seen, append = appended
        model = self.models[seen.key]
        if append.token in {token for _, _, token, _ in model.turns.values()} or append.generation != model.generation:
            self.check(seen, append, self.run(self.stored(store, seen, append)))

    @rule(origin=origin, count=st.sampled_from([2, 3, 20]), fresh=fresh)
    def append_at_once(self, *, origin: int | Seen, count: int, fresh: bool) -> None:
        seen = self.load(origin)
        appends = [self.made(seen, fresh=fresh) for _ in range(count)]

        async def gather() -> list[Appended | type[StoreError]]:
            return await asyncio.gather(*(self.stored(n % 2, seen, append) for n, append in enumerate(appends)))

        results = self.run(gather())
        in_order = sorted(range(count), key=lambda n: r.number if isinstance(r := results[n], Appended) else 0)
        for n in in_order:
            self.check(seen, appends[n], results[n])

    @rule(slot=slot, store=store, unconfirmed=st.booleans(), back=st.sampled_from([0, 0, 1, 20]))
    def flag(self, *, slot: int, store: int, unconfirmed: bool, back: int) -> None:
        key = self.keys[slot]
        turns = self.models[key].turns
        number = max(turns, default=0) - back
        text, fresh, token, _ = turns.get(number, ("", True, "none", False))
        there = number in turns
        assert self.run(self.stores[store].flag(key, number, token, unconfirmed=unconfirmed)) == there
        if there:
            turns[number] = (text, fresh, token, unconfirmed)

    @rule(slot=slot, store=store)
    def delete(self, slot: int, store: int) -> None:
        key = self.keys[slot]
        assert self.run(self.stores[store].delete(key)) == bool(self.models[key].turns)
        self.models[key] = MemoryModel()
        self.models[key].deleted = True
        self.keys[slot] = SessionKey(f"owner {len(self.models)}", "", KEY.id)
        self.models[self.keys[slot]] = MemoryModel()

    @rule(slot=slot, store=store, back=st.sampled_from([0, 1, 3]))
    def fork(self, slot: int, store: int, back: int) -> None:
        """A session of its own goes on where another one stands, or stood."""
        key, other = self.keys[slot], SessionKey(f"fork {len(self.models)}", "", KEY.id)
        session, model = self.run(load(self.stores[store], key)), MemoryModel()
        if session is None or session.head.next - 1 - back < session.head.first:
            return
        last = session.head.next - 1 - back
        forked = fork_of(session, other, last, now=session.head.updated, ttl=1e6)
        assert self.run(self.stores[store].write(other, forked))
        copied = {n: turn for n, turn in self.models[key].turns.items() if n <= last}
        model.turns = {n: (text, fresh, "", flag) for n, (text, fresh, _, flag) in copied.items()}
        model.pin, model.appends = self.models[key].pin, len(copied)
        model.generation = self.run(loaded(self.stores[store], other)).head.generation
        self.keys[slot], self.models[other] = other, model

    @rule(origin=origin, store=store)
    def expire(self, origin: int | Seen, store: int) -> None:
        seen = self.load(origin)
        append = self.made(seen, limits=self.world.limits(ttl=0.4))
        result = self.run(self.stored(store, seen, append))
        self.check(seen, append, result)
        if isinstance(result, Appended):
            self.run(self.world.elapse(0.6))
            self.models[seen.key] = MemoryModel()

    def loads(self, key: SessionKey) -> list[Session | None]:
        """The session by either store: read whole, and read on from what was known, or is remembered."""
        whole, known = self.stores[0], self.behind
        for marks, turns in ((True, 1000), (False, 3), (False, 1000), (True, 0)):
            remembered = self.run(load(self.stores[1], key, marks=marks, turns=turns, keep=0.001))
            assert remembered == self.run(load(whole, key, marks=marks, turns=turns))
        for marks, turns in ((True, 1000), (False, 3)):
            got = load(known, key, marks=marks, turns=turns, known=self.known.get((key, marks)))
            self.known[key, marks] = self.run(got) or self.known.get((key, marks))
        newest = self.run(load(whole, key, marks=False, turns=3))
        assert newest is None or newest == self.known[key, False]
        return [self.run(load(whole, key)), self.known[key, True] if newest else None]

    @invariant()
    def agree(self) -> None:
        for key, model in self.models.items():
            for session in self.loads(key):
                if not model.turns:
                    assert session is None
                    continue
                assert session is not None
                stored = {n: turn.question.messages[0].decode().strip('"') for n, turn in session.turns.items()}
                assert stored == {n: text for n, (text, *_) in model.turns.items()}
                flags = {n: mark.unconfirmed for n, mark in session.marks.items()}
                assert flags == {n: flag for n, (*_, flag) in model.turns.items()}
                head = session.head
                assert (head.first, head.next, head.pin) == (min(model.turns), max(model.turns) + 1, model.pin)
                assert head.totals.turns == model.appends


def test_a_store_and_the_model_agree(world_of: Worlds) -> None:
    run_state_machine_as_test(
        lambda: Stores(world_of),
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
