"""Whole replies, both ways, with stop reasons and token counts.

Source: https://platform.openai.com/docs/api-reference/chat/object.
"""

import re
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

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
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.openai_chat.errors import decode_error
from gateway.dialects.openai_chat.messages import MessageReader
from gateway.dialects.openai_chat.parts import image_url
from gateway.dialects.openai_chat.reasoning import show_detail, show_extra
from gateway.dialects.openai_chat.tools import as_custom, custom_names, is_legacy
from gateway.dialects.openai_chat.wire import (
    Choice,
    Completion,
    Plain,
    WireUsage,
    encode,
    is_given,
    to_completion,
    to_fields,
    to_message,
)
from gateway.errors import GatewayError, Kind, UpstreamError

_STOPS = {
    "stop": Stop.END,
    "length": Stop.LENGTH,
    "max_tokens": Stop.LENGTH,
    "tool_calls": Stop.TOOL_CALLS,
    "function_call": Stop.TOOL_CALLS,
    "content_filter": Stop.FILTERED,
    "model_length": Stop.CONTEXT,  # Mistral
}
_BROKEN = {"error", "insufficient_system_resource"}  # OpenRouter; DeepSeek
_to_plain = msgspec.json.Decoder(Plain)
_to_text = msgspec.json.Decoder(str)
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_OUTPUT_ONLY = ("annotations", "parsed")


# ---------------------------------------------------------------- decoding


def decode_reply(body: bytes, origin: Origin, *, skim: bool = False, keep: bool = True) -> Reply:
    """A whole reply; choice 0 is the one. Raises UpstreamError if it is an error, or no reply."""
    try:
        completion = to_completion.decode(body)
        if is_given(completion.error):
            raise decode_error(200, body)
        choice = _first(completion, body)
        usage = None if completion.usage is None else decode_usage(completion.usage)
        if skim:
            return Reply(usage=usage)
        plain = _plain(choice.message)
        if plain is not None:
            parts: list[AnyPart] = [Text(plain[0])]
            said: tuple[bytes, ...] = (plain[1],)
        else:
            wire = to_message.decode(choice.message)
            parts = _identified(MessageReader(origin).reply_parts(wire, "message"), fallback_id(completion))
            said = (_said(to_fields.decode(choice.message), parts),) if keep and parts else ()
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UpstreamError(Kind.BAD_GATEWAY, "The provider sent a reply that is no chat completion.") from error
    except GatewayError as error:
        if isinstance(error, UpstreamError):
            raise
        raise UpstreamError(Kind.BAD_GATEWAY, f"The provider sent a reply that cannot be read: {error}") from error
    stop, sequence = decode_stop(choice.finish_reason, choice.stop_reason, parts)
    return Reply(
        id=completion.id or "",
        model=completion.model or "",
        parts=tuple(parts),
        stop=stop,
        stop_sequence=sequence,
        usage=usage,
        said=said,
    )


def _plain(message: Raw) -> tuple[str, bytes] | None:
    """The text of a message that is nothing else, as most are, and how the vendor wants it back; None for others."""
    try:
        content = _to_plain.decode(message).content
        text = _to_text.decode(content)
    except msgspec.MsgspecError:
        return None
    return (text, b'{"role":"assistant","content":%b}' % content) if text else None


def _first(completion: Completion, body: bytes) -> Choice:
    choices = completion.choices or []
    choice = choices[0] if choices else None
    if choice is not None and choice.index:
        choice = next((other for other in choices if other.index == 0), choice)
    if choice is None:
        error = decode_error(200, body)
        raise UpstreamError(Kind.BAD_GATEWAY, "The provider sent a reply without a choice.", answer=error.answer)
    if is_given(choice.error):
        raise decode_error(200, encode({"error": choice.error}))
    if is_broken(choice.finish_reason):
        raise UpstreamError(Kind.UNAVAILABLE, "The provider broke off its reply.", code=choice.finish_reason)
    return choice


def fallback_id(reply: Any) -> str:  # noqa: ANN401 - a Completion or a Chunk
    """What ids are made of for a server that gives tool calls none."""
    return _UNFIT.sub("", str(reply.id or reply.created or ""))[-24:]


def made_id(fallback: str, number: int) -> str:
    """The id of tool call `number` of a reply; fit for every vendor."""
    return f"call_{fallback}_{number}"


def _identified(parts: list[AnyPart], fallback: str) -> list[AnyPart]:
    number = 0
    for i, part in enumerate(parts):
        if isinstance(part, ToolCall):
            if not part.id:
                parts[i] = replace(part, id=made_id(fallback, number))
            number += 1
    return parts


def _said(fields: dict[str, Raw], parts: list[AnyPart]) -> bytes:
    """The message as the vendor wants it back: unknown members kept, output-only and null ones removed."""
    said = {name: raw for name, raw in fields.items() if bytes(raw) != b"null" and name not in _OUTPUT_ONLY}
    said = {"role": Raw(b'"assistant"')} | said
    said.setdefault("content", Raw(b"null"))  # DeepSeek refuses a message without it
    for part in parts:
        if isinstance(part, Opaque) and part.kind == "audio":
            said["audio"] = part.raw
    if "tool_calls" in said:
        calls = msgspec.json.decode(said["tool_calls"], type=list[dict[str, Raw]])
        found = [part for part in parts if isinstance(part, ToolCall)]
        for call, part in zip(calls, found, strict=True):
            if bytes(call.get("id", b"null")) in (b"null", b'""'):
                call["id"] = Raw(encode(part.id))
                said["tool_calls"] = Raw(b"")
        if not bytes(said["tool_calls"]):
            said["tool_calls"] = Raw(encode(calls))
    return encode(said)


