"""What each client key may use in a minute and at once, counted over the whole fleet.

One round trip before a request of a key that has limits; none for others. What a request has used is told after its
end, beside the next ones. Without Redis, and while it is down, each worker counts for itself.
"""

import asyncio
import logging
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from hashlib import sha256
from math import ceil
from typing import Any, Final, Literal

from msgspec import Struct

from gateway.config import KeyLimits
from gateway.errors import GatewayError, Kind
from gateway.fleet.bucket import Counted, Taken
from gateway.sessions.redis_link import FAILURES, Link, Script

log = logging.getLogger("gateway.fleet")

LEASE: Final = 30.0
"""Seconds after which a request in progress is given up for dead, if its worker does not say that it runs."""
RENEWAL: Final = LEASE / 3
MOST_KEYS: Final = 10_000

_REFUSALS: Final = ("", "requests a minute", "tokens a minute", "requests at once")


class Ticket(Struct, frozen=True):
    """A request of the client key `key`, and what its limits say to it."""

    key: str
    name: str
    limits: KeyLimits
    taken: Taken


class Limits:
    """The limits of all client keys. `clock` gives seconds that never go back; `timeout` bounds each step."""

    def __init__(
        self, link: Link | None, clock: Callable[[], float], *, prefix: str = "gw:", timeout: float = 0.25
    ) -> None:
        self._link = link
        self._clock = clock
        self._prefix = f"{prefix}{{fleet}}:k:"
        self._timeout = timeout
        self._take, self._spend = Script("take", __package__), Script("spend", __package__)
        self._own: dict[str, Counted] = {}
        self._running: dict[str, Ticket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat: asyncio.Task[None] | None = None
        self._retry_at = 0.0

    async def admit(self, key: str, limits: KeyLimits, name: str) -> Ticket | None:
        """A ticket for the request `name` of the client key, None if it has no limits; `done` takes it back.

        The request may go on unless `taken.refused` says which limit is used up.
        """
        if limits == KeyLimits():
            return None
        taken = await self._taken(key, limits, name)
        ticket = Ticket(key, name, limits, taken)
        if not taken.refused:
            self._running[name] = ticket
        return ticket

    def done(self, ticket: Ticket, tokens: int) -> None:
        """The request has ended, and used so many tokens."""
        if self._running.pop(ticket.name, None) is None:
            return
        self._counted(ticket.key).spend(ticket.limits, tokens, ticket.name, self._clock())
        if self._link is not None:
            self._later(self._spent(self._link, ticket, tokens))

    def start(self) -> None:
        """Begin to renew what is in progress."""
        if self._link is not None:
            self._beat = asyncio.get_running_loop().create_task(self._renew(self._link))

    async def close(self) -> None:
        """What is to be told is told."""
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.wait([self._beat])
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timeout)
        if self._link is not None:
            await self._link.close()

    async def _taken(self, key: str, limits: KeyLimits, name: str) -> Taken:
        now = self._clock()
        if self._link is not None and now >= self._retry_at:
            args = (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency, name, int(LEASE * 1000))
            try:
                async with asyncio.timeout(self._timeout):
                    reply = await self._take.run(self._link, self._keys(key), *args)
            except FAILURES as exc:
                self._failed(exc)
            else:
                return Taken(reply[0], reply[1] / 1000, reply[2], reply[3])
        return self._counted(key).take(limits, name, now)

    async def _spent(self, link: Link, ticket: Ticket, tokens: int) -> None:
        args = (ticket.limits.tokens_per_minute, tokens, ticket.name)
        try:
            async with asyncio.timeout(self._timeout):
                await self._spend.run(link, self._keys(ticket.key), *args)
        except FAILURES as exc:
            self._failed(exc)

    async def _renew(self, link: Link) -> None:
        while True:
            await asyncio.sleep(RENEWAL)
            for ticket in [ticket for ticket in self._running.values() if ticket.limits.concurrency]:
                if self._clock() >= self._retry_at:
                    self._later(self._renewed(link, ticket))

    async def _renewed(self, link: Link, ticket: Ticket) -> None:
        keys = self._keys(ticket.key)
        try:
            async with asyncio.timeout(self._timeout):
                seconds, _ = await link.call(keys[1], "TIME")
                until = (int(seconds) + int(LEASE)) * 1000
                await link.call(keys[1], "ZADD", keys[1], "XX", until, ticket.name)
                await link.call(keys[1], "PEXPIRE", keys[1], int(LEASE * 1000) + 1000)
        except FAILURES as exc:
            self._failed(exc)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, exc: BaseException) -> None:
        now = self._clock()
        if now >= self._retry_at:
            log.warning("limits of client keys are counted by each worker for now (%s)", type(exc).__name__)
        self._retry_at = now + 1.0

    def _counted(self, key: str) -> Counted:
        counted = self._own.get(key)
        if counted is None:
            if len(self._own) >= MOST_KEYS:
                self._own.clear()
            counted = self._own[key] = Counted()
        return counted

    def _keys(self, key: str) -> tuple[str, str]:
        name = self._prefix + urlsafe_b64encode(sha256(key.encode()).digest())[:22].decode()
        return name, f"{name}:n"


def refusal(ticket: Ticket) -> GatewayError:
    """What a client is told whose key has used up one of its limits."""
    limits, taken = ticket.limits, ticket.taken
    limit = (0, limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)[taken.refused]
    message = f"This API key has {limit} {_REFUSALS[taken.refused]}; try again in {ceil(taken.wait)} s."
    return GatewayError(Kind.RATE_LIMITED, message, code="rate_limit_exceeded", retry_after=taken.wait)


def headers(ticket: Ticket, family: Literal["openai", "anthropic"], now: float) -> list[tuple[str, str]]:
    """What is left, as the vendor's API tells it. `now` in Unix seconds.

    Sources: https://platform.openai.com/docs/guides/rate-limits, https://docs.anthropic.com/en/api/rate-limits.
    """
    limits, taken = ticket.limits, ticket.taken
    told: list[tuple[str, str]] = []
    for name, limit, left in (
        ("requests", limits.requests_per_minute, taken.requests),
        ("tokens", limits.tokens_per_minute, taken.tokens),
    ):
        if not limit:
            continue
        reset = ceil((limit - left) * 60 / limit)
        if family == "anthropic":
            stem = f"anthropic-ratelimit-{name}-"
            values = (
                ("limit", str(limit)),
                ("remaining", str(max(left, 0))),
                ("reset", f"{datetime.fromtimestamp(now + reset, UTC):%Y-%m-%dT%H:%M:%SZ}"),
            )
            told += [(stem + what, value) for what, value in values]
        else:
            told.append((f"x-ratelimit-limit-{name}", str(limit)))
            told.append((f"x-ratelimit-remaining-{name}", str(max(left, 0))))
            told.append((f"x-ratelimit-reset-{name}", f"{reset}s"))
    return told
