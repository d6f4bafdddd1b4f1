"""What is Redis's own in the store: keys, lives, scripts, memory, big sessions. The rest is in the contract."""

import asyncio
import logging
from typing import Any
from uuid import uuid4
from zlib import crc32

import pytest
from msgspec.structs import replace

from gateway.errors import SessionGone, SessionLimit, StoreError, StoreUnavailable
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.redis.wire import Script
from gateway.sessions.store import Session, SessionKey
from tests.contract.making import KEY, LIMITS, after, first, load, loaded, talk, texts
from tests.servers import Process, one


def keys_of(server: Process, store: RedisStore) -> list[str]:
    return sorted(server.ask("KEYS", f"{store._prefix}*"))


def session_key(store: RedisStore, key: SessionKey = KEY) -> str:
    return f"{store._prefix}{{{key.tag}}}:s"


# ---------------------------------------------------------------- keys


async def test_no_character_of_an_id_or_an_owner_reaches_a_key(redis_server: Process, store: RedisStore) -> None:
    key = SessionKey("owner-Zq", "user-Zq", "id-Zq")
    await store.append(key, first())
    await store.delete(key)
    await store.append(replace(key, id="id2-Zq"), first())
    await store._index.flush()
    found = keys_of(redis_server, store)
    assert not [name for name in found if "Zq" in name]
    kinds = [name.removeprefix(store._prefix).split(":")[0] for name in found]
    assert sorted(kinds) == sorted(["i", "i", "i", f"{{{replace(key, id='id2-Zq').tag}}}", f"{{{key.tag}}}"])


async def test_every_key_runs_out_by_itself(redis_server: Process, store: RedisStore) -> None:
    await store.append(KEY, first())
    await store.append(SessionKey("acme", "", "other"), first())
    await store.delete(KEY)
    lives = {name: redis_server.ask("PTTL", name) for name in keys_of(redis_server, store)}
    assert len(lives) == 5
    assert all(life > 0 for life in lives.values())


async def test_an_operator_can_read_the_head_in_the_hash(redis_server: Process, store: RedisStore) -> None:
    await talk(store, "one", "two", messages=2)
    fields = ("v", "first", "next", "owner", "id", "turns", "messages", "input")
    assert redis_server.ask("HMGET", session_key(store), *fields) == ["1", "1", "3", "acme", "chat-1", "2", "4", "20"]


# ---------------------------------------------------------------- lives


async def test_the_life_is_set_in_the_step_that_stores_the_turn(redis_server: Process, store: RedisStore) -> None:
    await store.append(KEY, first(limits=replace(LIMITS, ttl=100.0)))
    assert 99_000 < redis_server.ask("PTTL", session_key(store)) <= 100_000
    await store.append(KEY, first(limits=replace(LIMITS, ttl=100.0, max_age=50.0)))
    assert 49_000 < redis_server.ask("PTTL", session_key(store)) <= 50_000


async def test_an_append_does_not_cut_the_time_that_a_running_turn_was_promised(
    redis_server: Process, store: RedisStore
) -> None:
    short = replace(LIMITS, ttl=5.0)
    session = await talk(store, "one", limits=short)
    await loaded(store, keep=600.0)
    await store.append(KEY, after(session, "quick", limits=short))
    assert 599_000 < redis_server.ask("PTTL", session_key(store)) <= 600_000


async def test_a_load_that_extends_nothing_writes_nothing(redis_server: Process, store: RedisStore) -> None:
    await talk(store, "one")
    dirty = redis_server.info("persistence")["rdb_changes_since_last_save"]
    await loaded(store, keep=600.0)
    assert redis_server.info("persistence")["rdb_changes_since_last_save"] == dirty


async def test_a_tombstone_stands_for_its_time_and_no_longer(redis_server: Process, open_store) -> None:
    store = open_store(redis_server.url, tombstone=0.2)
    await store.delete(KEY)
    with pytest.raises(SessionGone):
        await store.append(KEY, first())
    await asyncio.sleep(0.25)
    assert (await store.append(KEY, first())).number == 1


# ---------------------------------------------------------------- scripts


