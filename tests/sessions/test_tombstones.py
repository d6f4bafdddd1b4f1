"""Rule S11 by real clocks: a deleted session may be made anew at once, and no turn that ran then brings it back."""

import asyncio
from time import monotonic

import pytest

from gateway.errors import SessionGone
from gateway.sessions.store import SessionKey, SessionStore
from tests.contract.making import KEY, first, load, texts

ROUNDS = 300


async def test_a_session_that_was_deleted_is_made_anew_in_the_same_millisecond(every_store: SessionStore) -> None:
    for n in range(ROUNDS):
        await every_store.delete(KEY)
        began = monotonic()
        assert await load(every_store) is None
        await every_store.append(KEY, first(str(n), since=monotonic() - began))
        assert texts(await load(every_store)) == [str(n)]


async def test_a_first_turn_that_had_loaded_before_the_delete_is_refused(every_store: SessionStore) -> None:
    keys = [SessionKey("acme", "", f"s{n}") for n in range(20)]
    began = monotonic()
    assert [await load(every_store, key) for key in keys] == [None] * len(keys)
    await asyncio.sleep(0.5)  # long against what a busy machine takes to send one command
    for key in keys:
        await every_store.delete(key)
        with pytest.raises(SessionGone):
            await every_store.append(key, first(since=monotonic() - began))
        assert await load(every_store, key) is None
