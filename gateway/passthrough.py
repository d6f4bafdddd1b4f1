"""Token counts, embeddings and legacy completions: none of them touches a session (rule S16)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.ask import Ask, Gateway, Outlet
from gateway.conversation import AnyPart, Prompt, Reasoning, Refusal, Text, ToolCall, ToolResult, Usage
from gateway.dialects.lists import joined
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError, Kind, UpstreamError
from gateway.exchange import exchange, find_route
from gateway.metrics import Record
from gateway.routing.health import is_fault_of_request, more_useful
from gateway.routing.plan import Wish, plan, refused
from gateway.routing.prices import BYTES_A_TOKEN, MEDIA_TOKENS, estimated
from gateway.routing.table import Route, Target
from gateway.sessions.fitting import Fitting
from gateway.watch import Watch

ESTIMATED = ("x-gateway-estimate", "true")
MESSAGE_TOKENS = 4
EMBED = "/embeddings"


class _Tokens(Struct):
    prompt_tokens: int = 0


class _Embedded(Struct):
    usage: _Tokens | None = None


_EMBEDDED = msgspec.json.Decoder(_Embedded)
_ENCODER = msgspec.json.Encoder()
_T = TypeVar("_T")

Serve = Callable[[Gateway, Ask, Outlet, Watch, Record], Awaitable[None]]
"""Serves one opened request, as gateway.exchange.exchange does."""


async def count(gateway: Gateway, ask: Ask, out: Outlet, watch: Watch, record: Record) -> None:
    """Count the tokens of a prompt: by the provider, or else by an estimate that says so in a header.

    A provider that cannot count, or not now, is no failure of the target: nothing cools down.
    """
    route = find_route(gateway, ask, record)
    fitting = Fitting(ask.client, ask.request, None, cut=0, max_turns=0)
    target = _ready(gateway, ask, route)
    counting, client = DIALECTS[target.dialect].COUNTING if target else None, ask.client.COUNTING
    assert client is not None  # noqa: S101 - only dialects that can count have a route
    if target is not None and counting is not None:
        headers = [("x-gateway-provider", target.provider)]
        body = counting.body(joined(fitting.fit(target).body), target.model)
        try:
            with outside(record, watch):
                answer = await _post(gateway, ask, target, counting.path(target.model), body, watch)
            tokens = counting.decode(answer)
        except (UpstreamError, ValueError) as error:
            if isinstance(error, UpstreamError) and is_fault_of_request(error):
                raise
        else:
            record.provider, record.upstream_model = target.provider, target.model
            same = target.dialect == ask.client.NAME
            await out.whole(headers, answer if same else client.encode(tokens))
            return
    await out.whole([ESTIMATED], client.encode(estimate(ask.client.decode_prompt(ask.request))))


def _ready(gateway: Gateway, ask: Ask, route: Route) -> Target | None:
    """Whom to ask for a count: none if all cool down."""
    try:
        return plan(route, Wish(None, ask.affinity, next(gateway.turns)), gateway.fleet.state())[0]
    except GatewayError:
        return None


async def embed(gateway: Gateway, ask: Ask, out: Outlet, watch: Watch, record: Record) -> None:
    """Embeddings, by the first provider that speaks OpenAI's API; its answer passes unchanged."""
    route = find_route(gateway, ask, record)
    able = tuple(target for target in route.targets if target.dialect.startswith("openai"))
    if not able:
        message = f"No provider of {ask.request.model!r} has embeddings: they are forwarded to OpenAI's API only."
        raise GatewayError(Kind.INVALID, message, param="model", code="no_embeddings")

    async def embedded(target: Target) -> bytes:
        fields = ask.request.fields | {"model": Raw(_ENCODER.encode(target.model))}
        with outside(record, watch):
            return await _post(gateway, ask, target, EMBED, _ENCODER.encode(fields), watch)

    answer, target = await _first(gateway, ask, Route(route.name, able), record, embedded)
    record.provider, record.upstream_model = target.provider, target.model
    record.provider_dialect, record.usage = target.dialect, _usage_of(answer)
    estimate = estimated(None, bytes(ask.request.fields["input"]), 0) if record.usage is None else None
    record.priced(target.prices, estimate)
    told = [("x-gateway-provider", target.provider), ("x-gateway-attempts", str(len(record.attempts)))]
    await out.whole(told, answer)


def _usage_of(answer: bytes) -> Usage | None:
    """Source: https://platform.openai.com/docs/api-reference/embeddings/create."""
    try:
        usage = _EMBEDDED.decode(answer).usage
    except msgspec.MsgspecError:
        return None
    return None if usage is None else Usage(input=usage.prompt_tokens)


async def complete(gateway: Gateway, ask: Ask, out: Outlet, watch: Watch, record: Record) -> None:
    """A legacy completion: an exchange without a session."""
    await exchange(gateway, replace(ask, session=None), out, watch, record)


async def _first(
    gateway: Gateway, ask: Ask, route: Route, record: Record, send: Callable[[Target], Awaitable[_T]]
) -> tuple[_T, Target]:
    """The answer of the first target that gives one. Raises GatewayError."""
    refusal: UpstreamError | None = None
    for target in plan(route, Wish(None, ask.affinity, next(gateway.turns)), gateway.fleet.state()):
        trial = await gateway.fleet.enter(target)
        if trial is None:
            continue
        try:
            with trial:
                answer = await send(target)
        except UpstreamError as error:
            record.tried(target.provider, target.credential, target.model, error.kind.label)
            refusal = more_useful(refusal, error)
            if is_fault_of_request(error) or len(record.attempts) >= gateway.attempts:
                break
        else:
            trial.close()
            record.tried(target.provider, target.credential, target.model, "served")
            return answer, target
    raise refused(refusal, route, gateway.fleet.state())


@contextmanager
def outside(record: Record, watch: Watch) -> Iterator[None]:
    """The provider's time, which is not the gateway's."""
    began = watch.now
    try:
        yield
    finally:
        record.outside += watch.now - began


async def _post(gateway: Gateway, ask: Ask, target: Target, path: str, body: bytes, watch: Watch) -> bytes:
    forwarded = ask.headers_for(target)
    watch.expect(gateway.upstream.timeouts(target).reply, "an answer")
    try:
        return await gateway.upstream.post(target, path, body, forwarded)
    except (GatewayError, asyncio.CancelledError) as error:
        raise (error if isinstance(error, GatewayError) else watch.why()) from None
    finally:
        watch.done()


# ---------------------------------------------------------------- estimates


def estimate(prompt: Prompt) -> int:
    """About how many tokens a prompt has: a quarter of the bytes of its text, and flat sums for what is not text."""
    size = sum(_size(part) for part in prompt.system)
    tokens = 0
    for message in prompt.messages:
        size += sum(_size(part) for part in message.parts)
        tokens += MESSAGE_TOKENS
    for tool in prompt.tools:
        size += len(tool.name) + len(tool.description.encode()) + len(bytes(tool.parameters)) + len(bytes(tool.raw))
    if prompt.format is not None:
        size += len(bytes(prompt.format.schema))
    return tokens + -(-size // BYTES_A_TOKEN)


def _size(part: AnyPart) -> int:
    match part:
        case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
            return len(text.encode())
        case ToolCall(name=name, arguments=arguments):
            return len(name) + len(arguments.encode())
        case ToolResult(content=content):
            return sum(_size(inner) for inner in content)
        case _:
            return MEDIA_TOKENS * BYTES_A_TOKEN
