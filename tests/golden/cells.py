"""Every cell of the matrix: a client's dialect, a provider's dialect, a case; what comes out, byte for byte.

`requests/<case>/<dialect>.json` are clients' requests, `replies/<case>/<dialect>.json` or `.sse` providers' answers,
all written by hand from the vendors' documentation. What the gateway makes of them lies beside them, as
`<client>-<provider>.json` or `.sse`; a cell without a file passes everything on unchanged.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.arrivals import raise_failure
from gateway.ask import Passage
from gateway.conversation import End, Origin
from gateway.dialects.dialect import Dialect, ReplyHead, Request
from gateway.dialects.registry import DIALECTS
from gateway.errors import GatewayError, UpstreamError
from gateway.routing.health import told
from gateway.routing.table import Target
from gateway.sessions.fitting import Fitting

HERE = Path(__file__).parent
NAMES = ("openai_chat", "openai_responses", "anthropic", "gemini")
STATUS = {"error_rate_limit": 429, "error_invalid": 400, "error_overloaded": 503, "error_too_long": 400}
ASKS = {"tool": "tools", "custom": "vendor_tools", "structured": "structured", "reasoning": "reasoning"}
"""Which request a reply answers, by the first word of its case; any other answers `text`."""

MODELS = {
    "openai_chat": "gpt-5.1",
    "openai_responses": "gpt-5.1",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-pro",
}
OTHERS = {
    "sampling": {"openai_chat": "gpt-4.1", "openai_responses": "gpt-4.1"},
    "sampling_new": dict(zip(NAMES, ("gpt-5.1", "gpt-5.1", "claude-opus-5-5", "gemini-3.1-pro"), strict=True)),
    "reasoning_new": dict(zip(NAMES, ("gpt-5.6", "gpt-5.6", "claude-opus-5-5", "gemini-3.1-pro"), strict=True)),
    "structured_plain": dict(zip(NAMES, ("llama-3.3", "llama-3.3", "claude-opus-4", "gemini-2.5-pro"), strict=True)),
    "tool_result_new": dict(zip(NAMES, ("gpt-5.6", "gpt-5.6", "claude-opus-5-5", "gemini-3.1-pro"), strict=True)),
}
"""Other upstream models, by case; `x_new` and `x_plain` send the request of case `x` to them."""


@dataclass(frozen=True)
class Made:
    """What comes out of a cell: bytes, the names of what was dropped, and an HTTP status."""

    body: bytes
    dropped: tuple[str, ...] = ()
    status: int = 200
    unchanged: bool = False


def request_cases() -> list[str]:
    """Those with files, and those that only ask another model."""
    return sorted({path.name for path in (HERE / "requests").iterdir() if path.is_dir()} | OTHERS.keys())


def reply_cases() -> list[str]:
    return sorted(path.name for path in (HERE / "replies").iterdir() if path.is_dir())


def request_file(case: str, client: str) -> Path:
    file = HERE / "requests" / case / f"{client}.json"
    return file if file.exists() else HERE / "requests" / case.rpartition("_")[0] / file.name


def reply_file(case: str, provider: str) -> Path | None:
    """The provider's answer, None where it has no way to say such a thing."""
    files = (HERE / "replies" / case / f"{provider}{suffix}" for suffix in (".json", ".sse"))
    return next((file for file in files if file.exists()), None)


def opened(client: str, body: bytes, *, stream: bool = False) -> Request:
    dialect: Dialect = DIALECTS[client]
    if client == "gemini":
        return dialect.open_request(body, model="m", stream=stream, query="sse" if stream else "")
    return dialect.open_request(body)


def sent(case: str, client: str, provider: str) -> Made:
    """A client's request as the provider gets it."""
    file = request_file(case, client)
    request = opened(client, file.read_bytes(), stream=case == "streamed")
    model = OTHERS.get(case, {}).get(provider, MODELS[provider])
    target = Target(provider="up", credential="up-1", model=model, dialect=provider)
    fitted = Fitting(DIALECTS[client], request, None, cut=0, max_turns=200).fit(target)
    before, after = json.loads(file.read_bytes()), json.loads(fitted.body)
    same = client == provider and before | ({"model": model} if client != "gemini" else {}) == after
    return Made(fitted.body, fitted.dropped, unchanged=same)