def is_broken(reason: str | None) -> bool:
    """Whether a finish reason says that the provider failed."""
    return reason in _BROKEN


def decode_stop(reason: str | None, met: str | int | None, parts: list[AnyPart]) -> tuple[Stop, str]:
    """Why a reply ended, and the stop sequence that was met (vLLM tells it).

    Some servers say `stop` for a reply that calls tools.
    """
    stop = _STOPS.get(reason or "", Stop.END)
    if stop is not Stop.END:
        return stop, ""
    kinds = {type(part) for part in parts}
    if ToolCall in kinds:
        return Stop.TOOL_CALLS, ""
    if Refusal in kinds:
        return Stop.REFUSED, ""
    return (Stop.STOP_SEQUENCE, met) if isinstance(met, str) else (stop, "")


def decode_usage(usage: WireUsage) -> Usage:
    """Token counts. xAI's and Gemini's completion tokens leave reasoning out; their total shows it."""
    given = usage.prompt_tokens or 0
    made = usage.completion_tokens or 0
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens if details else None) or usage.prompt_cache_hit_tokens or usage.cached_tokens or 0
    written = (details.cache_write_tokens if details else None) or 0
    thought = (usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else None) or 0
    if thought and (usage.total_tokens or 0) >= given + made + thought:
        made += thought
    return Usage(input=given, output=made, cached=cached, cache_write=written, reasoning=thought)


# ---------------------------------------------------------------- encoding


def encode_reply(reply: Reply, head: ReplyHead) -> bytes:
    """A whole reply for a client; legacy clients get `function_call`."""
    fields, parts = head.request.fields, reply.parts
    legacy, custom = is_legacy(fields), custom_names(fields)
    if custom:
        parts = tuple(as_custom(part, custom) if isinstance(part, ToolCall) else part for part in parts)
    message = _message(parts, legacy=legacy)
    refused = message["refusal"] is not None
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": encode_stop(reply.stop or Stop.END, legacy=legacy, refusal=refused),
    }
    body: dict[str, Any] = {
        "id": f"chatcmpl-{head.id}",
        "object": "chat.completion",
        "created": head.created,
        "model": reply.model or head.request.model,
        "choices": [choice],
    }
    if reply.usage is not None:
        body["usage"] = encode_usage(reply.usage)
    return encode(body)


def _message(parts: tuple[AnyPart, ...], *, legacy: bool) -> dict[str, Any]:
    text = refusal = ""
    thoughts: list[Reasoning] = []
    calls: list[ToolCall] = []
    images: list[Image] = []
    extra: dict[str, Any] = {}
    for part in parts:
        match part:
            case Text():
                text += part.text
                extra |= show_extra(part.signature)
            case ToolCall():
                calls.append(part)
            case Reasoning():
                thoughts.append(part)
            case Refusal():
                refusal += part.text
            case Image():
                images.append(part)
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": refusal or None}
    if thoughts:
        message |= _thinking(thoughts)
    if calls:
        message |= _calls(calls, legacy=legacy)
    if images:
        message["images"] = [show_image(part, i) for i, part in enumerate(images)]
    return message | extra


def _calls(calls: list[ToolCall], *, legacy: bool) -> dict[str, Any]:
    if legacy:
        return {"function_call": {"name": calls[0].name, "arguments": calls[0].arguments or "{}"}}
    return {"tool_calls": [encode_call(call) for call in calls]}


def _thinking(thoughts: list[Reasoning]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    text = "".join([part.text for part in thoughts])
    if text:
        members["reasoning_content"] = text
    details: list[dict[str, Any]] = []
    for part in thoughts:
        detail = show_detail(part, len(details))
        details += [detail] if detail else []
    if details:
        members["reasoning_details"] = details
    return members


def encode_call(call: ToolCall) -> dict[str, Any]:
    """A whole tool call for a client."""
    extra = show_extra(call.signature)
    if call.custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}, **extra}
    # A call without arguments may come as no text at all; clients parse what they get.
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function, **extra}


def show_image(part: Image, index: int) -> dict[str, Any]:
    """A generated image, in OpenRouter's form: OpenAI's Chat has none."""
    return {"type": "image_url", "image_url": image_url(part), "index": index}


def encode_stop(stop: Stop, *, legacy: bool, refusal: bool) -> str:
    """The finish reason."""
    match stop:
        case Stop.END | Stop.STOP_SEQUENCE | Stop.PAUSED:
            return "stop"
        case Stop.TOOL_CALLS:
            return "function_call" if legacy else "tool_calls"
        case Stop.LENGTH | Stop.CONTEXT:
            return "length"
        case Stop.REFUSED:
            return "stop" if refusal else "content_filter"  # a refusal in words is a message like another
        case Stop.FILTERED:
            return "content_filter"


def encode_usage(usage: Usage) -> dict[str, Any]:
    """Token counts."""
    prompt = {"cached_tokens": usage.cached}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
