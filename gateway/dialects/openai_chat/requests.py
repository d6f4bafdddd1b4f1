"""A client's request, opened but not translated, and on its way to a provider of the same dialect."""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw, Struct

from gateway.conversation import SIGNATURE_MARK
from gateway.dialects.dialect import Request, Spoken
from gateway.dialects.lists import Payload, with_list
from gateway.dialects.openai_chat.reasoning import strip_wrapped
from gateway.dialects.openai_chat.tools import tools_member
from gateway.dialects.openai_chat.wire import (
    NAME,
    UNREADABLE,
    WireMessage,
    encode,
    invalid,
    present,
    read,
    to_fields,
    to_raws,
    to_text,
)


class _Role(Struct):
    role: str = ""


_to_role = msgspec.json.Decoder(_Role)
_to_roles = msgspec.json.Decoder(list[_Role])
_to_bool = msgspec.json.Decoder(bool)
_TRUE = Raw(b"true")


def open_request(body: bytes, *, model: str = "", stream: bool = False, query: str = "") -> Request:
    """Read the members; check only what routing needs. Raises GatewayError (INVALID)."""
    try:
        fields = to_fields.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise invalid(f"The body is not a JSON object: {error}.", "body") from error
    named = present(fields, "model")
    model = model or (read(to_text, named, "model") if named is not None else "")
    if not model:
        raise invalid("model is missing: name the model to ask.", "model")
    messages = bytes(fields.get("messages", b""))
    if not messages.startswith(b"[") or messages[1:].lstrip() == b"]":
        raise invalid("messages must be a list of at least one message.", "messages")
    streamed = present(fields, "stream")
    if streamed is not None:
        stream = read(_to_bool, streamed, "stream")
    request = Request(dialect=NAME, fields=fields, model=model, stream=stream, query=query)
    if stream:
        wants_usage(request)  # what is wrong there must be told before the stream begins
    return request


def spoken(request: Request) -> Spoken:
    """The conversation inside, undecoded; legacy functions count as tools."""
    whole = request.fields["messages"]
    messages = tuple([bytes(raw) for raw in read(to_raws, whole, "messages")])
    try:
        lead = leading(_to_roles.decode(whole))
    except UNREADABLE:
        lead = leading(read(_to_role, raw, f"messages[{i}]") for i, raw in enumerate(messages))
    return Spoken(messages[:lead], messages[lead:], tools_member(request.fields))


def leading(messages: Iterable[_Role | WireMessage]) -> int:
    """How many system and developer messages come first."""
    lead = 0
    for message in messages:
        if message.role not in ("system", "developer"):
            break
        lead += 1
    return lead


def wants_usage(request: Request) -> bool:
    """Whether the client asked for the chunk with token counts at the end of a stream."""
    options = present(request.fields, "stream_options")
    if options is None:
        return False
    members = read(to_fields, options, "stream_options")
    asked = present(members, "include_usage")
    return asked is not None and bytes(asked) == b"true"


def splice(
    request: Request,
    *,
    model: str,
    system: Sequence[bytes] | None = None,
    messages: Sequence[bytes] | None = None,
    tools: bytes | None = None,
    told: Sequence[bytes] = (),
) -> Payload:
    """The request as a body for a provider: all as sent but for what is given here.

    A streamed one asks for token counts (the gateway needs them); `relay_filter` keeps them from a client that did not.
    """
    fields = dict(request.fields)
    fields["model"] = Raw(encode(model))
    anew = system is not None or messages is not None
    if anew:
        fields.pop("messages", None)
    elif SIGNATURE_MARK in bytes(fields["messages"]):
        fields["messages"] = Raw(b"[%b]" % _joined([*read(to_raws, fields["messages"], "messages")]))
    if tools is not None:
        fields.pop("tools", None)
        if tools:
            fields["tools"] = Raw(tools)
    if request.stream and not wants_usage(request):
        options = present(fields, "stream_options")
        asked = {} if options is None else read(to_fields, options, "stream_options")
        fields["stream_options"] = Raw(encode(asked | {"include_usage": _TRUE}))
    if not anew:
        return encode(fields)
    if system is None or messages is None:
        own = spoken(request)
        system, messages = own.system if system is None else system, own.messages if messages is None else messages
    return with_list(encode(fields), b"messages", front=_joined(system), told=told, own=_joined(messages))


def _joined(messages: Sequence[bytes | Raw]) -> bytes:
    """The messages without signatures that we wrapped, separated by commas."""
    joined = b",".join(messages)
    return b",".join(map(strip_wrapped, messages)) if SIGNATURE_MARK in joined else joined