async def test_the_script_cache_may_be_flushed_at_any_moment(redis_server: Process, store: RedisStore) -> None:
    done = False

    async def flush() -> None:
        while not done:
            redis_server.ask("SCRIPT", "FLUSH", "SYNC")
            await asyncio.sleep(0.001)

    flushing = asyncio.create_task(flush())
    for n in range(60):
        append = after(await load(store, turns=1), f"turn {n}")
        appended = await store.append(KEY, append)
        assert await store.flag(KEY, appended.number, append.token, unconfirmed=True)
    done = True
    await flushing
    session = await loaded(store)
    assert texts(session) == [f"turn {n}" for n in range(60)]
    assert all(mark.unconfirmed for mark in session.marks.values())
    assert [head.key for head in (await store.list()).heads] == [KEY]
    redis_server.ask("SCRIPT", "FLUSH", "SYNC")
    assert await store.delete(KEY)


def counts(server: Process, *names: str) -> list[int]:
    stats = server.info("commandstats")
    return [stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names]


async def test_a_load_and_an_append_are_one_command_each(redis_server: Process, store: RedisStore) -> None:
    await talk(store, "one", "two")
    await store._index.flush()
    sent: list[str] = []
    lanes = store._link.lanes
    call = lanes.call

    async def noting(packed: bytes, *args: Any, **named: Any) -> Any:
        sent.append(packed.split(b"\r\n")[2].decode())
        return await call(packed, *args, **named)

    lanes.call = noting
    await store.append(KEY, after(await loaded(store)))
    assert sent == ["EVALSHA", "EVALSHA"]


async def test_an_append_costs_the_same_at_any_length(redis_server: Process, store: RedisStore) -> None:
    names = ("hset", "hmget", "hget", "hstrlen", "time", "pexpireat", "evalsha")
    session = await talk(store, "one", limits=replace(LIMITS, max_turns=9))
    await talk(store, *["more"] * 12, limits=replace(LIMITS, max_turns=9))
    await store.flag(KEY, 13, "nobody's", unconfirmed=True)

    async def cost(limits) -> list[int]:
        before = counts(redis_server, *names)
        await store.append(KEY, after(session, limits=limits))
        return [now - then for now, then in zip(counts(redis_server, *names), before, strict=True)]

    short = await cost(LIMITS)
    for _ in range(300):
        await store.append(KEY, after(session))
    assert await cost(LIMITS) == short
    at_cap = replace(LIMITS, max_turns=310)
    assert sum(await cost(at_cap)) < sum(short) + 10
    assert await cost(replace(at_cap, max_turns=311)) == short


async def test_an_append_sends_the_same_commands_and_bytes_at_turn_10_and_at_turn_1000(
    redis_server: Process, store: RedisStore
) -> None:
    session = await talk(store, *(str(n) for n in range(9)))
    names = ("hset", "hmget", "hget", "hstrlen", "time", "pexpireat", "evalsha")
    sent: list[bytes] = []
    lanes = store._link.lanes
    call = lanes.call

    async def noting(packed: bytes, *args: Any, **named: Any) -> Any:
        sent.append(packed)
        return await call(packed, *args, **named)

    async def cost(session: Session) -> tuple[int, list[int]]:
        before = counts(redis_server, *names)
        sent.clear()
        lanes.call = noting
        await store.append(KEY, after(session, "the same", token=uuid4().hex, since=session.head.next / 7))
        lanes.call = call
        (packed,) = sent
        return len(packed), [now - then for now, then in zip(counts(redis_server, *names), before, strict=True)]

    tenth = await cost(session)
    generation = session.head.generation
    for _ in range(23):
        await asyncio.gather(*(store.append(KEY, first(generation=generation)) for _ in range(43)))
    session = await loaded(store, turns=1, marks=False)
    assert session.head.next == 1000
    assert await cost(session) == tenth


async def test_trimming_many_turns_is_spread_over_appends(store: RedisStore) -> None:
    generation = (await store.append(KEY, first("0"))).generation
    await asyncio.gather(*(store.append(KEY, first(str(n), generation=generation)) for n in range(1, 300)))
    few = replace(LIMITS, max_turns=3)
    trimmed = [(await store.append(KEY, first("new", generation=generation, limits=few))).trimmed for _ in range(7)]
    assert trimmed == [64, 64, 64, 64, 46, 1, 1]
    session = await loaded(store)
    assert texts(session) == ["new"] * 3
    assert session.head.size == sum(mark.size for mark in session.marks.values())


