"""Whole replies, both directions."""

from collections.abc import Iterable

from msgspec import Raw

from gateway.conversation import (
    AnyPart,
    Image,
    Opaque,
    Origin,
    Reasoning,
    Refusal,
    Reply,
    Stop,
    Text,
    ToolCall,
    Usage,
)
from gateway.dialects.custom import custom_input
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.openai_responses.content import INNER
from gateway.dialects.openai_responses.errors import failure
from gateway.dialects.openai_responses.items import decode_item
from gateway.dialects.openai_responses.outputs import (
    Maker,
    encode_usage,
    ending,
    phase_of,
    response_object,
)
from gateway.dialects.openai_responses.tools import known_tools
from gateway.dialects.openai_responses.wire import (
    FIELDS,
    ITEMS,
    NAME,
    REASONING,
    RESPONSE,
    TYPED,
    UNREADABLE,
    Response,
    UsageWire,
    dump,
    json,
    present,
)
from gateway.errors import Kind, UpstreamError

_OUTPUT_ONLY = ("created_by", "parsed", "parsed_arguments")


def decode_reply(body: bytes, origin: Origin, *, skim: bool = False, keep: bool = True) -> Reply:
    """A whole reply. Raises UpstreamError where it failed, is not finished or is none."""
    try:
        response = RESPONSE.decode(body)
        if present(response.error) or response.status in ("failed", "cancelled"):
            raise failure(response.error, response.status or "failed")
        if response.output is None or response.status in ("queued", "in_progress"):
            raise UpstreamError(Kind.BAD_GATEWAY, "The provider's answer is not a finished response.")
        if skim:
            return Reply(usage=decode_usage(response.usage))
        parts = parts_of(response.output, origin)
        said = tuple(raw for item in response.output if (raw := as_said(item)) is not None) if keep else ()
    except UNREADABLE:
        raise UpstreamError(Kind.BAD_GATEWAY, "The provider's answer is not a response.") from None
    return Reply(
        id=response.id or "",
        model=response.model or "",
        parts=parts,
        stop=stop_of(response, parts),
        usage=decode_usage(response.usage),
        said=said,
    )


def parts_of(output: Iterable[Raw], origin: Origin) -> tuple[AnyPart, ...]:
    """The parts of output items: all of them are the assistant's. Raises one of UNREADABLE."""
    return tuple(part for raw in output for part in decode_item(raw, origin).parts)


def stop_of(response: Response, parts: Iterable[AnyPart]) -> Stop:
    """Why a finished response ended."""
    if response.status == "incomplete":
        reason = response.incomplete_details.reason if response.incomplete_details else None
        return Stop.FILTERED if reason == "content_filter" else Stop.LENGTH
    kinds = {type(part) for part in parts}
    if ToolCall in kinds:
        return Stop.TOOL_CALLS
    return Stop.REFUSED if Refusal in kinds else Stop.END


def decode_usage(usage: UsageWire | None) -> Usage | None:
    """Token counts; the vendor's input includes what was cached, and its output the reasoning."""
    if usage is None:
        return None
    given, made = usage.input_tokens_details, usage.output_tokens_details
    return Usage(
        input=usage.input_tokens or 0,
        output=usage.output_tokens or 0,
        cached=(given.cached_tokens or 0) if given else 0,
        cache_write=(given.cache_write_tokens or 0) if given else 0,
        reasoning=(made.reasoning_tokens or 0) if made else 0,
    )


def as_said(item: Raw) -> bytes | None:
    """An output item as the vendor takes it back; None for reasoning that only its store could resolve.

    Members that are null or for output only are left out, all others stay. Raises one of UNREADABLE.
    """
    fields = FIELDS.decode(item)
    kind = TYPED.decode(item).type
    if kind == "reasoning":
        reasoning = REASONING.decode(item)
        if not reasoning.encrypted_content and not reasoning.content:
            return None
    kept = {name: raw for name, raw in fields.items() if present(raw) and name not in _OUTPUT_ONLY}
    if kind == "message" and b'"logprobs"' in bytes(item):
        kept["content"] = json([_without_logprobs(part) for part in ITEMS.decode(kept["content"])])
    return dump(kept)


def _without_logprobs(part: Raw) -> dict[str, Raw]:
    return {name: raw for name, raw in FIELDS.decode(part).items() if name != "logprobs"}


def encode_reply(reply: Reply, head: ReplyHead) -> bytes:
    """A whole reply for a client."""
    refused = any(isinstance(part, Refusal) for part in reply.parts)
    status, incomplete = ending(reply.stop, refused=refused)
    response = response_object(head)
    response["status"], response["incomplete_details"] = status, incomplete
    response["model"] = reply.model or head.request.model
    response["output"] = _Output(Maker(head, known_tools(head.request.fields.get("tools")))).of(reply.parts, status)
    response["usage"] = encode_usage(reply.usage)
    return dump(response)


class _Output:
    """Puts parts together to items: neighbouring texts of one phase are one message."""

    def __init__(self, make: Maker) -> None:
        self._make = make
        self._items: list[object] = []
        self._content: list[dict[str, object]] = []
        self._phase = ""
        self._carriers: list[Text] = []

    def of(self, parts: Iterable[AnyPart], status: str) -> list[object]:
        for part in parts:
            if isinstance(part, Text | Refusal):
                self._say(part)
            else:
                self._close("completed")
                self._item(part)
        self._close(status)
        return self._items

    def _say(self, part: Text | Refusal) -> None:
        phase = phase_of(part) if isinstance(part, Text) else self._phase
        if phase != self._phase:
            self._close("completed")
        self._phase = phase
        self._content.append(content_of(part))
        if isinstance(part, Text):
            self._carriers.append(part)

    def _close(self, status: str) -> None:
        if self._content:
            self._items.append(self._make.message(len(self._items), self._content, status, self._phase))
            self._carry(self._carriers[-1:])
        self._content, self._phase, self._carriers = [], "", []

    def _carry(self, parts: Iterable[Text | ToolCall]) -> None:
        for part in parts:
            if (carrier := self._make.carrier(len(self._items), part)) is not None:
                self._items.append(carrier)

    def _item(self, part: AnyPart) -> None:
        number = len(self._items)
        match part:
            case ToolCall(arguments=arguments):
                if self._make.is_custom(part):
                    text = arguments if part.custom else custom_input(arguments)
                else:
                    text = arguments or "{}"
                self._items.append(self._make.call(number, part, text, "completed"))
                self._carry([part])
            case Reasoning():
                self._items.append(self._make.reasoning(number, part))
            case Image() if (image := self._make.image(number, part)) is not None:
                self._items.append(image)
            case Opaque(dialect=dialect, kind=kind, raw=raw) if dialect == NAME and not kind.startswith(INNER):
                self._items.append(raw)
            case _:
                pass  # what another vendor alone can say has no place in a reply


def content_of(part: Text | Refusal) -> dict[str, object]:
    """A content part of a message."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
