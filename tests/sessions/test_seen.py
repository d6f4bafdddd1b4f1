"""What a worker has seen of a session is not read again, and never stands in the way of what is true."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from gateway.config import Encryption, EncryptionKey
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.sealed import SealedStore
from gateway.sessions.sealing import Seal
from gateway.sessions.seen import Seen
from gateway.sessions.store import Patch, Session
from tests.contract.making import KEY, after, first, load, loaded, said, talk, texts
from tests.servers import Process
from tests.sessions.test_redis_store import session_key

LIVE = 60.0
"""Seconds that a load keeps a session alive for a turn; what loads for none leaves no trace."""


async def answered(store: RedisStore, known: Session | None, **fields: Any) -> tuple[list[str], int, int]:
    """The questions that a load comes to, and how many turns and marks were read for it."""
    read = []
    run = store._link.run

    async def listening(*args: Any, **named: Any) -> Any:
        reply = await run(*args, **named)
        read.append((0, 0) if isinstance(reply, int) else (len(reply[5]), len(reply[3])))
        return reply

    store._link.run = listening  # type: ignore[method-assign]
    try:
        session = await loaded(store, known=known, **fields)
    finally:
        store._link.run = run  # type: ignore[method-assign]
    assert session == await loaded(store, **fields)
    turns, marks = map(sum, zip(*read, strict=True))
    return texts(session), turns, marks


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("fields", [{"marks": True}, {"marks": False}, {"marks": True, "turns": 0}])
async def test_only_what_is_new_is_read(store: RedisStore, fields: dict[str, Any]) -> None:
    await talk(store, *"abcdef")
    known = await loaded(store, **fields)
    assert (await answered(store, known, **fields))[1:] == (0, 0)
    for text in "ghi":
        await store.append(KEY, first(text))
    wanted = "" if fields.get("turns") == 0 else "abcdefghi"
    assert await answered(store, known, **fields) == (list(wanted), 3 if wanted else 0, 3)


async def test_a_window_moves_on(store: RedisStore) -> None:
    await talk(store, *"abcdef")
    known = await loaded(store, turns=3, marks=False)
    await store.append(KEY, first("g"))
    assert await answered(store, known, turns=3, marks=False) == (["e", "f", "g"], 1, 2)
    for text in "hijkl":
        await store.append(KEY, first(text))
    assert await answered(store, known, turns=3, marks=False) == (["j", "k", "l"], 3, 3)


async def test_more_than_is_known_is_read_whole(store: RedisStore) -> None:
    await talk(store, *"abcdef")
    known = await loaded(store, turns=3, marks=False)
    assert await answered(store, known, turns=4, marks=False) == (["c", "d", "e", "f"], 4, 4)
    assert (await answered(store, known, turns=0, marks=True))[2] == 6


async def test_much_that_is_new_is_read_in_several_answers(store: RedisStore) -> None:
    known = await talk(store, "a", "b")
    for letter in b"cdefghij":
        await store.append(KEY, first(bytes([letter]) * 200_000))
    found, turns, _ = await answered(store, known)
    assert [text[0] for text in found] == list("abcdefghij")
    assert turns == 10


# ---------------------------------------------------------------- what does not hold any more


async def test_replaced_turns_are_read_again(store: RedisStore) -> None:
    known = await talk(store, *"abcd")
    await store.append(KEY, after(known, "x", replace_from=3))
    assert await answered(store, known) == (["a", "b", "x"], 3, 3)
    await store.append(KEY, first("y"))
    assert await answered(store, known) == (["a", "b", "x", "y"], 4, 4)


async def test_turns_that_an_operator_took_away_are_gone(store: RedisStore) -> None:
    known = await talk(store, *"abcd")
    await store.patch(KEY, Patch(drop_last=2))
    assert (await answered(store, known))[0] == ["a", "b"]


async def test_a_session_that_was_made_anew_is_another(store: RedisStore) -> None:
    known = await talk(store, *"abcd")
    await store.write(KEY, known, over=True)
    assert await answered(store, known) == (list("abcd"), 4, 4)
    await store.delete(KEY)
    assert await load(store, known=known) is None


async def test_a_flag_of_an_older_turn_is_seen(store: RedisStore) -> None:
    await talk(store, "a")
    append = first("b")
    done = await store.append(KEY, append)
    known = await talk(store, "c", "d", "e")
    await store.flag(KEY, done.number, append.token, unconfirmed=True)
    assert (await answered(store, known))[2] == 5
    assert (await loaded(store, known=known)).marks[2].unconfirmed


async def test_a_history_that_a_failover_lost_is_not_told_again(redis_server: Process, store: RedisStore) -> None:
    """The new master has another turn under the same number, and the same revision."""
    await talk(store, "a", "b")
    name = session_key(store)
    with redis.Redis(port=redis_server.port) as client:
        replica = client.dump(name)
        known = await talk(store, "lost")
        client.restore(name, 60_000, replica, replace=True)
    other = await talk(store, "kept")
    assert (other.head.generation, other.head.revision) == (known.head.generation, known.head.revision)
    assert await answered(store, known) == (["a", "b", "kept"], 3, 3)


async def test_the_same_turn_stored_again_behind_another_is_not_taken_for_the_first(
    redis_server: Process, store: RedisStore
) -> None:
    await talk(store, "a")
    name, last = session_key(store), first("last")
    with redis.Redis(port=redis_server.port) as client:
        replica = client.dump(name)
        await store.append(KEY, first("lost"))
        await store.append(KEY, last)
        known = await loaded(store)
        client.restore(name, 60_000, replica, replace=True)
    await asyncio.sleep(0.002)  # no failover is over within the millisecond by which turns are stored
    await store.append(KEY, first("kept"))
    await store.append(KEY, last)
    assert await answered(store, known) == (["a", "kept", "last"], 3, 3)


# ---------------------------------------------------------------- sealed sessions


async def test_what_was_opened_is_not_opened_again(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Seal(Encryption(keys=(EncryptionKey(id="k", key="11" * 32),)), compress=False)
    one, other = (SealedStore(store, seal, Seen(1 << 20)) for _ in range(2))
    opened = []
    unseal = seal.open

    def counted(stored: Sequence[bytes], place: str) -> tuple[bytes, ...]:
        opened.append(place)
        return unseal(stored, place)

    monkeypatch.setattr(seal, "open", counted)
    calls = {"calls": (("call_1", "look"),), "system": said("be brief")}
    await talk(other, "a", "b", "c", "d", **calls)
    assert texts(await loaded(one, keep=LIVE)) == list("abcd")
    await other.append(KEY, first("e", **calls))
    opened.clear()
    session = await loaded(one, keep=LIVE)
    assert sorted(place.partition(".")[2] for place in opened) == ["calls", "calls", "question", "reply", "system"]
    assert texts(session) == list("abcde")
    assert session == await loaded(SealedStore(store, seal, Seen(0)))
    assert session.marks[5].calls == session.marks[1].calls == (("call_1", "look"),)


async def test_a_worker_forgets_what_it_deletes(store: RedisStore) -> None:
    seen = Seen(1 << 20)
    opened = SealedStore(store, Seal(Encryption(), compress=False), seen)
    await talk(opened, "a")
    await loaded(opened, keep=LIVE)
    assert len(seen) == 1
    await opened.delete(KEY)
    assert (len(seen), seen.size) == (0, 0)


async def test_who_reads_for_no_turn_leaves_no_trace(store: RedisStore) -> None:
    seen = Seen(1 << 20)
    await talk(store, "a", "b")
    await loaded(SealedStore(store, Seal(Encryption(), compress=False), seen))
    assert len(seen) == 0


async def test_what_is_read_is_counted(store: RedisStore) -> None:
    seen = Seen(1 << 20)
    opened = SealedStore(store, Seal(Encryption(), compress=False), seen)
    await talk(store, "a", "b")
    for _ in range(3):
        await loaded(opened, keep=LIVE)
    assert seen.news() == (1, 2, seen.size)
    assert seen.news() == (0, 0, seen.size)


# ---------------------------------------------------------------- what a worker keeps


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_those_that_were_not_used_longest_go_first(store: RedisStore) -> None:
    session = await talk(store, "a" * 2000)
    seen = Seen(64_000, Clock())
    for name in "abcdefghi":
        seen.keep(name, session)
        seen.keep("a", session)
    assert seen.find("a") is session
    assert seen.find("i") is session
    assert seen.find("b") is None
    assert 64_000 * 0.8 < seen.size <= 64_000


async def test_what_nobody_uses_goes_with_the_next_that_comes(store: RedisStore) -> None:
    session, clock = await talk(store, "a"), Clock()
    seen = Seen(64_000, clock)
    seen.keep("old", session)
    clock.now = 601.0
    seen.keep("new", session)
    assert (seen.find("old"), len(seen)) == (None, 1)


async def test_a_look_at_few_turns_does_not_take_the_place_of_many(store: RedisStore) -> None:
    seen = Seen(1 << 20)
    opened = SealedStore(store, Seal(Encryption(), compress=False), seen)
    whole = await talk(store, *"abcdef")
    await loaded(opened, keep=LIVE)
    await loaded(opened, keep=LIVE, turns=1, marks=False)
    assert seen.find(KEY.tag) == whole
    for _ in range(16):
        await store.append(KEY, first("more"))
    await loaded(opened, keep=LIVE, turns=1, marks=False)
    assert seen.find(KEY.tag) == await loaded(store, turns=1, marks=False)


async def test_a_session_that_would_take_all_the_room_is_not_kept(store: RedisStore) -> None:
    small, large = await talk(store, "a"), await talk(store, "b" * 40_000)
    seen = Seen(64_000, Clock())
    seen.keep("one", small)
    seen.keep("one", large)
    assert (len(seen), seen.size) == (0, 0)


async def test_without_room_nothing_is_kept(store: RedisStore) -> None:
    seen = Seen(0, Clock())
    seen.keep("one", await talk(store, "a"))
    assert len(seen) == 0


async def test_what_a_store_cannot_recognise_is_not_kept(store: RedisStore) -> None:
    seen = Seen(64_000, Clock())
    seen.keep("one", replace(await talk(store, "a"), stamp=b""))
    assert len(seen) == 0
