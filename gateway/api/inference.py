"""The data plane's routes: read the request, let the exchange serve it, tell the client how it went."""

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Literal
from urllib.parse import unquote

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from gateway.api.auth import Caller
from gateway.api.body import read_body
from gateway.api.cors import preflight, shared_with
from gateway.api.directives import read_directives, with_retry_key
from gateway.api.outlet import AsgiOutlet
from gateway.api.setup import Current
from gateway.api.state import DIALECT as STATEFUL
from gateway.api.state import Asking, with_state
from gateway.api.work import Work
from gateway.ask import Ask
from gateway.dialects import gemini
from gateway.dialects.dialect import Dialect, Request
from gateway.dialects.registry import DIALECTS
from gateway.dialects.sse import COMMENT
from gateway.errors import GatewayError, Kind, UpstreamError
from gateway.exchange import exchange
from gateway.fleet.limits import Limits, Ticket, headers, refusal, used
from gateway.metrics import Record
from gateway.passthrough import Serve, count
from gateway.traces import Trace, Traces
from gateway.watch import Watch

COUNT = "countTokens"
"""Gemini's method, and the mark of its requests."""

PATIENCE = 0.05
"""Seconds after which a client that waits is watched; a turn asks before its end besides."""

LONG = 60.0
"""Seconds; the vendors' SDKs take no heed of a longer Retry-After and ask again at once, unless told not to."""

log = logging.getLogger("gateway")

Open = Callable[[Scope, bytes], Request]
"""Opens a request's body; the path may say more (Gemini)."""


class Inference(Struct, kw_only=True):
    """Serves conversations in every dialect. `finished` is called with the record of each exchange."""

    current: Current
    work: Work
    limits: Limits
    finished: Callable[[Record], None]
    direct: dict[str, ASGIApp] = {}
    """Who serves a POST to a path; one that ends in a slash stands for what is directly below it."""
    traces: Traces | None = None

    def route(
        self, path: str, dialect: Dialect, open_request: Open, other: ASGIApp | None = None, serve_one: Serve = exchange
    ) -> ASGIRouteHandler:
        """A route of `dialect`. With `other`, all below it too: then what is no POST of `dialect`'s goes there."""

        async def post(scope: Scope, receive: Receive, send: Send) -> None:
            await _Visit(self, dialect, scope, serve_one).serve(open_request, receive, send)

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if upgrades(scope):
                await refuse_upgrade(send)
            elif scope.get("method") == "OPTIONS":
                await _Visit(self, dialect, scope, serve_one).preflight(send)
            elif other is None or (scope.get("method") == "POST" and is_own(dialect, path_of(scope))):
                await post(scope, receive, send)
            else:
                await other(scope, receive, send)

        self.direct[f"{path}/" if dialect.NAME == "gemini" else path] = post
        return asgi(path, is_mount=other is not None, copy_scope=False)(serve)


