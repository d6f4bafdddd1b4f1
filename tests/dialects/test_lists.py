"""A list at the end of an object, put together from pieces, is what it would be otherwise."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.lists import ended, joined, occurrences, with_list

ITEMS = st.lists(st.one_of(st.integers(), st.text(max_size=9), st.just([]), st.just({"a": [1, 2]})), max_size=4)


@given(
    fields=st.dictionaries(st.sampled_from(["model", "stop"]), st.text()), front=ITEMS, told=st.lists(ITEMS), own=ITEMS
)
def test_a_list_of_all_that_was_given(
    fields: dict[str, str], front: list[object], told: list[list[object]], own: list[object]
) -> None:
    def commas(items: list[object]) -> bytes:
        return b",".join(json.dumps(item).encode() for item in items)

    pieces = [commas(items) + b"," for items in told if items]
    body = with_list(json.dumps(fields).encode(), b"messages", front=commas(front), told=pieces, own=commas(own))
    assert json.loads(joined(body)) == {
        **fields,
        "messages": [*front, *(item for items in told for item in items), *own],
    }
    assert json.loads(joined(ended(body, b',"more":1}'))) == {**json.loads(joined(body)), "more": 1}
    assert occurrences(body, b"[1, 2]") == joined(body).count(b"[1, 2]")
