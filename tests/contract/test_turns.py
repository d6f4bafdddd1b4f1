"""Turns are stored whole, once, in order, and are seen by every later load."""

import asyncio

import pytest
from msgspec import Raw
from msgspec.structs import replace

from gateway.conversation import Origin, Said, Usage
from gateway.errors import SessionTooLarge
from gateway.sessions.store import Mark, SessionKey, SessionStore, Totals, Turn
from tests.contract.making import KEY, LIMITS, ORIGIN, World, after, first, load, loaded, mark, said, talk, texts, turn


async def test_a_session_nobody_made_is_none(store: SessionStore) -> None:
    assert await load(store) is None
    assert await store.head(KEY) is None
    assert await store.turns(KEY, first=1, count=10) == {}


async def test_the_first_turn_is_number_one(store: SessionStore) -> None:
    appended = await store.append(KEY, first())
    assert (appended.number, appended.trimmed, appended.again) == (1, 0, False)
    assert appended.generation


async def test_what_was_appended_is_read_by_another_process(store: SessionStore, other: SessionStore) -> None:
    for number in range(1, 6):
        writer, reader = (store, other) if number % 2 else (other, store)
        appended = await writer.append(KEY, after(await load(writer), f"turn {number}"))
        session = await loaded(reader)
        assert appended.number == number
        assert appended.generation == session.head.generation
        assert appended.revision == session.head.revision
        assert texts(session) == [f"turn {n}" for n in range(1, number + 1)]


async def test_a_turn_comes_back_as_it_was_given(store: SessionStore, other: SessionStore) -> None:
    given = Turn(
        question=Said("anthropic", (b'{"role":"user"}', b'{"role": "user", "n": 12345678901234567890}')),
        reply=Said("gemini", (b'{"parts":[]}',), Origin("google", "gemini-3")),
        usage=Usage(1, 2, 3, 4, 5),
        stop="tool_calls",
        elapsed=77,
        incomplete=True,
    )
    await store.append(KEY, replace(first(), turn=given))
    got = (await loaded(other)).turns[1]
    assert got.at > 0
    assert got == replace(given, at=got.at)


async def test_a_turn_without_usage_comes_back_without(store: SessionStore) -> None:
    await store.append(KEY, first(usage=None))
    session = await loaded(store)
    assert session.turns[1].usage is None
    assert session.head.totals.usage == Usage()


async def test_a_mark_comes_back_as_it_was_given_with_its_size(store: SessionStore, other: SessionStore) -> None:
    given = Mark(
        question=bytes(range(32)),
        reply=bytes(range(224, 256)),
        tokens=99,
        fresh=False,
        incomplete=True,
        unconfirmed=True,
        calls=(("call_1", "weather"), ("call_2", "time")),
        results=("call_0",),
    )
    await store.append(KEY, replace(first(), mark=given))
    got = (await loaded(other)).marks[1]
    assert got.size > 0
    assert got == replace(given, size=got.size)


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)),
        b"",
        b"\r\n\0\x1a{}",
        b"\x93\xc4\xff",
        "\N{GRINNING FACE} é \u2028".encode(),
    ],
)
async def test_content_is_kept_byte_for_byte(store: SessionStore, other: SessionStore, content: bytes) -> None:
    await store.append(KEY, first(content, system=said(content), tools=said(content), preamble=said(content, content)))
    session = await loaded(other)
    assert session.turns[1].question.messages == (content,)
    assert session.head.system == said(content)
    assert session.head.tools == said(content)
    assert session.head.preamble == said(content, content)


async def test_a_big_turn_is_kept_whole_among_small_ones(store: SessionStore, other: SessionStore) -> None:
    big = bytes(range(256)) * (3 * 4096)
    await store.append(KEY, first("small"))
    await store.append(KEY, after(await load(store), big))
    await store.append(KEY, after(await load(store), "small again"))
    session = await loaded(other)
    assert session.turns[2].question.messages[0] == big
    assert session.head.size > len(big)
    assert [session.turns[n].question.messages[0] for n in (1, 3)] == [b'"small"', b'"small again"']


async def test_the_head_tells_what_the_session_is(store: SessionStore, other: SessionStore) -> None:
    key = SessionKey(owner="acme", user="jo", id="x")
    appended = await store.append(key, first(usage=Usage(10, 5, 2, 1, 3), messages=2, cost=0.25))
    head = await other.head(key)
    assert head is not None
    assert head == (await loaded(store, key)).head
    assert (head.key, head.generation, head.revision) == (key, appended.generation, appended.revision)
    assert (head.first, head.next, head.cut, head.resends) == (1, 2, 0, False)
    assert (head.system, head.preamble, head.tools, head.pin) == (None, None, None, None)
    assert head.last == ORIGIN
    assert head.context == Raw(b"{}")
    assert head.totals == Totals(turns=1, messages=2, usage=Usage(10, 5, 2, 1, 3), cost=0.25)
    assert head.created == head.updated < head.expires