class _Visit:
    """One client, from its request to the end of its reply."""

    def __init__(self, inference: Inference, dialect: Dialect, scope: Scope, serve_one: Serve) -> None:
        self._of = inference
        self._serve_one = serve_one
        self._setup = inference.current.setup
        self._dialect = dialect
        self._scope = scope
        self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._watch = Watch(self._setup.config.routing.deadline)
        self._record = Record(request_id=os.urandom(16).hex(), dialect=dialect.NAME)
        self._common = [("x-request-id", self._record.request_id)]
        if self._setup.config.server.cors_origins:
            self._common += shared_with(self._headers, self._setup.config.server.cors_origins)
        self._trace: Trace | None = None
        if inference.traces is not None:
            self._trace = inference.traces.begin(self._headers, path_of(scope))
            self._record.trace_id = self._trace.id
        self._ask: Ask | None = None
        self._ticket: Ticket | None = None

    async def preflight(self, send: Send) -> None:
        """Answer a browser that asks what it may send."""
        await preflight(self._headers, self._setup.config.server.cors_origins, send)

    async def serve(self, open_request: Open, receive: Receive, send: Send) -> None:
        """Everything, with an answer for whatever happens."""
        keepalive = self._setup.config.streaming.keepalive
        out = AsgiOutlet(send, self._watch, keepalive=keepalive, common=self._common)
        self._of.work.begin(self._watch)
        try:
            await self._exchange(open_request, receive, out)
            self._record.status = 200
        except GatewayError as error:
            await self._fail(error, out)
        except UnicodeDecodeError:
            await self._fail(GatewayError(Kind.INVALID, "The body is not valid UTF-8."), out)
        except asyncio.CancelledError:
            self._record.status, self._record.error = Kind.CLIENT_CLOSED.status, "cancelled"
            raise
        except Exception:
            log.exception("request %s failed", self._record.request_id)
            message = f"The gateway made a mistake; its log says more under {self._record.request_id}."
            await self._fail(GatewayError(Kind.INTERNAL, message), out)
        finally:
            self._of.work.end(self._watch)
            if self._ticket is not None:
                self._of.limits.done(self._ticket, *used(self._record))
            out.close()
            self._watch.close()
            self._record.duration = self._watch.now - self._watch.started
            self._of.finished(self._record)
            if self._trace is not None:
                self._trace.end(self._record)

    async def _exchange(self, open_request: Open, receive: Receive, out: AsgiOutlet) -> None:
        server = self._setup.config.server
        if self._of.work.draining:
            raise GatewayError(Kind.UNAVAILABLE, "The gateway is stopping; try again.", code="stopping", retry_after=1)
        if len(self._of.work) > server.max_concurrency:
            message = "This worker has as many requests as it takes; try again."
            raise GatewayError(Kind.UNAVAILABLE, message, code="busy", retry_after=1)
        if self._scope.get("method") != "POST":
            raise GatewayError(Kind.INVALID, "Use POST here.", code="method_not_allowed")
        caller = self._setup.callers.find(self._headers, self._scope["query_string"].decode("latin-1"))
        self._record.key, self._record.owner = caller.id, caller.owner
        body = await read_body(receive, self._headers, server.max_body)
        self._record.outside = self._watch.now - self._watch.started
        request = open_request(self._scope, body)
        await self._admit(caller)
        ask = self._ask = self._asked(request, caller, body)
        self._watch.look(PATIENCE, partial(out.listen, receive))
        if ask.session is not None:
            out.look_last(receive, self._scope)
        if request.stream:
            out.stream(*_framing(request))
        serve_one = count if request.query == COUNT else self._serve_one
        await serve_one(self._setup.gateway, ask, out, self._watch, self._record)

    async def _admit(self, caller: Caller) -> None:
        """Count the request by the limits of its key. Raises GatewayError (RATE_LIMITED)."""
        ticket = await self._of.limits.admit(caller.id, caller.limits, self._record.request_id)
        if ticket is not None:
            self._ticket = ticket
            family: Literal["anthropic", "openai"] = "anthropic" if self._dialect.NAME == "anthropic" else "openai"
            self._common.extend(headers(ticket, family, self._setup.gateway.wall()))
            if ticket.taken.refused:
                raise refusal(ticket)

    def _asked(self, request: Request, caller: Caller, body: bytes) -> Ask:
        gateway, record = self._setup.gateway, self._record
        enabled = gateway.memory is not None
        directives = read_directives(self._headers, request.fields, caller, record.request_id, enabled=enabled)
        always = self._setup.config.responses.store == "always"
        if request.dialect == STATEFUL:
            asking = Asking(caller, self._headers, record.request_id, always, enabled)
            directives = with_state(directives, request, asking)
        directives = with_retry_key(directives, self._headers.get("idempotency-key"), request, body)
        record.stream = request.stream
        if directives.session is None and directives.state:
            record.session = directives.state
            self._common.append(("x-session-state", directives.state))
        forwarded = self._dialect.FORWARDED_HEADERS & self._headers.keys()
        if self._trace is not None and directives.session is not None:
            self._trace.conversation = directives.session.key.id
        return Ask(
            id=record.request_id,
            created=int(gateway.wall()),
            client=self._dialect,
            request=request,
            models=caller.models,
            forwarded={name: self._headers[name] for name in sorted(forwarded)} if forwarded else {},
            session=directives.session,
            affinity=directives.affinity,
            metered=self._ticket is not None,
            priced=self._ticket is not None and self._ticket.limits.budgeted,
            trace=self._trace,
        )

    async def _fail(self, error: GatewayError, out: AsgiOutlet) -> None:
        record = self._record
        record.status, record.error = error.kind.status, error.kind.label
        quoted = isinstance(error, UpstreamError) and error.answer is not None
        record.message = (error.code or "") if quoted else error.message  # a provider's text may quote the conversation
        if error.kind is Kind.CLIENT_CLOSED or out.done:
            return
        if out.started and self._ask is not None:
            await out.finish(self._dialect.reply_encoder(self._ask.head).error(error))
            return
        headers = [("x-gateway-attempts", str(len(record.attempts)))] if record.attempts else []
        if error.retry_after is not None:
            headers.append(("retry-after", str(max(ceil(error.retry_after), 1))))
            if error.retry_after > LONG:
                headers.append(("x-should-retry", "false"))
        if self._ask is not None and self._ask.session is not None:
            headers.append(("x-session-id", self._ask.session.key.id))
        await out.whole(headers, self._dialect.encode_error(error, record.request_id), error.kind.status)


