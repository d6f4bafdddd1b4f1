"""What is known of a session and what was read behind it show as one, and nobody's part of it ever changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions.known import Stretch, behind

STEPS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 20), st.integers(0, 3), st.booleans(), st.integers(0, 9)), max_size=60
)
"""For each load: what it goes on from, how many turns are new, how many leave, whether the last is another; a value."""


@given(STEPS)
def test_a_load_shows_what_it_read_whatever_others_read_after_it(steps: list[tuple[int, int, int, bool, int]]) -> None:
    shown = [(behind({1: 0}, 1, {}), {1: 0})]
    for origin, new, gone, other, value in steps:
        known, meant = shown[origin % len(shown)]
        if not meant:
            continue
        end = max(meant) + 1
        read = dict.fromkeys(range(end - 1 if other else end, end + new), value)
        first = min(min(meant) + gone, end)
        whole = {number: each for number, each in {**meant, **read}.items() if number >= first}
        shown.append((behind(known, first, read), whole))
    for found, meant in shown:
        assert dict(found) == meant
        assert list(found) == sorted(meant)
        assert (list(found.values()), list(found.items()), len(found)) == (
            list(meant.values()), list(meant.items()), len(meant),
        )  # fmt: skip


def test_going_on_copies_nothing_that_is_known() -> None:
    known = behind(dict.fromkeys(range(1, 201), "a"), 1, {})
    for number in range(201, 230):
        further = behind(known, number - 199, {number: "b"})
        assert isinstance(known, Stretch)
        assert isinstance(further, Stretch)
        assert further._shared is known._shared
        known = further


@pytest.mark.parametrize("window", [10, 100])
def test_what_is_of_no_use_is_let_go_of(window: int) -> None:
    known = behind({1: "a"}, 1, {})
    for number in range(2, 2000):
        known = behind(known, max(number - window + 1, 1), {number: "b"})
    assert len(known) == window
    assert len(known._shared if isinstance(known, Stretch) else known) < window + 50


@pytest.mark.parametrize("count", [2, 200])
def test_only_its_own_numbers_are_there(count: int) -> None:
    known = behind(dict.fromkeys(range(1, count + 1), "a"), 2, {count + 1: "c"})
    behind(known, 2, {count + 2: "d"})
    assert list(known) == list(range(2, count + 2))
    assert 1 not in known
    assert count + 2 not in known
    with pytest.raises(KeyError):
        known[count + 2]