def asked(case: str, client: str, *, stream: bool) -> Request:
    """The request that a reply answers."""
    name = ASKS.get(case.split("_", maxsplit=1)[0], "text")
    body: dict[str, Any] = json.loads((HERE / "requests" / name / f"{client}.json").read_bytes())
    if stream and client != "gemini":
        body["stream"] = True
        if client == "openai_chat":
            body["stream_options"] = {"include_usage": True}
    return opened(client, json.dumps(body).encode(), stream=stream)


def answered(case: str, client: str, provider: str, pieces: list[bytes] | None = None) -> Made:
    """A provider's answer as the client gets it; a stream may come in `pieces`."""
    file = reply_file(case, provider)
    assert file is not None
    data, stream = file.read_bytes(), file.suffix == ".sse"
    head = ReplyHead("0123456789abcdef0123456789abcdef", 1_700_000_000, asked(case, client, stream=stream))
    if stream:
        body = streamed(client, provider, head, [data] if pieces is None else pieces)
        return Made(body, unchanged=body == data)
    try:
        if case in STATUS:
            raise DIALECTS[provider].decode_error(STATUS[case], data)
        reply = DIALECTS[provider].decode_reply(data, Origin("up", MODELS[provider]))
    except UpstreamError as error:
        shown = told(error)
        body = DIALECTS[client].encode_error(shown, head.id)
        return Made(body, status=shown.kind.status, unchanged=body == data)
    if client == provider:
        return Made(data, unchanged=True)
    return Made(DIALECTS[client].encode_reply(reply, head))


def streamed(client: str, provider: str, head: ReplyHead, pieces: list[bytes]) -> bytes:
    """What an exchange does with a stream."""
    dialect = DIALECTS[client]
    decoder = DIALECTS[provider].reply_decoder(Origin("up", MODELS[provider]))
    verbatim = client == provider
    encoder = None if verbatim else dialect.reply_encoder(head)
    passage = Passage(encoder, dialect.relay_filter(head.request) if verbatim else None)
    out = b""
    try:
        for data, events in arriving(decoder, pieces):
            out += passage.carry(data, events)
            raise_failure(events)
            if any(isinstance(event, End) for event in events):
                break
    except GatewayError as error:
        return out + passage.fail(error, dialect.reply_encoder(head))
    return out + passage.close()


def arriving(decoder: Any, pieces: list[bytes]) -> Iterator[tuple[bytes, list[Any]]]:
    for piece in pieces:
        yield piece, decoder.feed(piece)
    yield b"", decoder.close()


def expected_file(kind: str, case: str, client: str, provider: str) -> Path:
    file = reply_file(case, provider) if kind == "replies" else None
    suffix = file.suffix if file else ".json"
    return HERE / kind / case / f"{client}-{provider}{suffix}"


def written(made: Made, suffix: str) -> bytes:
    """As it is kept in a file: JSON on several lines, its numbers and the order of its keys as they are."""
    return made.body if suffix == ".sse" else msgspec.json.format(made.body, indent=2) + b"\n"


def cells() -> Iterator[tuple[str, str, str, str]]:
    """Kind, case, client and provider of every cell that has an input."""
    for case in request_cases():
        for client in NAMES:
            if request_file(case, client).exists():
                yield from (("requests", case, client, provider) for provider in NAMES)
    for case in reply_cases():
        for provider in NAMES:
            if reply_file(case, provider) is not None:
                yield from (("replies", case, client, provider) for client in NAMES)


def make(kind: str, case: str, client: str, provider: str) -> Made:
    return sent(case, client, provider) if kind == "requests" else answered(case, client, provider)
