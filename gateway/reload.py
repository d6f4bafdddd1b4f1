"""A configuration that is read again while the gateway runs: on demand, or when its file has changed.

A configuration that is wrong changes nothing. Sessions, pins and cool-downs know nothing of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from gateway.config import Config, ConfigError

log = logging.getLogger("gateway.reload")

EVERY = 0.5
"""Seconds between two looks at the file. It is read when two of them find the same, so never half-written."""

FIXED = (
    "server.host", "server.port", "server.workers", "server.shutdown_delay", "server.shutdown_grace", "management",
    "sessions.store", "sessions.file", "sessions.redis", "sessions.cache", "sessions.encryption",
    "sessions.compression", "tracing",
)  # fmt: skip
"""What only a restart changes."""

_Fingerprint = tuple[int, int, int]

Outcome = Literal["applied", "unchanged", "invalid", "restart_needed"]


class Reload(Struct, frozen=True):
    """How reading the configuration again went; `at` in Unix seconds, `message` for the operator."""

    outcome: Outcome
    message: str
    at: float


class Source(Struct, frozen=True):
    """Where the configuration comes from: `read` may raise ConfigError; `path` is watched, None if there is no file."""

    read: Callable[[], Config]
    path: Path | None = None


class Reloader:
    """Holds the configuration that is in force. `apply` puts another one in force, `count` is told each outcome.

    Without a `source` there is nothing to read again.
    """

    def __init__(
        self,
        config: Config,
        apply: Callable[[Config], Awaitable[None]],
        *,
        count: Callable[[str], None],
        wall: Callable[[], float],
    ) -> None:
        self.config = config
        self.last: Reload | None = None
        self.source: Source | None = None
        self._loaded: _Fingerprint | None = None
        self._apply = apply
        self._count = count
        self._wall = wall
        self._one_at_a_time = asyncio.Lock()

    async def reload(self) -> Reload:
        """Read the configuration again and put it in force, or say why not."""
        async with self._one_at_a_time:
            self.last = await self._reload()
        self._count(self.last.outcome)
        level = logging.INFO if self.last.outcome in ("applied", "unchanged") else logging.ERROR
        log.log(level, "configuration %s: %s", self.last.outcome.replace("_", " "), self.last.message)
        return self.last

    async def catch_up(self) -> None:
        """Reload if the source says something else by now: a worker may start long after its server."""
        path = self.source.path if self.source else None
        self._loaded = _fingerprint(path) if path else None
        if await self._differs():
            await self.reload()

    async def watch(self) -> None:
        """Reload whenever the file has changed since `catch_up`, until cancelled."""
        path = self.source.path if self.source else None
        if path is None:
            return
        loaded = before = self._loaded
        while True:
            await asyncio.sleep(EVERY)
            now = _fingerprint(path)
            if now == before and now != loaded:
                loaded = now
                await self.reload()
            before = now

    async def _differs(self) -> bool:
        try:
            return self.source is not None and await asyncio.to_thread(self.source.read) != self.config
        except ConfigError:
            return True

    async def _reload(self) -> Reload:
        if self.source is None:
            return self._told("unchanged", "it was given by a program, not by a file")
        try:
            config = await asyncio.to_thread(self.source.read)
            if config == self.config:
                return self._told("unchanged", "it says what is in force already")
            if changed := [path for path in FIXED if _at(config, path) != _at(self.config, path)]:
                return self._told("restart_needed", f"restart the gateway to change {', '.join(changed)}")
            await self._apply(config)
        except ConfigError as error:
            return self._told("invalid", str(error))
        except Exception as error:
            log.exception("the configuration could not be put in force")
            return self._told("invalid", f"it could not be put in force: {error}")
        self.config = config
        return self._told("applied", "it is in force for every new request")

    def _told(self, outcome: Outcome, message: str) -> Reload:
        return Reload(outcome, message, self._wall())


def _fingerprint(path: Path) -> _Fingerprint | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _at(config: object, path: str) -> object:
    for name in path.split("."):
        config = getattr(config, name)
    return config
