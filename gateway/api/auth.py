"""Who asks: client keys, as hashes, from any of the places where the vendors' SDKs put them (feature A8)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from gateway.config import ClientKey, Config, KeyLimits, SessionMode
from gateway.errors import GatewayError, Kind

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Caller(Struct, frozen=True):
    """A client key's identity: `id` is for logs, `owner` is whose the sessions are."""

    id: str
    owner: str
    models: tuple[str, ...]
    sessions: SessionMode
    limits: KeyLimits = KeyLimits()


OPEN = Caller("open", "open", ("*",), "history")
"""Everybody, where no keys are configured: on loopback, or with `auth.mode: none` on purpose."""


class Issued(Protocol):
    """The keys that were made at run time."""

    @property
    def keys(self) -> Mapping[str, object]:
        """All of them, by id, those that were revoked too."""

    @property
    def unread(self) -> bool:
        """Whether they are not known yet."""

    def find(self, digest: str) -> ClientKey | None:
        """The valid key with this SHA-256 (hex)."""


class Callers:
    """Finds the caller of a request: by the keys of the configuration, and those that were `issued`."""

    def __init__(self, config: Config, issued: Issued | None = None) -> None:
        self._by_hash = {
            key.sha256.lower() or sha256(key.key.encode()).hexdigest(): _caller(key) for key in config.auth.keys
        }
        self._issued = issued
        self._pages = config.server.cors_origins
        self._open = config.auth.mode == "none"
        self._configured = bool(config.auth.keys)

    def find(self, headers: Mapping[str, str], query: str) -> Caller:
        """The caller. `headers` have lower-case names. Raises GatewayError (UNAUTHENTICATED, FORBIDDEN)."""
        if self._open:
            return OPEN
        if not self._configured and not (self._issued and self._issued.keys):
            _refuse_browsers(headers, self._pages)
            return OPEN
        key = _key(headers, query)
        if not key:
            message = "No API key was given: send it as `Authorization: Bearer KEY`, `x-api-key` or `x-goog-api-key`."
            raise GatewayError(Kind.UNAUTHENTICATED, message, code="invalid_api_key")
        digest = _digest(key)
        caller = self._by_hash.get(digest)
        if caller is None and self._issued is not None:
            caller = self._of_issued(self._issued, digest)
        if caller is None:
            raise GatewayError(Kind.UNAUTHENTICATED, "The API key is not known here.", code="invalid_api_key")
        return caller

    @staticmethod
    def _of_issued(issued: Issued, digest: str) -> Caller | None:
        if issued.unread:
            message = "The keys cannot be looked up for now; try again."
            raise GatewayError(Kind.UNAVAILABLE, message, code="keys_unavailable", retry_after=1)
        key = issued.find(digest)
        return None if key is None else _caller(key)


@lru_cache(1024)
def _digest(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _caller(key: ClientKey) -> Caller:
    return Caller(key.id, key.owner or key.id, key.models, key.sessions, key.limits)


def _key(headers: Mapping[str, str], query: str) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    for name in ("x-api-key", "x-goog-api-key"):
        if value := headers.get(name):
            return value
    return parse_qs(query).get("key", [""])[0] if "key=" in query else ""


def _refuse_browsers(headers: Mapping[str, str], pages: Sequence[str]) -> None:
    """Without keys a web page must not reach us: not by its origin, not by a name that resolves to here (F7).

    `pages` are origins that may.
    """
    origin = headers.get("origin", "//localhost")
    if not (_is_here(f"//{headers.get('host', '')}") and (_is_here(origin) or origin in pages)):
        message = "Without client keys only programs on this machine may ask: use http://127.0.0.1, or add auth.keys."
        raise GatewayError(Kind.FORBIDDEN, message)


@lru_cache(256)
def _is_here(url: str) -> bool:
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:  # brackets that do not match
        return False
