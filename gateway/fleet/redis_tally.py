"""What client keys use, counted in Redis for the whole fleet; all keys are in the slot of `{prefix}{fleet}`."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, TypeVar

from gateway.config import KeyLimits
from gateway.fleet.bucket import Taken
from gateway.fleet.budget import Periods, budgets
from gateway.sessions.redis.link import Link, within
from gateway.sessions.redis.wire import Script

T = TypeVar("T")

LEASE: Final = 30.0
"""Seconds after which a request in progress is given up for dead, if its worker does not say that it runs."""
_DAY_KEPT, _MONTH_KEPT = 2 * 86_400_000, 33 * 86_400_000
"""Milliseconds for which Redis remembers what was spent."""


class RedisTally:
    """Counts in Redis; each method is one round trip of at most `timeout` seconds. Raises StoreUnavailable."""

    def __init__(self, link: Link, *, prefix: str, timeout: float) -> None:
        self._link = link
        self._timeout = timeout
        self._prefix = f"{prefix}{{fleet}}:"
        self._take, self._spend = Script("take", __package__), Script("spend", __package__)

    async def take(self, key: str, limits: KeyLimits, name: str, now: Periods) -> Taken:
        """One request of a client key, if its limits allow it. A budget's `wait` is the caller's to know."""
        counts = (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)
        args = (*counts, name, int(LEASE * 1000), *budgets(limits))
        refused, wait, *left = await within(
            self._timeout, self._link.run(self._take, (*self._keys(key), *self._of(key, now)), *args)
        )
        requests, tokens, day, month = left
        return Taken(refused, wait / 1000, requests, tokens, (day, month))

    async def spend(self, key: str, limits: KeyLimits, name: str, used: tuple[int, int], now: Periods) -> None:
        """A request has ended, which `used` so many tokens and billionths of a dollar. Told twice, it counts once."""
        keys = (*self._keys(key), *self._of(key, now), f"{self._prefix}s:{name}")
        args = (limits.tokens_per_minute, used[0], name, used[1], _DAY_KEPT, _MONTH_KEPT)
        await within(self._timeout, self._link.run(self._spend, keys, *args))

    async def renew(self, key: str, name: str) -> None:
        """A request is still in progress."""
        running = self._keys(key)[1]

        async def told() -> None:
            seconds, _ = await self._link.call(running, "TIME")
            await self._link.call(running, "ZADD", running, "XX", (int(seconds) + int(LEASE)) * 1000, name)
            await self._link.call(running, "PEXPIRE", running, int(LEASE * 1000) + 1000)

        await within(self._timeout, told())

    async def spent(self, keys: Sequence[str], now: Periods) -> list[tuple[int, int]]:
        """What client keys have spent in this day and in this month."""
        names = [name for key in keys for name in self._of(key, now)]
        found = await within(self._timeout, self._link.call(names[0], "MGET", *names)) if names else []
        return [(int(day or 0), int(month or 0)) for day, month in zip(found[::2], found[1::2], strict=True)]

    async def close(self) -> None:
        """Let go of connections."""
        await self._link.close()

    def _keys(self, key: str) -> tuple[str, str]:
        name = self._name(key)
        return name, f"{name}:n"

    def _of(self, key: str, now: Periods) -> tuple[str, str]:
        name = self._name(key)
        return f"{name}:{now.day.name}", f"{name}:{now.month.name}"

    def _name(self, key: str) -> str:
        return f"{self._prefix}k:{urlsafe_b64encode(sha256(key.encode()).digest())[:22].decode()}"
