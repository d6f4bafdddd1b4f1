"""What a request's headers and body say about its session: an id, a mode, or only where it belongs."""

import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Literal, cast

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.api.auth import Caller
from gateway.api.opening import opening
from gateway.dialects.dialect import Request
from gateway.errors import GatewayError, Kind
from gateway.sessions.chains import chain_id, short_token
from gateway.sessions.history import Mode
from gateway.sessions.memory import SessionAsk
from gateway.sessions.store import SessionKey

ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
RETRY_KEY = re.compile(r"[\x20-\x7e]{1,256}", re.ASCII)
USER = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)
AGENT_HEADERS = ("x-claude-code-session-id", "session-id", "session_id", "thread-id", "x-session-affinity")
"""Coding agents send these and keep their own history, so that alone they mean affinity only (design section 3)."""

_AGENTS = frozenset(AGENT_HEADERS)
_key = lru_cache(maxsize=4096)(SessionKey)
"""The key of a session that is used often knows its tag already."""

_FIELDS = ("prompt_cache_key", "conversation", "metadata", "client_metadata")
_SUB_AGENT = "x-claude-code-agent-id"
"""A sub-agent of Claude Code has its session's id and a prompt of its own."""

_NAMELESS = ("GeminiCLI", "QwenCode")
"""Coding agents that send no name of their session, by their user agent."""
_INSTALLATION = "x-gemini-api-privileged-user-id"
"""Gemini CLI sends it, unless its usage statistics are switched off."""

Directive = Literal["auto", "delta", "resend", "off", "reset"]


class Directives(Struct, frozen=True):
    """`session` is set if history is wanted; `affinity` names what the request belongs to, "" for nothing.

    `state` is what X-Session-State says before anything is loaded, "" if the request has no session at all.
    """

    session: SessionAsk | None
    affinity: str
    state: str


def read_directives(
    headers: Mapping[str, str], fields: Mapping[str, Raw], caller: Caller, token: str, *, enabled: bool
) -> Directives:
    """Read rule S1's headers and the affinity signals; `token` is unique. Raises GatewayError (INVALID)."""
    if caller.sessions == "off":
        return Directives(None, "", "")
    given = headers.get("x-session-id")
    directive = _directive(headers)
    affinity_only = caller.sessions == "affinity" or directive == "off" or not enabled
    if given is None or affinity_only or (is_agent(headers) and directive not in ("delta", "resend")):
        signal = _signal(headers, fields) or _unnamed(headers, fields, always=caller.sessions == "affinity")
        name = signal if given in (None, "new") else given
        return Directives(None, f"{caller.owner}\0{name}" if name else "", "affinity" if name else "")
    made = given == "new"
    key = _key(caller.owner, read_user(headers), f"s_{token}" if made else read_id(given))
    ask = SessionAsk(
        key=key,
        token=token,
        mode=cast("Mode", directive),
        turn=_turn(headers),
        retry=headers.get("x-stainless-retry-count", "0") not in ("0", ""),
        made=made,
    )
    return Directives(ask, key.tag, "new")


def with_retry_key(directives: Directives, given: str | None, request: Request, body: bytes) -> Directives:
    """The same with the client's Idempotency-Key (rule S10); without a session it means nothing.

    A new session's id is then made from the key, so that a repeat finds it. Raises GatewayError (INVALID).
    """
    ask = directives.session
    if ask is None or given is None:
        return directives
    if RETRY_KEY.fullmatch(given) is None:
        message = "Idempotency-Key must be 1 to 256 visible ASCII characters."
        raise GatewayError(Kind.INVALID, message, param="Idempotency-Key")
    key = ask.key
    retry_key = sha256(f"{key.owner}\0{key.user}\0{given}".encode()).hexdigest()[:32]
    if ask.made:
        key = replace(key, id=f"s_{retry_key}")
    stored = ask.stored
    if stored is not None and ask.made:
        stored = replace(stored, token=short_token(retry_key))
        key = replace(key, id=chain_id(stored.token))
    what = f"{request.dialect}\0{request.model}\0{request.stream}\0{request.query}\0".encode()
    # Keyed, so that who reads the store cannot try out what the body was.
    asked = hmac.digest(given.encode(), what + body, "sha256").hex()[:32]
    ask = replace(ask, key=key, stored=stored, retry_key=retry_key, body=asked, made=False)
    return Directives(ask, key.tag, directives.state)


def read_id(given: str) -> str:
    """A session's id (rule S1). Raises GatewayError (INVALID)."""
    if ID.fullmatch(given) is None:
        message = "X-Session-ID must be 1 to 128 of A-Z a-z 0-9 _ and -, or `new` for one that the gateway makes."
        raise GatewayError(Kind.INVALID, message, param="X-Session-ID", code="invalid_session_id")
    return given


def read_user(headers: Mapping[str, str]) -> str:
    """The owner's end user, "" for none (rule S2). Raises GatewayError (INVALID)."""
    user = headers.get("x-session-user", "")
    if user and USER.fullmatch(user) is None:
        message = "X-Session-User must be 1 to 256 visible ASCII characters."
        raise GatewayError(Kind.INVALID, message, param="X-Session-User")
    return user


def _directive(headers: Mapping[str, str]) -> Directive:
    given = headers.get("x-session-history", "auto").strip().lower()
    if given not in ("auto", "delta", "resend", "off", "reset"):
        message = f"X-Session-History is delta, resend, off or reset, not {given[:32]!r}."
        raise GatewayError(Kind.INVALID, message, param="X-Session-History")
    return cast("Directive", given)


def _turn(headers: Mapping[str, str]) -> int | None:
    given = headers.get("x-session-turn")
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and 0 < len(given) <= 9 and int(given) > 0):  # noqa: PLR2004
        raise GatewayError(Kind.INVALID, "X-Session-Turn is the number of a turn, from 1.", param="X-Session-Turn")
    return int(given)


def is_agent(headers: Mapping[str, str]) -> bool:
    """Whether a coding agent asks, by its session header."""
    return not _AGENTS.isdisjoint(headers)


def _signal(headers: Mapping[str, str], fields: Mapping[str, Raw]) -> str:
    for name in AGENT_HEADERS:
        if value := headers.get(name):
            return f"{value[:256]}\0{headers.get(_SUB_AGENT, '')[:256]}"
    for name in _FIELDS:
        if name in fields and (value := _field(name, fields[name])):
            return value[:256]
    return ""


def _unnamed(headers: Mapping[str, str], fields: Mapping[str, Raw], *, always: bool) -> str:
    """What a coding agent that names no session is known by: its installation, or how its conversation began."""
    if installation := headers.get(_INSTALLATION):
        return installation[:256]
    return opening(fields) if always or headers.get("user-agent", "").startswith(_NAMELESS) else ""


def _field(name: str, raw: Raw) -> str:
    """A body member that names a conversation: a string, an object with an id, Claude Code's or Codex' metadata."""
    try:
        value = msgspec.json.decode(raw)
        if name == "metadata":
            user = value.get("user_id", "")
            if not user.startswith("{"):
                return str(user.partition("_session_")[2])  # before 2.1: user_..._account_..._session_...
            value = msgspec.json.decode(user)
        if isinstance(value, dict):
            value = value.get("session_id") or value.get("id", "")
    except (msgspec.DecodeError, AttributeError):
        return ""
    return value if isinstance(value, str) else ""
