"""A task that is cancelled while its turn is being stored, as when a stop takes too long, stores it once and ends."""

import asyncio
from typing import Any, Literal

import pytest

from gateway.errors import StoreUnavailable
from gateway.sessions.store import Append, Appended, SessionKey, SessionStore
from tests.harness import CONFIG, Harness, gateway

REJECT = CONFIG + "\nsessions: {conflict: reject}\n"


class Hesitant:
    """A store whose first append takes until `go` is set, before or behind what it does; then it may be down."""

    def __init__(self, store: SessionStore, when: Literal["before", "behind"]) -> None:
        self._store = store
        self._when = when
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.down = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, key: SessionKey, append: Append) -> Appended:
        if self.begun.is_set() and self.down:
            raise StoreUnavailable("The store is down.")
        if self._when == "behind" and not self.begun.is_set():
            await self._store.append(key, append)
        self.begun.set()
        await self.go.wait()
        return await self._store.append(key, append)


async def cancelled_in_its_commit(gw: Harness, store: Hesitant, text: str) -> None:
    turn = asyncio.create_task(gw.chat(text, "s"))
    await asyncio.wait_for(store.begun.wait(), 10)
    turn.cancel()
    await asyncio.sleep(0)
    store.go.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(turn, 10)


@pytest.mark.parametrize("when", ["before", "behind"])
@pytest.mark.parametrize("config", [CONFIG, REJECT], ids=["together", "one at a time"])
async def test_its_turn_is_stored_once(
    every_store: SessionStore, when: Literal["before", "behind"], config: str
) -> None:
    store = Hesitant(every_store, when)
    async with gateway(store, config=config) as gw:  # type: ignore[arg-type] # it is one, by delegation
        await cancelled_in_its_commit(gw, store, "a")
        assert (await gw.chat("b", "s")).status_code == 200
        assert [m["content"] for m in gw.sent("chat")["messages"] if m["role"] == "user"] == ["a", "b"]
        session = await every_store.load(gw.key("s"), turns=9, marks=False, keep=0)
        assert session is not None
        assert len(session.turns) == 2


async def test_it_ends_although_the_store_fails(every_store: SessionStore) -> None:
    store = Hesitant(every_store, "before")
    store.down = True
    async with gateway(store) as gw:  # type: ignore[arg-type] # it is one, by delegation
        await cancelled_in_its_commit(gw, store, "a")
        assert await every_store.load(gw.key("s"), turns=9, marks=False, keep=0) is None
