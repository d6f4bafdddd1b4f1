"""Stored messages as the items that the vendor's lists show: each with an id, content in parts, a status.

Source: https://platform.openai.com/docs/api-reference/responses/input-items
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from gateway.conversation import Message, Origin, Reply
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.openai_responses.messages import encode_messages
from gateway.dialects.openai_responses.replies import encode_reply
from gateway.dialects.openai_responses.wire import FIELDS, ITEMS, json

Item = dict[str, Any]

_PREFIXES = {
    "message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs",
    "custom_tool_call": "ctc", "custom_tool_call_output": "ctco",
}  # fmt: skip
_NO_STATUS = ("reasoning", "item_reference")
_ITEM = msgspec.json.Decoder(dict[str, Any])
_NOBODY = Origin("", "")


def listed(items: Sequence[bytes], name: str) -> list[Item]:
    """What was said, as lists show it; items without an id get one out of `name` and their place."""
    return [_listed(_ITEM.decode(raw), f"{name}_q{place}") for place, raw in enumerate(items)]


def items_of(messages: Sequence[Message]) -> tuple[bytes, ...]:
    """Messages of another dialect as items."""
    return encode_messages(messages, _NOBODY).messages


def response_of(reply: Reply, head: ReplyHead, *, status: str = "", completed: int | None = None) -> dict[str, Raw]:
    """A stored reply as a response object; its `said` are the output items, if there are any."""
    response = FIELDS.decode(encode_reply(reply, head))
    if reply.said:
        response["output"] = json([_listed(_ITEM.decode(raw), f"{head.id}_{n}") for n, raw in enumerate(reply.said)])
    if completed is not None:
        response["completed_at"] = json(completed)
    if status:
        response["status"] = json(status)
    return response


def output_of(reply: Reply, head: ReplyHead) -> list[Item]:
    """The output items of a stored reply."""
    return [_ITEM.decode(raw) for raw in ITEMS.decode(response_of(reply, head)["output"])]


def _listed(item: Item, id: str) -> Item:
    kind = item.get("type") or "message"
    shown: Item = {"type": kind, "id": item.get("id") or f"{_PREFIXES.get(kind, 'item')}_{id}"}
    if kind not in _NO_STATUS:
        shown["status"] = item.get("status") or "completed"
    shown |= {name: value for name, value in item.items() if name not in shown}
    if kind == "message":
        shown["content"] = _content(item.get("content"), item.get("role"))
    return shown


def _content(content: object, role: object) -> object:
    if not isinstance(content, str):
        return [_part(part) for part in content] if isinstance(content, list) else []
    return [_part({"type": "output_text" if role == "assistant" else "input_text", "text": content})]


def _part(part: Item) -> Item:
    if part.get("type") == "output_text":
        return {"annotations": [], "logprobs": []} | part
    return {"detail": "auto"} | part if part.get("type") == "input_image" else part
