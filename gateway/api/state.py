"""What a Responses request says about state: whether to store it, and what it goes on from.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.api.auth import Caller
from gateway.api.directives import ID, Directives, is_agent, read_user
from gateway.dialects.dialect import Request
from gateway.errors import GatewayError, Kind
from gateway.sessions.chains import Stored, chain_id, short_token
from gateway.sessions.memory import SessionAsk
from gateway.sessions.store import SessionKey

DIALECT = "openai_responses"
ECHO_LIMIT = 2048
"""Bytes of instructions and of tools that are stored with each response; longer ones are in the session's head."""

_NOT_ECHOED = frozenset({"input", "stream", "stream_options", "background", "store"})
_LONG = frozenset({"instructions", "tools"})


class _Conversation(Struct):
    id: str


T = TypeVar("T")

_FLAG = msgspec.json.Decoder(bool | None)
_TEXT = msgspec.json.Decoder(str | None)
_CONVERSATION = msgspec.json.Decoder(str | _Conversation | None)


class Asking(Struct, frozen=True):
    """Who asks, with which headers and which token. `always` is responses.store; `enabled`: sessions are on."""

    caller: Caller
    headers: Mapping[str, str]
    token: str
    always: bool
    enabled: bool


def with_state(directives: Directives, request: Request, asking: Asking) -> Directives:
    """The same with what the body says; the body of a request that is not stored says so from then on.

    Raises GatewayError (INVALID).
    """
    if request.dialect != DIALECT:
        return directives
    fields = request.fields
    _refuse_background(fields)
    store = _read(fields, "store", _FLAG)
    previous = _read(fields, "previous_response_id", _TEXT) or ""
    conversation = _conversation(fields)
    history = asking.enabled and asking.caller.sessions == "history"
    history = history and asking.headers.get("x-session-history", "").strip().lower() != "off"
    _refuse_contradictions(previous, conversation, directives.session, history=history)
    stored = Stored(
        previous=previous,
        conversation=bool(conversation),
        keep=store is not False,
        asked=store is True,
        token=short_token(asking.token),
    )
    if directives.session is not None:
        ask = replace(directives.session, stored=stored)
    elif conversation or previous:
        ask = _ask(asking, stored, conversation)
    elif history and (store or (store is None and asking.always and not is_agent(asking.headers))):
        ask = _ask(asking, stored, "")
    else:
        fields["store"] = Raw(b"false")
        return directives
    if stored.keep:
        ask = replace(ask, stored=replace(stored, echo=_echo(fields)))
    return Directives(ask, directives.affinity or ask.key.tag, "new")


def _ask(asking: Asking, stored: Stored, conversation: str) -> SessionAsk:
    headers = asking.headers
    id = conversation or chain_id(stored.token)
    return SessionAsk(
        key=SessionKey(asking.caller.owner, read_user(headers), id),
        token=asking.token,
        stored=stored,
        mode="append" if conversation else "follow",
        retry=headers.get("x-stainless-retry-count", "0") not in ("0", ""),
        made=not conversation,
    )


def _refuse_background(fields: Mapping[str, Raw]) -> None:
    if _read(fields, "background", _FLAG):
        message = "Background responses are not offered here; ask without `background`, streamed if it takes long."
        raise GatewayError(Kind.INVALID, message, param="background", code="unsupported_parameter")


def _refuse_contradictions(previous: str, conversation: str, session: SessionAsk | None, *, history: bool) -> None:
    if previous and conversation:
        message = "Mutually exclusive parameters: 'previous_response_id' and 'conversation'; send one of them."
        raise GatewayError(Kind.INVALID, message, param="conversation", code="mutually_exclusive_parameters")
    if (previous or conversation) and not history:
        param = "previous_response_id" if previous else "conversation"
        message = "Nothing is stored for this key (sessions: history is needed), so there is nothing to go on from."
        raise GatewayError(Kind.INVALID, message, param=param, code="state_not_available")
    if session is not None and (previous or (conversation and conversation != session.key.id)):
        message = "X-Session-ID and the body name different conversations; send one of them."
        raise GatewayError(Kind.INVALID, message, param="X-Session-ID", code="mutually_exclusive_parameters")


def _conversation(fields: Mapping[str, Raw]) -> str:
    given = _read(fields, "conversation", _CONVERSATION)
    id = given.id if isinstance(given, _Conversation) else given or ""
    if id and ID.fullmatch(id) is None:
        message = f"Conversation with id {id[:200]!r} not found."
        raise GatewayError(Kind.NOT_FOUND, message, param="conversation", code="conversation_not_found")
    return id


def _read(fields: Mapping[str, Raw], name: str, decoder: "msgspec.json.Decoder[T]") -> T | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise GatewayError(Kind.INVALID, f"`{name}` cannot be read.", param=name) from None


def _echo(fields: Mapping[str, Raw]) -> bytes:
    """The parameters that a response object repeats."""
    kept = {
        name: Raw(b"null") if name in _LONG and len(bytes(raw)) > ECHO_LIMIT else raw
        for name, raw in fields.items()
        if name not in _NOT_ECHOED
    }
    return msgspec.json.encode(kept)
