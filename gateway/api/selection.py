"""Which sessions a management request means: parameters, filters, and the one session behind an id."""

import re
import time
from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, SkipValidation

from gateway.errors import GatewayError, Kind
from gateway.sessions.store import SessionKey, SessionStore, Wanted

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

Store = NamedDependency[SkipValidation[SessionStore]]
Owner = Annotated[str | None, QueryParameter(description="Whose session: the owner of the client key.")]
User = Annotated[str | None, QueryParameter(description="The owner's end user (X-Session-User); empty for none.")]
FoundKey = NamedDependency[SkipValidation[SessionKey | None]]


def wanted_of(
    *,
    user: str | None,
    provider: str | None,
    model: str | None,
    newer_than: float | None,
    older_than: float | None,
) -> Wanted:
    """What is wanted, with ages in seconds."""
    now = time.time()
    since = None if newer_than is None else int((now - newer_than) * 1000)
    until = None if older_than is None else int((now - older_than) * 1000)
    return Wanted(user=user, provider=provider, model=model, since=since, until=until)


class Ambiguous(GatewayError):
    """Several owners have a session with this id."""

    def __init__(self, id: str, keys: list[SessionKey]) -> None:
        self.owners = [{"owner": key.owner, "user": key.user} for key in keys]
        names = ", ".join(key.owner + (f" (user {key.user})" if key.user else "") for key in keys)
        message = f"{id!r} is a session of several owners: {names}. Pick one with ?owner= and ?user=."
        super().__init__(Kind.CONFLICT, message, code="ambiguous_session")


async def wanted_filter(
    user: User = None,
    provider: Annotated[
        str | None, QueryParameter(description="The preferred provider, or that of the last turn.")
    ] = None,
    model: Annotated[str | None, QueryParameter(description="The upstream model of the last turn.")] = None,
    newer_than: Annotated[
        float | None, QueryParameter(ge=0, description="Last used at most so many seconds ago.")
    ] = None,
    older_than: Annotated[
        float | None, QueryParameter(ge=0, description="Last used at least so many seconds ago.")
    ] = None,
) -> Wanted:
    """The filter of a listing."""
    return wanted_of(user=user, provider=provider, model=model, newer_than=newer_than, older_than=older_than)


async def found_key(id: FromPath[str], store: Store, owner: Owner = None, user: User = None) -> SessionKey | None:
    """The one session that an id, and perhaps an owner and a user, mean. Raises Ambiguous, GatewayError (INVALID)."""
    if not _ID.fullmatch(id):
        message = "A session id is 1 to 128 letters, digits, dashes and underscores."
        raise GatewayError(Kind.INVALID, message, code="invalid_session_id", param="id")
    if owner is not None and user is not None:
        return SessionKey(owner, user, id)
    every = await store.owners(id)
    keys = [key for key in every if owner in (None, key.owner) and user in (None, key.user)]
    if len(keys) > 1:
        raise Ambiguous(id, keys)
    if keys:
        return keys[0]
    return None if owner is None else SessionKey(owner, "", id)


async def found_cleanup(store: Store, owner: Owner = None, user: User = None) -> SessionKey | None:
    """The session whose id is `cleanup`. Raises Ambiguous."""
    return await found_key("cleanup", store, owner, user)


async def found_export(store: Store, owner: Owner = None, user: User = None) -> SessionKey | None:
    """The session whose id is `export`. Raises Ambiguous."""
    return await found_key("export", store, owner, user)


async def found_import(store: Store, owner: Owner = None, user: User = None) -> SessionKey | None:
    """The session whose id is `import`. Raises Ambiguous."""
    return await found_key("import", store, owner, user)
