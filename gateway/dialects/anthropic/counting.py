"""Counting tokens.

Source: https://platform.claude.com/docs/en/api/messages-count-tokens
"""

from msgspec import Struct
from msgspec.json import Decoder

from gateway.dialects.anthropic.wire import FIELDS, encode
from gateway.dialects.dialect import Counting

_TAKEN = {
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "speed",
    "mcp_servers", "context_management",
}  # fmt: skip


class _Count(Struct):
    input_tokens: int


_COUNT = Decoder(_Count)


def _body(body: bytes, _: str) -> bytes:
    return encode({name: raw for name, raw in FIELDS.decode(body).items() if name in _TAKEN})


def _encode(tokens: int) -> bytes:
    return encode({"input_tokens": tokens})


COUNTING: Counting | None = Counting(
    path=lambda _: "/v1/messages/count_tokens",
    body=_body,
    decode=lambda body: _COUNT.decode(body).input_tokens,
    encode=_encode,
)
