"""What the vendor is told to keep in its prompt cache, for histories that the gateway put in front.

Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching. A top-level `cache_control` marks the last
block of the request, so that every turn reads what the turn before it wrote, and no message changes for it. A request
has at most four marks.
"""

from typing import Any

import msgspec
from msgspec import Raw

from gateway.dialects.anthropic.wire import FIELDS, ITEMS, encode
from gateway.dialects.lists import Payload, ended, joined, occurrences

MOST = 4
_MARK = b'"cache_control":'
_EPHEMERAL = b',"cache_control":{"type":"ephemeral"}}'


def cache_hint(body: Payload, *, model: str, key: str, history: bool) -> Payload:
    """The body with a mark at its end. A client that marks its turns itself keeps its newest marks."""
    del key
    if not history or "claude" not in model:
        return body
    marks = occurrences(body, _MARK)
    if not marks:
        return ended(body, _EPHEMERAL)
    return body if marks <= MOST else _with_fewer(joined(body), marks - MOST)


def _with_fewer(body: bytes, surplus: int) -> bytes:
    """Without the oldest marks in messages, which a session has gathered turn by turn."""
    fields = FIELDS.decode(body)
    messages: list[Any] = []
    for raw in ITEMS.decode(fields["messages"]):
        marks = bytes(raw).count(_MARK)
        if surplus <= 0 or not marks:
            messages.append(raw)
            continue
        surplus -= marks
        messages.append(_unmarked(msgspec.json.decode(raw)))
    return encode({**fields, "messages": Raw(encode(messages))})


def _unmarked(value: Any) -> Any:  # noqa: ANN401 - a block is any JSON
    if isinstance(value, dict):
        return {name: _unmarked(v) for name, v in value.items() if name != "cache_control"}
    return [_unmarked(v) for v in value] if isinstance(value, list) else value
