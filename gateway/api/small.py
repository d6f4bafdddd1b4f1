"""Small requests of the data plane that no provider serves: read, answered with JSON, errors in OpenAI's shape."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from secrets import token_hex
from typing import TypeVar
from urllib.parse import parse_qs

import msgspec
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from gateway.api.body import read_body
from gateway.api.cors import shared_with
from gateway.api.directives import read_user
from gateway.api.inference import path_of
from gateway.api.setup import Current
from gateway.dialects import openai_responses
from gateway.errors import GatewayError, Kind
from gateway.sessions.memory import Memory
from gateway.sessions.store import SessionKey

log = logging.getLogger("gateway")

T = TypeVar("T")
LARGEST_PAGE = 100


class Small(Struct, frozen=True):
    """One request. `parts` is the path below the prefix; `owner` names whose sessions (its id is empty)."""

    method: str
    parts: tuple[str, ...]
    query: Mapping[str, list[str]]
    body: bytes
    owner: SessionKey
    memory: Memory

    def one(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        return self.query.get(name, [default])[-1]


Answer = bytes | tuple[bytes, str]
"""A body of JSON, or one of another content type."""


class Served(Struct, frozen=True):
    """Reads small requests below `prefix` and lets `answer` serve them."""

    prefix: str
    current: Current
    answer: Callable[[Small], Awaitable[Answer]]

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything, with an answer for whatever happens."""
        status, kind = 200, "application/json"
        request_id = token_hex(16)
        try:
            answer = await self.answer(await self._read(scope, receive))
            body, kind = answer if isinstance(answer, tuple) else (answer, kind)
        except GatewayError as error:
            status, body = error.kind.status, openai_responses.encode_error(error, request_id)
        except Exception:
            log.exception("request %s failed", request_id)
            made = GatewayError(Kind.INTERNAL, f"The gateway made a mistake; its log says more under {request_id}.")
            status, body = 500, openai_responses.encode_error(made, request_id)
        headers = {"content-type": kind, "content-length": str(len(body)), "x-request-id": request_id}
        asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        told = [*headers.items(), *shared_with(asked, self.current.setup.config.server.cors_origins)]
        head = [(name.encode(), value.encode("latin-1")) for name, value in told]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _read(self, scope: Scope, receive: Receive) -> Small:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        setup = self.current.setup
        caller, memory = setup.callers.find(headers, query), setup.gateway.memory
        if caller.sessions != "history" or memory is None:
            message = "Nothing is stored for this key (sessions: history is needed)."
            raise GatewayError(Kind.FORBIDDEN, message, code="state_not_available")
        method = str(scope.get("method"))
        body = await read_body(receive, headers, setup.config.server.max_body) if method == "POST" else b""
        parts = tuple(path_of(scope).removeprefix(self.prefix).strip("/").split("/"))
        owner = SessionKey(caller.owner, read_user(headers), "")
        return Small(method, tuple(part for part in parts if part), parse_qs(query), body, owner, memory)


def read_json(request: Small, decoder: "msgspec.json.Decoder[T]") -> T:
    """The body; an empty one is an empty object. Raises GatewayError (INVALID)."""
    try:
        return decoder.decode(request.body or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise GatewayError(Kind.INVALID, f"The body cannot be read: {exc}.") from None


def not_found(what: str, id: str, code: str | None = None) -> GatewayError:
    """As the vendor says it."""
    return GatewayError(Kind.NOT_FOUND, f"{what} with id '{id[:200]}' not found.", code=code)


def no_method(request: Small) -> GatewayError:
    """For a method or a path that does not exist."""
    message = f"There is no {request.method} of this; see https://platform.openai.com/docs/api-reference."
    return GatewayError(Kind.NOT_FOUND, message, code="method_not_allowed")


def page_limit(request: Small) -> int:
    """`limit`, 1 to 100. Raises GatewayError (INVALID)."""
    given = request.one("limit", "20")
    if not (given.isascii() and given.isdecimal() and 1 <= int(given) <= LARGEST_PAGE):
        raise GatewayError(Kind.INVALID, f"`limit` is 1 to {LARGEST_PAGE}.", param="limit")
    return int(given)