async def test_the_totals_are_sums(store: SessionStore) -> None:
    session = await talk(store, "one", "two", "three", messages=3, cost=0.5, usage=Usage(10, 5, 2, 1, 3))
    assert session.head.totals == Totals(turns=3, messages=9, usage=Usage(30, 15, 6, 3, 9), cost=1.5)


async def test_the_size_of_a_session_is_the_sum_of_its_turns(store: SessionStore) -> None:
    session = await talk(store, "one", "two, a little longer", "three")
    sizes = [session.marks[number].size for number in (1, 2, 3)]
    assert all(size > 0 for size in sizes)
    assert session.head.size == sum(sizes)


async def test_the_revision_grows_with_every_turn(store: SessionStore) -> None:
    revisions = [(await talk(store, text)).head.revision for text in ("one", "two", "three")]
    assert revisions == sorted(set(revisions))


async def test_the_last_origin_is_the_newest_replys(store: SessionStore) -> None:
    await talk(store, "one")
    newest = Origin("claude", "opus")
    moved = replace(turn("two"), reply=said("yes", origin=newest))
    await store.append(KEY, replace(after(await load(store)), turn=moved))
    assert (await loaded(store)).head.last == newest


async def test_an_append_sent_twice_is_stored_once(store: SessionStore, other: SessionStore) -> None:
    append = first("one")
    stored = await store.append(KEY, append)
    repeated = await other.append(KEY, append)
    assert (repeated.number, repeated.generation, repeated.again) == (1, stored.generation, True)
    append = after(await load(store), "two")
    await store.append(KEY, append)
    assert (await other.append(KEY, append)).again
    session = await loaded(store)
    assert texts(session) == ["one", "two"]
    assert session.head.totals.turns == 2


async def test_an_append_sent_again_much_later_is_stored_once(store: SessionStore, other: SessionStore) -> None:
    append = first("one")
    await store.append(KEY, append)
    second = after(await load(store), "two")
    await store.append(KEY, second)
    await talk(store, *(f"turn {n}" for n in range(3, 60)))
    assert await other.append(KEY, append) == replace(await store.append(KEY, append), number=1, again=True)
    assert (await other.append(KEY, second)).number == 2
    assert (await loaded(store)).head.next == 60


async def test_a_failed_append_changes_nothing(store: SessionStore) -> None:
    await talk(store, "one", "two")
    before = await loaded(store)
    huge = after(before, "x" * 5000, limits=replace(LIMITS, max_bytes=2000), system=said("other"))
    with pytest.raises(SessionTooLarge):
        await store.append(KEY, huge)
    assert await loaded(store) == before


async def test_turns_at_once_are_all_stored_in_one_order(world: World) -> None:
    stores = [world.open() for _ in range(4)]
    await stores[0].append(KEY, first("start"))
    session = await loaded(stores[0])

    async def append(n: int) -> int:
        return (await stores[n % 4].append(KEY, after(session, f"turn {n}"))).number

    numbers = await asyncio.gather(*(append(n) for n in range(40)))
    assert sorted(numbers) == list(range(2, 42))
    stored = await loaded(stores[1])
    assert {number: texts(replace(stored, turns={0: stored.turns[number]}))[0] for number in numbers} == {
        number: f"turn {n}" for n, number in enumerate(numbers)
    }
    assert stored.head.totals.turns == 41


async def test_sessions_do_not_mix(store: SessionStore) -> None:
    keys = [
        SessionKey(owner="acme", user="", id="chat"),
        SessionKey(owner="zeta", user="", id="chat"),
        SessionKey(owner="acme", user="jo", id="chat"),
        SessionKey(owner="acmejo", user="", id="chat"),
        SessionKey(owner="acme", user="", id="Chat"),
        SessionKey(owner="", user="", id=""),
    ]
    for n, key in enumerate(keys):
        await store.append(key, first(f"of {n}"))
    for n, key in enumerate(keys):
        session = await loaded(store, key)
        assert (session.head.key, texts(session)) == (key, [f"of {n}"])


@pytest.mark.parametrize(
    "odd", ["../../etc/passwd", "a/b", ".", "{x}:s", "a\r\nb", "*?[x]", "é\N{GRINNING FACE}", "x" * 5000]
)
async def test_any_id_owner_and_user_will_do(store: SessionStore, other: SessionStore, odd: str) -> None:
    for key in (SessionKey(odd, "", "x"), SessionKey("x", odd, "x"), SessionKey("x", "", odd)):
        await store.append(key, first(odd.encode()))
        head = await other.head(key)
        assert head is not None
        assert head.key == key
        assert [listed.key for listed in (await other.list(owner=key.owner)).heads] == [key]
        assert await other.owners(key.id) == [key]
        assert await store.delete(key)


async def test_a_load_returns_the_newest_turns_and_no_more(store: SessionStore, other: SessionStore) -> None:
    await talk(store, *(f"turn {n}" for n in range(1, 41)))
    for count in (1, 2, 7, 39, 40, 100):
        session = await loaded(other, turns=count, marks=False)
        expected = list(range(max(1, 41 - count), 41))
        assert sorted(session.turns) == expected
        assert texts(session) == [f"turn {n}" for n in expected]
        assert set(session.marks) >= {39, 40, *expected}
    assert (await loaded(other, turns=0, marks=False)).turns == {}


