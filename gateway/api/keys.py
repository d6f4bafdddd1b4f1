"""Client keys in the management API: those of the configuration, and those that are made at run time."""

from hashlib import sha256
from secrets import token_urlsafe
from typing import Annotated, Literal

import msgspec
from litestar import Controller, delete, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from gateway.api.desk import AnyDesk, AnyRequest, Desk, note
from gateway.api.transcript import rfc3339
from gateway.config import ClientKey, KeyLimits, SessionMode
from gateway.errors import GatewayError, Kind

PREFIX = "gw-"
"""Keys begin with it, so that one that leaked is recognised."""

_BYTES = 32


class KeyState(Struct, frozen=True, kw_only=True):
    """A client key without the key itself. `models` are patterns; `source` is where it was defined.

    `spent`: dollars, in this `day` and this `month` of UTC, of a key that has a budget.
    """

    id: str
    owner: str
    models: list[str]
    sessions: SessionMode
    limits: dict[str, float]
    spent: dict[str, float] | None = None
    source: Literal["configuration", "management"]
    created_at: str | None = None
    revoked_at: str | None = None


class NewKeyState(KeyState, frozen=True, kw_only=True):
    """A key that was just made. `key` is shown this once; the gateway keeps its hash only."""

    key: str


class Keys(Struct, frozen=True):
    """Every client key, revoked ones too."""

    keys: list[KeyState]


class NewKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client key to make. `owner` is whose the sessions are, the id if absent; `models` are patterns such as `gpt-*`.

    `limits`: requests_per_minute, tokens_per_minute, concurrency, and the budgets dollars_per_day and
    dollars_per_month; 0 for none.
    """

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Appears in logs.")]
    owner: Annotated[str, Meta(max_length=256)] = ""
    models: tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...] = ("*",)
    sessions: SessionMode = "history"
    limits: dict[str, Annotated[float, Meta(ge=0)]] = {}


class Revoked(Struct, frozen=True):
    """The key opens nothing any more: at once in this worker, within a second in the others."""

    status: str = "revoked"


class KeysController(Controller):
    """Client keys."""

    path = "/keys"
    tags = ("keys",)

    @get()
    async def list_keys(self, desk: AnyDesk) -> Keys:
        """Client keys, those of the configuration first."""
        await desk.book.refresh(strict=True)
        configured = [_state(key, "configuration") for key in desk.config().auth.keys]
        issued = [
            _state(known.key, "management", known.created, known.revoked)
            for known in sorted(desk.book.keys.values(), key=lambda known: known.created)
        ]
        return Keys(await _with_spending(desk, configured + issued))

    @post(status_code=201)
    async def create_key(self, request: AnyRequest, desk: AnyDesk, data: JSONBody[NewKey]) -> NewKeyState:
        """Make a client key. It is valid at once in this worker, within a second in the others."""
        secret = PREFIX + token_urlsafe(_BYTES)
        try:
            limits = msgspec.convert(data.limits, KeyLimits, strict=False)
        except msgspec.ValidationError as exc:
            raise GatewayError(Kind.INVALID, f"limits: {exc}.", param="limits") from None
        key = ClientKey(
            id=data.id,
            sha256=sha256(secret.encode()).hexdigest(),
            owner=data.owner or data.id,
            models=data.models,
            sessions=data.sessions,
            limits=limits,
        )
        now = desk.wall()
        taken = any(known.id == key.id for known in desk.config().auth.keys)
        if taken or not await desk.book.issue(key, now):
            message = f"There is, or was, a key {key.id!r}; choose another id."
            raise GatewayError(Kind.CONFLICT, message, code="key_exists", param="id")
        note("key created", request, key=key.id, owner=key.owner)
        state = _state(key, "management", now)
        return NewKeyState(key=secret, **msgspec.structs.asdict(state))

    @delete("/{id:str}", status_code=200)
    async def revoke_key(self, request: AnyRequest, desk: AnyDesk, id: FromPath[str]) -> Revoked:
        """Take a key out of force. One of the configuration is removed there."""
        if any(known.id == id for known in desk.config().auth.keys):
            message = f"{id!r} is a key of the configuration; remove it there."
            raise GatewayError(Kind.CONFLICT, message, code="configured_key")
        revoked = await desk.book.revoke(id, desk.wall())
        if not revoked and id not in desk.book.keys:
            raise GatewayError(Kind.NOT_FOUND, "There is no such key.", code="key_not_found")
        note("key revoked", request, key=id, was_valid=revoked)
        return Revoked()


async def _with_spending(desk: Desk, keys: list[KeyState]) -> list[KeyState]:
    budgeted = [key.id for key in keys if key.limits.keys() & {"dollars_per_day", "dollars_per_month"}]
    spent = dict(zip(budgeted, await desk.spent(budgeted), strict=True))
    return [
        msgspec.structs.replace(key, spent=dict(zip(("day", "month"), spent[key.id], strict=True)))
        if key.id in spent
        else key
        for key in keys
    ]


def _state(
    key: ClientKey,
    source: Literal["configuration", "management"],
    created: float | None = None,
    revoked: float | None = None,
) -> KeyState:
    return KeyState(
        id=key.id,
        owner=key.owner or key.id,
        models=list(key.models),
        sessions=key.sessions,
        limits={name: value for name, value in msgspec.to_builtins(key.limits).items() if value},
        source=source,
        created_at=None if created is None else rfc3339(int(created * 1000)),
        revoked_at=None if revoked is None else rfc3339(int(revoked * 1000)),
    )