def is_own(dialect: Dialect, path: str) -> bool:
    """Whether a POST to this path is a request for a reply: below /v1/responses there are others."""
    return dialect.NAME != "openai_responses" or path.rstrip("/").endswith("/responses")


def path_of(scope: Scope) -> str:
    """The whole path: below a mount the scope's own is cut."""
    return unquote(scope["raw_path"].decode("latin-1"))


def open_gemini(scope: Scope, body: bytes) -> Request:
    """Gemini's path names the model and the method: `models/{model}:streamGenerateContent?alt=sse`."""
    model, _, method = path_of(scope).partition("/models/")[2].rpartition(":")
    if method == COUNT:
        return gemini.open_request(gemini.unwrapped(body), model=model, query=COUNT)
    if method not in ("generateContent", "streamGenerateContent"):
        message = f"There is no method {method!r}; use generateContent, streamGenerateContent or countTokens."
        raise GatewayError(Kind.NOT_FOUND, message)
    query = "sse" if "alt=sse" in scope["query_string"].decode("latin-1").split("&") else ""
    stream = method == "streamGenerateContent"
    return DIALECTS["gemini"].open_request(body, model=model, stream=stream, query=query)


def _framing(request: Request) -> tuple[str, bytes]:
    """The content type of a stream and what may break its silence.

    That is a comment, but white space for Gemini: Google's SDK refuses comments, and an array has none.
    """
    if request.dialect == "gemini":
        return "text/event-stream" if request.query == "sse" else "application/json", gemini.KEEP_ALIVE
    return "text/event-stream; charset=utf-8", COMMENT


def upgrades(scope: Scope) -> bool:
    """Whether a client asks for a WebSocket."""
    if scope.get("method") != "GET":
        return False
    return any(name == b"upgrade" and value.lower() == b"websocket" for name, value in scope["headers"])


async def refuse_upgrade(send: Send) -> None:
    """426: there are no WebSockets here. Codex then falls back to HTTP at once, after a 404 with its seventh try."""
    body = b'{"error":{"message":"There are no WebSockets here: use HTTP.","type":"invalid_request_error"}}'
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 426, "headers": [*head, (b"upgrade", b"HTTP/1.1")]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
