"""What the contract tests store: small turns, marks and appends with every field but the interesting ones filled in."""

import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.conversation import Origin, Said, Usage
from gateway.sessions.store import Append, Limits, Mark, Session, SessionKey, SessionStore, Turn

KEY = SessionKey(owner="acme", user="", id="chat-1")
ORIGIN = Origin("main", "gpt-5")
LIMITS = Limits(ttl=1e6, max_age=1e7, max_turns=1000, max_bytes=8 << 20)

FIXTURES = Path(__file__).parent / "fixtures"

_tokens = count(1)


@dataclass(frozen=True)
class World:
    """One set of stored data.

    `open` gives another store on it, as another process would have; the world closes what it opened. `unit` is a
    length of time in seconds that is long against one call; `elapse` lets so many units pass.
    """

    open: Callable[[], SessionStore]
    elapse: Callable[[float], Awaitable[None]]
    unit: float

    def limits(self, **fields: float) -> Limits:
        """Limits with `ttl` and `max_age` in units."""
        times = {name: fields.pop(name) * self.unit for name in ("ttl", "max_age") if name in fields}
        return replace(LIMITS, **times, **fields)


def said(*texts: str | bytes, dialect: str = "openai-chat", origin: Origin | None = None) -> Said:
    return Said(dialect, tuple(t if isinstance(t, bytes) else b'"%s"' % t.encode() for t in texts), origin)


def turn(text: str | bytes = "hello", **fields: Any) -> Turn:
    given = {"usage": Usage(10, 5, 2, 1, 3), "stop": "end", "elapsed": 120, **fields}
    return Turn(question=said(text), reply=said("yes: ", text, origin=ORIGIN), **given)


def mark(text: str | bytes = "hello", **fields: Any) -> Mark:
    data = text if isinstance(text, bytes) else text.encode()
    return Mark(question=b"q" + data[:20], reply=b"r" + data[:20], **{"tokens": 15, **fields})


def token() -> str:
    return f"token-{os.getpid()}-{next(_tokens)}"


def first(text: str | bytes = "hello", **fields: Any) -> Append:
    """The append of a first turn. `fresh` and the like go to its mark, what a Turn has to its turn."""
    marked = {name: fields.pop(name) for name in ("fresh", "calls", "results", "unconfirmed") if name in fields}
    turned = {name: fields.pop(name) for name in ("usage", "stop", "incomplete") if name in fields}
    given: dict[str, Any] = {"token": token(), "limits": LIMITS, **fields}
    return Append(turn=turn(text, **turned), mark=mark(text, **marked), **given)


def after(session: Session | None, text: str | bytes = "more", **fields: Any) -> Append:
    """The append of a turn that loaded `session`."""
    if session is None:
        return first(text, **fields)
    loaded = {"generation": session.head.generation, "revision": session.head.revision}
    return first(text, **{**loaded, **fields})


async def load(store: SessionStore, key: SessionKey = KEY, **fields: Any) -> Session | None:
    return await store.load(key, **{"turns": 1000, "marks": True, "keep": 0.0, **fields})


async def loaded(store: SessionStore, key: SessionKey = KEY, **fields: Any) -> Session:
    session = await load(store, key, **fields)
    assert session is not None
    return session


async def talk(store: SessionStore, *texts: str, key: SessionKey = KEY, **fields: Any) -> Session:
    """So many turns one after the other; the session afterwards."""
    for text in texts:
        await store.append(key, after(await load(store, key, turns=0, marks=False), text, **fields))
    return await loaded(store, key)


def texts(session: Session | None) -> list[str]:
    """The questions of a session's turns, oldest first."""
    if session is None:
        return []
    return [session.turns[number].question.messages[0].decode().strip('"') for number in sorted(session.turns)]


def stored_files(version: str, directory: Path) -> Path:
    """A copy of what a version of the gateway stored in files."""
    shutil.copytree(FIXTURES / f"format-{version}-files", directory)
    directory.chmod(0o700)
    return directory
