"""Where the operator's commands work: a running gateway over HTTP, or a store directly.

Directly means a gateway within this process that listens nowhere: the same API, the same checks.
"""

import logging
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, cast

import httpx
import msgspec
from prometheus_client import CollectorRegistry

from gateway.app import create_app, make_shared
from gateway.commands.load import CommandFailed, WrongArguments, load
from gateway.config import Config, FileSessions, Management, RedisSessions, Sessions
from gateway.metrics import Metrics, Record
from gateway.sessions.store import SessionStore

KEY_VARIABLE = "GATEWAY_MANAGEMENT_KEY"
URL = "http://127.0.0.1:8080"

_PATIENCE = 600.0
"""Seconds without a byte: an import is answered when all of it is written."""
_PREFIX = "/v0/management"
_MEANT = {
    "?owner= and ?user=": "--owner and --user",
    "existing=skip or existing=replace": "--existing skip or --existing replace",
}
"""What the API calls things, and how they are said on the command line."""


class Desk:
    """The management API. Raises CommandFailed with what it says went wrong."""

    def __init__(self, client: httpx.AsyncClient, where: str) -> None:
        self._client = client
        self._where = where

    async def ask(self, method: str, path: str, **given: Any) -> Any:  # noqa: ANN401 - JSON
        """The answer's JSON. `given` as httpx has it; parameters that are None are left out."""
        params = {name: value for name, value in given.pop("params", {}).items() if value is not None}
        try:
            reply = await self._client.request(method, _PREFIX + path, params=params, **given)
        except httpx.HTTPError as exc:
            raise CommandFailed(f"{self._where} cannot be reached: {exc}.") from None
        return msgspec.json.decode(_checked(reply, reply.content))

    @asynccontextmanager
    async def stream(self, path: str, params: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of an answer."""
        wanted = {name: value for name, value in params.items() if value is not None}
        try:
            async with self._client.stream("GET", _PREFIX + path, params=wanted) as reply:
                if reply.is_error:
                    _checked(reply, await reply.aread())
                yield reply.aiter_bytes()
        except httpx.HTTPError as exc:
            raise CommandFailed(f"{self._where} broke off: {exc}. What was written is not complete.") from None


def _checked(reply: httpx.Response, body: bytes) -> bytes:
    if not reply.is_error:
        return body
    try:
        message = msgspec.json.decode(body)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        message = f"The answer is status {reply.status_code}, not one of this gateway's."
    if reply.status_code == httpx.codes.UNAUTHORIZED:
        message += f" Set {KEY_VARIABLE}."
    elif reply.status_code == httpx.codes.NOT_FOUND and "session" not in message and "provider" not in message:
        message += " Is management.key set there?"
    for said, meant in _MEANT.items():
        message = message.replace(said, meant)
    raise CommandFailed(message)


@asynccontextmanager
async def desk(arguments: Namespace, environ: Mapping[str, str]) -> AsyncIterator[Desk]:
    """What the arguments name: `--store` or `--config` a store, else the gateway at `--url`."""
    config = direct(arguments, environ)
    if config is None:
        key = environ.get(KEY_VARIABLE, "")
        url = arguments.url or environ.get("GATEWAY_URL") or URL
        if not url.startswith(("http://", "https://")):
            raise WrongArguments(f"The gateway's address begins with http:// or https://, unlike {url!r}.")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_PATIENCE) as client:
            yield Desk(client, url)
        return
    _look_for(config, arguments)
    failed: CommandFailed | None = None
    key = token_urlsafe()
    config = msgspec.structs.replace(config, management=Management(key=key))
    app = create_app(config, registry=CollectorRegistry(), finished=_nothing)
    transport = httpx.ASGITransport(cast("Any", app))  # the same protocol, by other types
    headers = {"Authorization": f"Bearer {key}"}
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=URL, headers=headers) as client:
        try:
            yield Desk(client, "The store")
        except CommandFailed as exc:  # the application's life must end well, or it is wrapped
            failed = exc
    if failed is not None:
        raise failed


@asynccontextmanager
async def opened_store(config: Config, arguments: Namespace) -> AsyncIterator[SessionStore]:
    """The store alone. Raises CommandFailed."""
    _look_for(config, arguments)
    shared = make_shared(config, Metrics(CollectorRegistry()), None)
    try:
        yield shared.opened
    finally:
        for part in (shared.book, shared.limits, shared.fleet, shared.store):
            await part.close()


def direct(arguments: Namespace, environ: Mapping[str, str]) -> Config | None:
    """The configuration of a store that is worked on directly, None for a running gateway."""
    where = getattr(arguments, "store", None)
    if where is None:
        return load(arguments, environ) if getattr(arguments, "config", None) else None
    config = load(arguments, environ) if getattr(arguments, "config", None) else Config()
    kept: dict[str, Any] = msgspec.structs.asdict(config.sessions)
    if where.startswith(("redis://", "rediss://", "unix://")):
        redis = msgspec.structs.replace(config.sessions.redis, url=where, timeout=RedisSessions().timeout * 40)
        return msgspec.structs.replace(config, sessions=Sessions(**{**kept, "store": "redis", "redis": redis}))
    return msgspec.structs.replace(
        config, sessions=Sessions(**{**kept, "store": "file", "file": FileSessions(directory=where)})
    )


_MAKES = ("import", "create")


def _look_for(config: Config, arguments: Namespace) -> None:
    """A store of files that is not there is a mistake, unless something is to be put into it."""
    directory = Path(config.sessions.file.directory).expanduser()
    if config.sessions.store == "file" and arguments.action not in _MAKES and not directory.is_dir():
        raise CommandFailed(f"{directory}: there is no such directory.")
    for name in ("gateway.ledger", "gateway.fleet"):  # what they warn of, the command itself tells
        logging.getLogger(name).setLevel(logging.ERROR)


def _nothing(_: Record) -> None:
    """Nobody is asked anything here."""
