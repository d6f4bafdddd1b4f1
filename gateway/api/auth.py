"""Who asks: client keys, as hashes, from any of the places where the vendors' SDKs put them (feature A8)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from gateway.config import Config, KeyLimits, SessionMode
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


class Callers:
    """Finds the caller of a request."""

    def __init__(self, config: Config) -> None:
        self._by_hash = {
            key.sha256.lower() or sha256(key.key.encode()).hexdigest(): Caller(
                key.id, key.owner or key.id, key.models, key.sessions, key.limits
            )
            for key in config.auth.keys
        }
        self._keyless = config.auth.mode == "none" or not config.auth.keys
        self._pages = config.server.cors_origins
        self._loopback_only = config.auth.mode == "keys" and not config.auth.keys

    def find(self, headers: Mapping[str, str], query: str) -> Caller:
        """The caller. `headers` have lower-case names. Raises GatewayError (UNAUTHENTICATED, FORBIDDEN)."""
        if self._keyless:
            if self._loopback_only:
                _refuse_browsers(headers, self._pages)
            return OPEN
        key = _key(headers, query)
        if not key:
            message = "No API key was given: send it as `Authorization: Bearer KEY`, `x-api-key` or `x-goog-api-key`."
            raise GatewayError(Kind.UNAUTHENTICATED, message, code="invalid_api_key")
        caller = self._by_hash.get(sha256(key.encode("utf-8", "surrogateescape")).hexdigest())
        if caller is None:
            raise GatewayError(Kind.UNAUTHENTICATED, "The API key is not known here.", code="invalid_api_key")
        return caller


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
