"""The index of a session's file: whatever is added, dropped, trimmed and flagged, it knows what a list would know."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.sessions import codec
from gateway.sessions.file import state
from gateway.sessions.file.index import Entry, Place, Turns
from gateway.sessions.file.log import TURN, Batch, LogFile
from gateway.sessions.file.state import State
from gateway.sessions.store import Head, Mark
from tests.contract.making import KEY, LIMITS

SIZE = 10
HEAD = Head(key=KEY, generation="g", revision=1, first=1, next=1, created=0, updated=0, expires=0)


@dataclass
class Listed:
    """A turn as a list would have it."""

    token: str
    fresh: bool
    flagged: bool = False


@dataclass
class Session:
    """A file with an index, and the list that it must be like: from turn 1 on, though those before `first` are gone."""

    path: Path
    turns: list[Listed] = field(default_factory=list)
    first: int = 1
    made: int = 0
    place: Place | None = None

    def _change(self, work) -> None:
        with LogFile(str(self.path), write=True, create=True) as log:
            turns, batch = self._opened(log), log.batch()
            work(turns, batch)
            self.place = turns.commit(batch, self.first)
            log.write(batch, state.encode(State(HEAD, {}, self.place)))
            assert state.decode(log.state or b"").place == self.place

    def _opened(self, log: LogFile) -> Turns:
        return Turns.anew(log, 0, []) if self.place is None else Turns(log, self.place)

    def add(self, count: int, fresh: int) -> None:
        """So many turns, of which every `fresh`th is fresh."""
        for _ in range(count):
            self.made += 1
            turn = Listed(f"token-{self.made}", fresh=self.made % fresh == 0)
            self.turns.append(turn)
            mark = codec.encode_mark(Mark(b"q", b"r", fresh=turn.fresh))

            def one(turns: Turns, batch: Batch, token: str = turn.token, mark: bytes = mark) -> None:
                turns.add(Entry.of(batch.add(TURN, b"x" * SIZE), token, self.made, mark), batch)

            self._change(one)

    def drop(self, back: int, _: int) -> None:
        """The newest turns."""
        number = max(self.first, len(self.turns) + 1 - back)

        def drop(turns: Turns, _: Batch) -> None:
            assert turns.drop_from(number, self.first) == SIZE * (len(self.turns) + 1 - number)

        self._change(drop)
        del self.turns[number - 1 :]

    def trim(self, most: int, _: int) -> None:
        """All but the newest turns, as far as there is a place to cut."""
        places = [n for n, turn in enumerate(self.turns, 1) if turn.fresh and n > self.first]
        want = len(self.turns) + 1 - most
        first = next((n for n in places if n >= want), (places or [0])[-1]) if want > self.first else self.first

        def trim(turns: Turns, _: Batch) -> None:
            size = SIZE * (len(self.turns) + 1 - self.first)
            expected = max(first, self.first)
            found = turns.cut(self.first, size, replace(LIMITS, max_turns=most))
            assert found == (expected, size - SIZE * (expected - self.first))
            self.first = expected

        self._change(trim)

    def flag(self, back: int, value: int) -> None:
        """One turn."""
        number = len(self.turns) + 1 - back
        if number >= self.first:
            self.turns[number - 1].flagged = bool(value % 2)
            self._change(lambda turns, _: turns.flag(number, unconfirmed=bool(value % 2)))

    def check(self) -> None:
        """It knows all turns together, each alone, and each by its token."""
        if self.place is None:
            return
        end, last = len(self.turns) + 1, self.made
        with LogFile(str(self.path)) as log:
            known = [_listed(entry) for entry in self._opened(log).span(self.first, end)]
            assert known == self.turns[self.first - 1 :]
            for number in range(self.first, end):
                turns, turn = self._opened(log), self.turns[number - 1]
                assert [_listed(entry) for entry in turns.span(number, number + 1)] == [turn]
                found = turns.find(turn.token, 0, self.first)
                assert found is not None
                assert found[0] == number
            for turn in self.turns[: self.first - 1]:
                assert self._opened(log).find(turn.token, 0, self.first) is None
            assert self._opened(log).find("another", last, self.first) is None


def _listed(entry: Entry) -> Listed:
    flagged = codec.decode_mark(entry.mark).unconfirmed
    return Listed(entry.token, fresh=entry.fresh, flagged=flagged)


FEW, MANY = st.integers(1, 12), st.integers(1, 70)
STEPS = st.one_of(
    st.tuples(st.just("add"), FEW | MANY, st.sampled_from([1, 2, 5, 50])),
    st.tuples(st.just("drop"), FEW | MANY, st.just(0)),
    st.tuples(st.just("trim"), FEW | MANY, st.just(0)),
    st.tuples(st.just("flag"), FEW | MANY, st.integers(0, 1)),
)


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(st.lists(STEPS, min_size=6, max_size=12))
def test_an_index_knows_what_a_list_would_know(steps: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as directory:
        session = Session(Path(directory) / "log")
        for verb, one, two in steps:
            getattr(session, verb)(one, two)
            session.check()


@pytest.mark.parametrize(
    "steps",
    [
        [("add", 3, 1), ("flag", 1, 1), ("drop", 1, 0), ("add", 1, 1)],  # the flag goes with its turn
        [("add", 30, 50), ("trim", 5, 0), ("drop", 20, 0), ("add", 30, 1), ("trim", 25, 0)],  # what was looked at, too
        [("add", 40, 1), ("trim", 31, 0), ("drop", 28, 0), ("add", 8, 50), ("trim", 5, 0)],  # and where
        [("add", 40, 1), ("trim", 8, 0), ("drop", 8, 0), ("add", 40, 1)],  # nothing is left of what was
    ],
)
def test_what_is_dropped_leaves_nothing_behind(tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    session = Session(tmp_path / "log")
    for verb, one, two in steps:
        getattr(session, verb)(one, two)
        session.check()