async def test_a_place_to_cut_is_found_behind_many_turns_without_one(redis_server: Process, store: RedisStore) -> None:
    few = replace(LIMITS, max_turns=3)
    generation = (await store.append(KEY, first("ask", limits=few))).generation
    for n in range(200):
        appended = await store.append(KEY, first(f"tool {n}", fresh=False, generation=generation, limits=few))
        assert appended.trimmed == 0
    await store.append(KEY, first("next", generation=generation, limits=few))
    assert texts(await load(store)) == ["next"]
    assert redis_server.ask("HLEN", session_key(store)) < 40


async def test_nothing_is_left_of_replaced_and_trimmed_turns(redis_server: Process, store: RedisStore) -> None:
    session = await talk(store, *(f"turn {n}" for n in range(30)))
    await store.append(KEY, after(session, "anew", replace_from=2, limits=replace(LIMITS, max_turns=2)))
    fields = redis_server.ask("HKEYS", session_key(store))
    assert sorted(name for name in fields if ":" in name and not name.startswith("x:")) == ["d:1", "d:2", "t:1", "t:2"]
    assert len([name for name in fields if name.startswith("x:")]) == 2


async def test_a_token_of_any_kind_is_kept_apart(store: RedisStore) -> None:
    tokens = ["a", "b c", "é", "x" * 5000, "x" * 4999 + "y", "1:2", "\n"]
    for token in tokens:
        assert not (await store.append(KEY, first(token=token))).again
    for number, token in enumerate(tokens, 1):
        assert (await store.append(KEY, first(token=token))).number == number
        assert await store.flag(KEY, number, token, unconfirmed=True)


# ---------------------------------------------------------------- formats


async def test_a_session_of_a_newer_gateway_is_neither_read_nor_written(
    redis_server: Process, store: RedisStore
) -> None:
    session = await talk(store, "one")
    redis_server.ask("HSET", session_key(store), "v", "2")
    before = redis_server.ask("HLEN", session_key(store))
    for attempt in (load(store), store.head(KEY), store.append(KEY, after(session))):
        with pytest.raises(StoreError, match="newer version"):
            await attempt
    assert redis_server.ask("HLEN", session_key(store)) == before
    assert store.breaker.state == "closed"


async def test_a_turn_of_a_newer_gateway_is_not_guessed_at(redis_server: Process, store: RedisStore) -> None:
    await talk(store, "one")
    redis_server.ask("HSET", session_key(store), "t:1", b"\x02what")
    with pytest.raises(StoreError, match="newer version"):
        await load(store)


# ---------------------------------------------------------------- big sessions


async def fill(store: RedisStore, count: int, size: int) -> None:
    for n in range(count):
        await store.append(KEY, after(await load(store, turns=0, marks=False), bytes([65 + n]) * size))


async def test_a_session_larger_than_one_answer_is_read_in_several(store: RedisStore) -> None:
    await fill(store, 12, 200_000)
    session = await loaded(store, marks=False)
    assert [text[0] for text in texts(session)] == list("ABCDEFGHIJKL")
    assert set(session.marks) == set(range(1, 13))
    assert list(session.turns) == sorted(session.turns)
    assert set((await loaded(store, turns=7)).turns) == set(range(6, 13))
    assert set(await store.turns(KEY, first=2, count=9)) == set(range(2, 11))


async def test_a_turn_larger_than_one_answer_is_read_all_the_same(store: RedisStore) -> None:
    await fill(store, 3, 1_200_000)
    assert set((await loaded(store)).turns) == {1, 2, 3}
    assert set(await store.turns(KEY, first=2, count=1)) == {2}


async def test_an_answer_has_a_mebibyte_of_turns_at_most(store: RedisStore) -> None:
    await fill(store, 12, 200_000)
    sizes: list[int] = []
    run = store._link.run

    async def measured(script: Script, keys: tuple[str, ...], *args: Any) -> Any:
        answer = await run(script, keys, *args)
        if keys == (session_key(store),):
            sizes.append(sum(len(turn) for turn in answer[5]))
        return answer

    store._link.run = measured  # type: ignore[method-assign]
    await loaded(store)
    assert sum(sizes) > 2_400_000 * 2
    assert all(0 < size <= 1 << 20 for size in sizes)
    assert len(sizes) == 6