async def test_a_load_without_marks_has_those_of_the_last_two_turns(store: SessionStore) -> None:
    assert set((await talk(store, "one")).marks) == {1}
    await talk(store, "two", "three")
    session = await loaded(store, turns=0, marks=False)
    assert {number: session.marks[number].question for number in (2, 3)} == {2: b"qtwo", 3: b"qthree"}


async def test_a_load_with_marks_has_all_of_them(store: SessionStore) -> None:
    session = await talk(store, *(f"turn {n}" for n in range(1, 41)))
    only_marks = await loaded(store, turns=0)
    assert only_marks.turns == {}
    assert only_marks.marks == session.marks
    assert [session.marks[n].question for n in range(1, 41)] == [f"qturn {n}".encode() for n in range(1, 41)]


async def test_a_reader_gets_the_window_that_it_asks_for(store: SessionStore, other: SessionStore) -> None:
    session = await talk(store, *(f"turn {n}" for n in range(1, 41)))
    for start, count, expected in ((1, 3, [1, 2, 3]), (38, 9, [38, 39, 40]), (17, 1, [17]), (41, 5, []), (5, 0, [])):
        turns = await other.turns(KEY, first=start, count=count)
        assert turns == {number: session.turns[number] for number in expected}


async def test_a_turn_is_flagged_unconfirmed_and_confirmed(store: SessionStore, other: SessionStore) -> None:
    one = first("one")
    await store.append(KEY, one)
    two = after(await load(store), "two")
    await store.append(KEY, two)
    assert await store.flag(KEY, 2, two.token, unconfirmed=True)
    marks = (await loaded(other)).marks
    assert (marks[1].unconfirmed, marks[2].unconfirmed) == (False, True)
    assert await other.flag(KEY, 2, two.token, unconfirmed=False)
    assert await store.flag(KEY, 1, one.token, unconfirmed=True)
    marks = (await loaded(store)).marks
    assert (marks[1].unconfirmed, marks[2].unconfirmed) == (True, False)


async def test_a_flag_lasts_while_the_session_grows(store: SessionStore, other: SessionStore) -> None:
    await talk(store, "one")
    two = after(await load(store), "two")
    await store.append(KEY, two)
    assert await store.flag(KEY, 2, two.token, unconfirmed=True)
    await talk(store, *(f"turn {n}" for n in range(3, 40)))
    late = after(await load(store), "late", unconfirmed=True)
    await store.append(KEY, late)
    assert await other.flag(KEY, 40, late.token, unconfirmed=False)
    marks = (await loaded(other)).marks
    assert [number for number in marks if marks[number].unconfirmed] == [2]


async def test_a_turn_far_back_is_flagged(store: SessionStore, other: SessionStore) -> None:
    one = first("one")
    await store.append(KEY, one)
    two = after(await load(store), "two", unconfirmed=True)
    await store.append(KEY, two)
    await talk(store, *(f"turn {n}" for n in range(3, 60)))
    assert await store.flag(KEY, 1, one.token, unconfirmed=True)
    assert await store.flag(KEY, 2, two.token, unconfirmed=False)
    await talk(other, *(f"turn {n}" for n in range(60, 80)))
    marks = (await loaded(other)).marks
    assert [number for number in marks if marks[number].unconfirmed] == [1]
    await store.append(KEY, after(await load(store), "anew", replace_from=2))
    marks = (await loaded(other)).marks
    assert [(number, marks[number].unconfirmed) for number in sorted(marks)] == [(1, True), (2, False)]


async def test_only_the_turn_of_that_token_is_flagged(store: SessionStore) -> None:
    one = first("one")
    assert not await store.flag(KEY, 1, one.token, unconfirmed=True)
    await store.append(KEY, one)
    before = await loaded(store)
    assert not await store.flag(KEY, 1, "another", unconfirmed=True)
    assert not await store.flag(KEY, 2, one.token, unconfirmed=True)
    assert not await store.flag(KEY, 0, one.token, unconfirmed=True)
    assert await loaded(store) == before
    await store.append(KEY, after(before, "instead", replace_from=1))
    assert not await store.flag(KEY, 1, one.token, unconfirmed=True)
    assert (await loaded(store)).marks[1].unconfirmed is False


async def test_a_mark_may_be_given_unconfirmed(store: SessionStore) -> None:
    await store.append(KEY, replace(first(), mark=mark(unconfirmed=True)))
    assert (await loaded(store)).marks[1].unconfirmed


async def test_a_store_that_serves_answers_a_ping(store: SessionStore) -> None:
    await store.ping()
    assert store.name in ("file", "redis")


async def test_a_store_may_be_closed_twice(store: SessionStore, other: SessionStore) -> None:
    await store.append(KEY, first("one"))
    await store.close()
    await store.close()
    assert texts(await load(other)) == ["one"]
