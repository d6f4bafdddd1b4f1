"""What the fixtures of files of format 2 hold, and how it was stored. Never change this, nor them.

The sessions of format 1, and a long one with all that an index can have: leaps, a replaced turn, old flags.
"""

from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from gateway.sessions.store import Appended, Patch, SessionKey, SessionStore
from tests.contract.format_1 import GONE, KEY, LIMITS, append_of

LONG: Final = SessionKey("acme", "", "long")


async def write(store: SessionStore) -> None:
    """Store it all."""
    await _talk(store, KEY, 20)
    await store.flag(KEY, 20, "token-20", unconfirmed=True)
    await store.patch(KEY, Patch(context=Raw(b'{"plan": "gold"}')))
    await _talk(store, GONE, 1)
    await store.delete(GONE)
    last = await _talk(store, LONG, 45, max_turns=1000)
    await store.flag(LONG, 7, "token-7", unconfirmed=True)
    again = append_of(46, last.generation, last.revision)
    await store.append(LONG, replace(again, replace_from=43, limits=replace(LIMITS, max_turns=1000)))


async def _talk(store: SessionStore, key: SessionKey, turns: int, max_turns: int = LIMITS.max_turns) -> Appended:
    generation, revision, limits = None, 0, replace(LIMITS, max_turns=max_turns)
    for number in range(1, turns + 1):
        last = await store.append(key, replace(append_of(number, generation, revision), limits=limits))
        generation, revision = last.generation, last.revision
    return last