async def test_turns_that_are_replaced_while_a_big_session_is_read_are_not_mixed(store: RedisStore) -> None:
    await fill(store, 8, 200_000)
    run = store._link.run
    calls = 0

    async def meddling(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            store._link.run = run  # type: ignore[method-assign]
            session = await loaded(store, turns=0)
            await store.append(KEY, after(session, b"z" * 200_000, replace_from=2))
        return await run(*args)

    store._link.run = meddling  # type: ignore[method-assign]
    session = await loaded(store)
    assert [text[0] for text in texts(session)] == ["A", "z"]
    assert session.head.next == 3


async def test_turns_that_are_added_while_a_big_session_is_read_do_no_harm(store: RedisStore) -> None:
    await fill(store, 8, 200_000)
    run = store._link.run
    calls = 0

    async def meddling(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            store._link.run = run  # type: ignore[method-assign]
            await store.append(KEY, first(b"z" * 200_000))
        return await run(*args)

    store._link.run = meddling  # type: ignore[method-assign]
    assert [text[0] for text in texts(await loaded(store))] == list("ABCDEFGH")


# ---------------------------------------------------------------- memory


async def test_a_full_redis_refuses_turns_whole_and_still_loads_and_deletes(open_store) -> None:
    with one("--maxmemory-policy", "noeviction") as server:
        store = open_store(server.url)
        session = await talk(store, "one", "two")
        server.ask("CONFIG", "SET", "maxmemory", "1")
        before = await loaded(store, keep=0.0)
        for append in (after(session), after(session, "x" * 100_000)):
            with pytest.raises(StoreUnavailable, match="full"):
                await store.append(KEY, append)
        with pytest.raises(StoreUnavailable, match="full"):
            await store.append(SessionKey("acme", "", "new"), first())
        assert await loaded(store) == before
        assert (await loaded(store, keep=LIMITS.ttl * 2)).head.expires > before.head.expires
        assert await store.delete(KEY)
        assert await load(store) is None
        server.ask("CONFIG", "SET", "maxmemory", "0")
        with pytest.raises(SessionGone):
            await store.append(KEY, after(session))


async def test_a_redis_that_may_evict_sessions_is_warned_of(open_store, caplog: pytest.LogCaptureFixture) -> None:
    with one("--maxmemory-policy", "allkeys-lru") as server:
        store = open_store(server.url)
        with caplog.at_level(logging.WARNING):
            await store.check()
        assert "allkeys-lru" in caplog.text
        caplog.clear()
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await store.check()
        assert not caplog.records


async def test_a_redis_that_forbids_config_is_not_warned_of(open_store, caplog: pytest.LogCaptureFixture) -> None:
    with one("--maxmemory-policy", "allkeys-lru") as server:
        server.ask("ACL", "SETUSER", "gw", "on", ">secret", "~*", "+@all", "-config")
        store = open_store(server.url.replace("//", "//gw:secret@"))
        await store.check()
        assert not caplog.records
        await store.append(KEY, first())


# ---------------------------------------------------------------- the index


async def test_an_owner_has_as_many_sessions_as_it_may(redis_server: Process, store: RedisStore) -> None:
    limits = replace(LIMITS, max_sessions=3)
    keys = [SessionKey("acme", "", f"s{n}") for n in range(5)]
    for key in keys[:3]:
        await store.append(key, first(limits=limits))
    with pytest.raises(SessionLimit):
        await store.append(keys[3], first(limits=limits))
    assert await load(store, keys[3]) is None
    assert (await store.append(keys[0], first(limits=limits))).number == 2
    await store.append(SessionKey("zeta", "", "s"), first(limits=limits))
    await store.delete(keys[1])
    await store.append(keys[3], first(limits=limits))
    with pytest.raises(SessionLimit):
        await store.append(keys[4], first(limits=limits))
    assert store.breaker.state == "closed"


async def test_a_session_is_in_the_index_before_its_first_turn(redis_server: Process, store: RedisStore) -> None:
    order: list[str] = []
    run = store._link.run

    async def noting(script: Script, keys: tuple[str, ...], *args: Any, durable: bool = False) -> Any:
        answer = await run(script, keys, *args, durable=durable)
        order.append("index" if ":i:" in keys[0] else "session")
        return answer

    store._link.run = noting  # type: ignore[method-assign]
    await store.append(KEY, first())
    assert order[-1] == "session"
    assert order.count("session") <= 2
    assert "index" in order
    await store._index.flush()
    order.clear()
    await store.append(KEY, after(await load(store)))
    assert set(order) == {"session"}


async def test_uses_are_collected_and_written_together(redis_server: Process, store: RedisStore) -> None:
    session = await talk(store, *(f"turn {n}" for n in range(20)))
    assert len(store._index._uses) == 1
    zset = f"{store._prefix}i:all:"
    names = [name for name in keys_of(redis_server, store) if name.startswith(zset)]
    await store.close()
    assert redis_server.ask("ZSCORE", names[0], KEY.tag) == pytest.approx(session.head.updated)


async def test_sessions_that_are_gone_leave_the_index(redis_server: Process, store: RedisStore) -> None:
    def entries(kind: str) -> int:
        return sum(redis_server.ask("ZCARD", name) for name in keys_of(redis_server, store) if f":i:{kind}" in name)

    short = replace(LIMITS, ttl=1.0)
    for n in range(60):
        await store.append(SessionKey("acme", "", f"s{n}"), first(limits=short))
    await store._index.flush()
    await asyncio.sleep(1.1)
    assert (entries("all"), entries("owner"), entries("id")) == (60, 60, 60)
    for n in range(20):
        await store.append(SessionKey("acme", "", f"t{n}"), first(limits=short))
    await store._index._prune()
    assert entries("all") < 80 - 20
    assert entries("owner") < 80 - 20
    assert len((await store.list(limit=500)).heads) == 20
    assert entries("all") == 20
    assert await store.owners("s1") == []
    assert entries("id") == 79


async def test_a_session_that_came_back_stays_in_the_index(redis_server: Process, store: RedisStore) -> None:
    await store.append(KEY, first())
    await store._index.flush()
    (entry, name), *_ = await store._index.newest(None, None, 1)
    await asyncio.sleep(0.002)
    await store._index.add(KEY, LIMITS)
    await store._index.drop(name, [entry])
    assert [head.key for head in (await store.list()).heads] == [KEY]


async def test_a_page_over_many_expired_sessions_takes_bounded_work(redis_server: Process, store: RedisStore) -> None:
    for n in range(40):
        ttl = 100.0 if n < 2 else 0.05
        await store.append(SessionKey("acme", "", f"s{n}"), first(limits=replace(LIMITS, ttl=ttl)))
    await asyncio.sleep(0.1)
    found: list[str] = []
    cursor, rounds = None, 0
    while True:
        page = await store.list(cursor=cursor, limit=1)
        found += [head.key.id for head in page.heads]
        rounds += 1
        if (cursor := page.next) is None:
            break
    assert sorted(found) == ["s0", "s1"]
    assert rounds < 10


async def test_a_page_of_a_thousand_sessions_reads_no_more_sessions_than_it_shows(
    redis_server: Process, store: RedisStore
) -> None:
    await asyncio.gather(*(store.append(SessionKey("acme", "", f"s{n}"), first()) for n in range(1000)))
    await store._index.flush()
    (before,) = counts(redis_server, "evalsha")
    page = await store.list(owner="acme", limit=100)
    assert len(page.heads) == 100
    assert counts(redis_server, "evalsha")[0] - before < 110
    assert len([key async for key in store.scan()]) == 1000


@pytest.mark.parametrize("limit", [1, 7, 50, 500])
async def test_a_page_is_right_however_sessions_are_spread_over_the_sets(store: RedisStore, limit: int) -> None:
    def of_one_set(number: int) -> SessionKey:
        keys = (SessionKey("acme", "", f"s{number}-{n}") for n in range(10_000))
        return next(key for key in keys if crc32(key.tag.encode()) % 16 == 3)

    for n in range(70):
        key = SessionKey("acme", "", f"s{n}") if n % 10 == 0 else of_one_set(n)
        await store.append(key, first())
        store._index.used(key, 1_800_000_000_000 + n * 1000, LIMITS)
    found, cursor = [], None
    while len(found) < 70:
        page = await store.list(limit=limit, cursor=cursor)
        found += [int(head.key.id[1:].partition("-")[0]) for head in page.heads]
        cursor = page.next
        if cursor is None:
            break
    assert found == sorted(range(70), reverse=True)
