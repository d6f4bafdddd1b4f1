"""A turn's reservation while it runs (rules S9 and S10): taken, renewed beside the turn, given up at its end."""

import asyncio
import logging
from contextlib import suppress

from gateway.errors import GatewayError, Kind, StoreError
from gateway.sessions.store import Reservation, Reserved, SessionKey, SessionStore

log = logging.getLogger("gateway.sessions")

RETRY_AFTER = 2.0
"""Seconds after which a refused turn may ask again."""
_RENEWALS = 3
"""How often a reservation is renewed before it would end."""


class Hold:
    """One reservation of one turn. `reservation` goes with the turn's append, which ends it."""

    def __init__(self, store: SessionStore, key: SessionKey, reservation: Reservation) -> None:
        self.reservation = reservation
        self._store = store
        self._key = key
        self._renewal: asyncio.Task[None] | None = None

    async def take(self) -> Reserved:
        """Reserve, and renew that from now on. Raises GatewayError if another turn is in the way, StoreError."""
        reserved = await self._store.reserve(self._key, self.reservation)
        match reserved.outcome:
            case "granted":
                self._renewal = asyncio.create_task(self._renew())
            case "busy":
                message = "Another turn of this session is running; send this one again when it has ended."
                raise GatewayError(Kind.CONFLICT, message, code="session_busy", retry_after=RETRY_AFTER)
            case "running":
                message = "The request with this Idempotency-Key is still running; ask again for its reply."
                raise GatewayError(Kind.CONFLICT, message, code="idempotency_key_running", retry_after=RETRY_AFTER)
            case "other":
                message = "This Idempotency-Key was used with another request in this session; use a new one."
                raise GatewayError(Kind.UNPROCESSABLE, message, param="Idempotency-Key", code="idempotency_key_reused")
        return reserved

    async def end(self, *, stored: bool, within: float | None = None) -> None:
        """The turn is over; what was not `stored` gives its reservation up. Raises nothing.

        That is waited for `within` seconds, and goes on without anybody waiting.
        """
        if self._renewal is None:
            return
        self._renewal.cancel()
        self._renewal = None if stored else asyncio.create_task(self._release())
        if self._renewal is not None:
            await asyncio.wait({self._renewal}, timeout=within)

    async def _release(self) -> None:
        try:
            await self._store.release(self._key, self.reservation)
        except StoreError as error:
            log.warning("session %s stays reserved for a while: %s", self._key.tag, error.message)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.reservation.seconds / _RENEWALS)
            with suppress(StoreError):  # the next one may come in time; if none does, the append will tell
                if not await self._store.renew(self._key, self.reservation):
                    log.warning("the reservation of session %s ran out while its turn ran", self._key.tag)
                    return
