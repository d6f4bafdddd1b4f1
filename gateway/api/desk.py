"""What the management API works with beside the sessions, and how it tells what was done."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from msgspec import Struct
from prometheus_client import CollectorRegistry

from gateway.api.guard import address_of
from gateway.config import Config
from gateway.fleet.fleet import Fleet
from gateway.ledger.book import Book
from gateway.routing.table import Table
from gateway.sessions.digest import PLAIN, Digests
from gateway.sessions.store import SessionKey

audit = logging.getLogger("gateway.audit")

AnyRequest = Request[Any, Any, Any]


class Reloaded(Struct, frozen=True):
    """How reading the configuration again went: `applied`, `unchanged`, `invalid` or `restart_needed`."""

    outcome: str
    message: str


class Desk(Struct, frozen=True, kw_only=True):
    """The gateway as its operator sees it.

    `config` and `table` give what is in force now. `registry` has the instruments of all workers of this server,
    `clock` is the fleet's, `wall` Unix seconds. `digests` makes the sessions' digests.
    `spent` tells the dollars that client keys have spent in this day and this month.
    `reload` reads the configuration again, None if there is nothing to read.
    """

    config: Callable[[], Config]
    table: Callable[[], Table]
    fleet: Fleet
    book: Book
    spent: Callable[[list[str]], Awaitable[list[tuple[float, float]]]]
    registry: Callable[[], CollectorRegistry]
    clock: Callable[[], float]
    wall: Callable[[], float]
    digests: Digests = PLAIN
    reload: Callable[[], Awaitable[Reloaded]] | None = None


AnyDesk = NamedDependency[SkipValidation[Desk]]


def note(what: str, request: AnyRequest, **more: object) -> None:
    """One line of the audit log."""
    audit.info(what, extra={**more, "address": address_of(request)})


def note_session(what: str, request: AnyRequest, key: SessionKey, **more: object) -> None:
    """One line about a session."""
    note(what, request, session=key.id, owner=key.owner, user=key.user, **more)
