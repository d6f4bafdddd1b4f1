"""Rules S9 and S10 in the stores: the lease of a session, and retry keys that lead to the turn they made."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.errors import SessionBusy, SessionGone, SessionLimit
from gateway.sessions.store import Reservation, Reserved, SessionKey, SessionStore
from tests.contract.making import KEY, LIMITS, World, after, first, load, loaded, talk, texts, token

GRANTED, BUSY, RUNNING, OTHER = (Reserved(outcome) for outcome in ("granted", "busy", "running", "other"))


def leased(holder: str = "", **fields: Any) -> Reservation:
    return Reservation(holder=holder or token(), lease=True, **fields)


def retry(key: str = "key-1", body: str = "body-1", **fields: Any) -> Reservation:
    return Reservation(holder=token(), retry=key, body=body, **fields)


async def store_turn(store: SessionStore, wish: Reservation, text: str = "hello", **fields: Any) -> int:
    append = after(await load(store, turns=0), text, token=wish.holder, reserved=wish, **fields)
    return (await store.append(KEY, append)).number


# ---------------------------------------------------------------- the lease


async def test_one_turn_at_a_time_has_the_lease(store: SessionStore, other: SessionStore) -> None:
    mine = leased()
    assert await store.reserve(KEY, mine) == GRANTED
    assert await other.reserve(KEY, leased()) == BUSY
    assert await store.reserve(KEY, leased()) == BUSY
    assert await other.reserve(KEY, mine) == GRANTED
    assert await load(store) is None


async def test_a_turn_without_the_wish_runs_beside_the_lease(store: SessionStore, other: SessionStore) -> None:
    assert await store.reserve(KEY, leased()) == GRANTED
    assert await other.reserve(KEY, retry()) == GRANTED
    await other.append(KEY, first("beside"))
    assert texts(await load(store)) == ["beside"]


async def test_sessions_have_leases_of_their_own(store: SessionStore, other: SessionStore) -> None:
    assert await store.reserve(KEY, leased()) == GRANTED
    for key in (SessionKey("zeta", "", KEY.id), SessionKey(KEY.owner, "jo", KEY.id), SessionKey(KEY.owner, "", "b")):
        assert await other.reserve(key, leased()) == GRANTED


async def test_of_many_at_once_one_gets_the_lease(store: SessionStore, other: SessionStore) -> None:
    asked = [(store, other)[n % 2].reserve(KEY, leased()) for n in range(40)]
    outcomes = await asyncio.gather(*asked)
    assert sorted(found.outcome for found in outcomes) == ["busy"] * 39 + ["granted"]


async def test_the_lease_is_free_when_its_turn_is_stored(store: SessionStore, other: SessionStore) -> None:
    for text in ("one", "two"):
        mine = leased()
        assert await store.reserve(KEY, mine) == GRANTED
        await store_turn(store, mine, text)
    assert await other.reserve(KEY, leased()) == GRANTED
    assert texts(await load(other)) == ["one", "two"]


async def test_the_lease_is_free_when_it_is_released(store: SessionStore, other: SessionStore) -> None:
    mine = leased()
    await store.reserve(KEY, mine)
    await other.release(KEY, leased())
    assert await other.reserve(KEY, leased()) == BUSY
    await store.release(KEY, mine)
    assert await other.reserve(KEY, leased()) == GRANTED


async def test_a_lease_that_nobody_renews_runs_out(world: World, store: SessionStore, other: SessionStore) -> None:
    mine = leased(seconds=world.unit)
    await store.reserve(KEY, mine)
    await world.elapse(1.5)
    assert not await store.renew(KEY, mine)
    assert await other.reserve(KEY, leased(seconds=world.unit)) == GRANTED


async def test_a_lease_that_is_renewed_lasts(world: World, store: SessionStore, other: SessionStore) -> None:
    mine = leased(seconds=4 * world.unit)
    await store.reserve(KEY, mine)
    for _ in range(4):
        await world.elapse(1.5)
        assert await store.renew(KEY, mine)
    assert await other.reserve(KEY, leased()) == BUSY


async def test_renewing_takes_nothing_back(world: World, store: SessionStore, other: SessionStore) -> None:
    mine = leased(seconds=world.unit)
    await store.reserve(KEY, mine)
    await world.elapse(1.5)
    theirs = leased()
    await other.reserve(KEY, theirs)
    assert not await store.renew(KEY, mine)
    await store.release(KEY, mine)
    assert await store.reserve(KEY, leased()) == BUSY
    assert await other.renew(KEY, theirs)


async def test_a_turn_whose_lease_passed_to_another_is_refused(
    world: World, store: SessionStore, other: SessionStore
) -> None:
    mine = leased(seconds=world.unit)
    await store.reserve(KEY, mine)
    await world.elapse(1.5)
    theirs = leased()
    await other.reserve(KEY, theirs)
    with pytest.raises(SessionBusy):
        await store_turn(store, mine, "late")
    await store_turn(other, theirs, "in time")
    with pytest.raises(SessionBusy):
        await store.append(KEY, first("later", token=mine.holder, reserved=mine))
    assert texts(await load(store)) == ["in time"]


async def test_a_turn_whose_lease_ran_out_is_stored_if_nothing_came_between(world: World, store: SessionStore) -> None:
    await talk(store, "one")
    mine = leased(seconds=world.unit)
    await store.reserve(KEY, mine)
    await world.elapse(1.5)
    assert await store_turn(store, mine, "two") == 2


async def test_an_append_under_a_lease_may_be_sent_again(store: SessionStore, other: SessionStore) -> None:
    mine = leased()
    await store.reserve(KEY, mine)
    append = first("one", token=mine.holder, reserved=mine)
    await store.append(KEY, append)
    await other.reserve(KEY, leased())
    assert (await other.append(KEY, append)).again
    assert texts(await load(store)) == ["one"]


async def test_a_deleted_session_has_no_lease(store: SessionStore, other: SessionStore) -> None:
    await talk(store, "one")
    mine = leased()
    await store.reserve(KEY, mine)
    append = after(await load(store), token=mine.holder, reserved=mine)
    await other.delete(KEY)
    assert await other.reserve(KEY, leased()) == GRANTED
    with pytest.raises((SessionGone, SessionBusy)):
        await store.append(KEY, append)


# ---------------------------------------------------------------- retry keys


async def test_a_retry_key_runs_once(store: SessionStore, other: SessionStore) -> None:
    mine = retry()
    assert await store.reserve(KEY, mine) == GRANTED
    assert await other.reserve(KEY, retry()) == RUNNING
    assert await other.reserve(KEY, retry("key-2")) == GRANTED
    number = await store_turn(store, mine)
    assert await other.reserve(KEY, retry()) == Reserved("stored", number)
    await talk(store, "more", "and more")
    assert await other.reserve(KEY, retry()) == Reserved("stored", number)


async def test_of_many_with_one_retry_key_one_runs(store: SessionStore, other: SessionStore) -> None:
    outcomes = await asyncio.gather(*((store, other)[n % 2].reserve(KEY, retry()) for n in range(40)))
    assert sorted(found.outcome for found in outcomes) == ["granted"] + ["running"] * 39


async def test_a_retry_key_with_another_body_is_told_so(store: SessionStore, other: SessionStore) -> None:
    mine = retry()
    await store.reserve(KEY, mine)
    assert await other.reserve(KEY, retry(body="body-2")) == OTHER
    await store_turn(store, mine)
    assert await other.reserve(KEY, retry(body="body-2")) == OTHER


async def test_retry_keys_belong_to_their_session(store: SessionStore, other: SessionStore) -> None:
    mine = retry()
    await store.reserve(KEY, mine)
    await store_turn(store, mine)
    for key in (SessionKey("zeta", "", KEY.id), SessionKey(KEY.owner, "jo", KEY.id), SessionKey(KEY.owner, "", "b")):
        assert await other.reserve(key, retry(body="body-2")) == GRANTED


async def test_a_failed_run_frees_its_retry_key(store: SessionStore, other: SessionStore) -> None:
    mine = retry()
    await store.reserve(KEY, mine)
    await store.release(KEY, mine)
    assert await other.reserve(KEY, retry(body="body-2")) == GRANTED


async def test_a_cut_reply_frees_its_retry_key(store: SessionStore, other: SessionStore) -> None:
    mine = retry()
    await store.reserve(KEY, mine)
    await store_turn(store, mine, incomplete=True)
    assert await other.reserve(KEY, retry()) == GRANTED


async def test_a_release_after_the_turn_is_stored_changes_nothing(store: SessionStore, other: SessionStore) -> None:
    mine = retry()
    await store.reserve(KEY, mine)
    await store_turn(store, mine)
    await other.release(KEY, retry())
    assert await other.reserve(KEY, retry()) == Reserved("stored", 1)


async def test_the_running_mark_of_a_killed_worker_runs_out(
    world: World, store: SessionStore, other: SessionStore
) -> None:
    mine = retry(seconds=world.unit)
    await store.reserve(KEY, mine)
    await world.elapse(1.5)
    assert not await store.renew(KEY, mine)
    theirs = retry()
    assert await other.reserve(KEY, theirs) == GRANTED
    with pytest.raises(SessionBusy):
        await store_turn(store, mine, "late")
    assert await store_turn(other, theirs, "in time") == 1
    with pytest.raises(SessionBusy):
        await store_turn(store, mine, "later")
    assert texts(await load(store)) == ["in time"]


async def test_a_running_mark_that_is_renewed_lasts(world: World, store: SessionStore, other: SessionStore) -> None:
    mine = retry(seconds=4 * world.unit)
    await store.reserve(KEY, mine)
    for _ in range(4):
        await world.elapse(1.5)
        assert await store.renew(KEY, mine)
    assert await other.reserve(KEY, retry()) == RUNNING


async def test_a_retry_key_is_forgotten_in_time(world: World, store: SessionStore, other: SessionStore) -> None:
    mine = retry(kept=2 * world.unit)
    await store.reserve(KEY, mine)
    await store_turn(store, mine)
    assert (await other.reserve(KEY, retry())).outcome == "stored"
    await world.elapse(3)
    assert await other.reserve(KEY, retry(body="body-2")) == GRANTED


async def test_a_retry_key_dies_with_its_turn(store: SessionStore, other: SessionStore) -> None:
    mine = retry()
    await store.reserve(KEY, mine)
    await store_turn(store, mine)
    await store.append(KEY, after(await load(store), "instead", replace_from=1))
    assert await other.reserve(KEY, retry(body="body-2")) == GRANTED


async def test_a_retry_key_dies_with_its_session(store: SessionStore, other: SessionStore) -> None:
    mine = retry()
    await store.reserve(KEY, mine)
    await store_turn(store, mine)
    await other.delete(KEY)
    assert await other.reserve(KEY, retry(body="body-2")) == GRANTED


async def test_a_lease_and_a_retry_key_go_together(store: SessionStore, other: SessionStore) -> None:
    mine = retry(lease=True)
    assert await store.reserve(KEY, mine) == GRANTED
    assert await store.renew(KEY, mine)
    assert await other.reserve(KEY, retry("key-2", lease=True)) == BUSY
    assert await other.reserve(KEY, retry("key-2")) == GRANTED
    assert await other.reserve(KEY, retry(lease=True)) == RUNNING
    await store_turn(store, mine)
    assert await other.reserve(KEY, retry(lease=True)) == Reserved("stored", 1)
    assert await other.reserve(KEY, leased()) == GRANTED


async def test_what_was_refused_reserves_nothing(store: SessionStore, other: SessionStore) -> None:
    mine = leased()
    await store.reserve(KEY, mine)
    assert await other.reserve(KEY, retry(lease=True)) == BUSY
    await store.release(KEY, mine)
    assert await store.reserve(KEY, retry(lease=True)) == GRANTED


@pytest.mark.parametrize("holder", ["with a space", "é", "x" * 500])
async def test_any_token_can_hold(store: SessionStore, other: SessionStore, holder: str) -> None:
    mine = Reservation(holder=holder, lease=True, retry="key", body="body")
    assert await store.reserve(KEY, mine) == GRANTED
    assert await other.renew(KEY, mine)
    await store_turn(store, mine)
    assert await other.reserve(KEY, retry("key", "body")) == Reserved("stored", 1)


async def test_reservations_leave_nothing_that_shows(store: SessionStore, other: SessionStore) -> None:
    mine = retry(lease=True)
    await store.reserve(KEY, mine)
    assert await other.head(KEY) is None
    assert (await other.list()).heads == ()
    assert await other.owners(KEY.id) == []
    await store_turn(store, mine)
    assert (await loaded(other)).head.revision == 1
    await other.cleanup()
    assert await other.reserve(KEY, retry()) == Reserved("stored", 1)


# ---------------------------------------------------------------- the number of sessions


async def test_an_owner_with_as_many_sessions_as_it_may_have_gets_no_more(
    store: SessionStore, other: SessionStore
) -> None:
    two = replace(LIMITS, max_sessions=2)
    keys = [SessionKey("acme", "", f"chat-{n}") for n in range(3)]
    for key in keys[:2]:
        await other.admit(key, two)
        await store.append(key, first(limits=two))
    with pytest.raises(SessionLimit):
        await other.admit(keys[2], two)
    with pytest.raises(SessionLimit):
        await other.append(keys[2], first(limits=two))
    await other.admit(keys[0], two)
    await other.admit(SessionKey("zeta", "", "chat-2"), two)
    await other.admit(keys[2], LIMITS)
    await store.delete(keys[0])
    await other.admit(keys[2], two)
