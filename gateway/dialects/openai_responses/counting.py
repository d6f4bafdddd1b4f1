"""Counting tokens.

Source: https://platform.openai.com/docs/api-reference/responses/input-tokens
"""

from msgspec import Raw, Struct
from msgspec.json import Decoder

from gateway.dialects.dialect import Counting
from gateway.dialects.openai_responses.wire import dump

_TAKEN = {
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text",
    "truncation", "conversation", "previous_response_id", "personality",
}  # fmt: skip


class _Count(Struct):
    input_tokens: int


_COUNT = Decoder(_Count)
_FIELDS = Decoder(dict[str, Raw])


def _body(body: bytes, _: str) -> bytes:
    return dump({name: raw for name, raw in _FIELDS.decode(body).items() if name in _TAKEN})


COUNTING: Counting | None = Counting(
    path=lambda _: "/responses/input_tokens",
    body=_body,
    decode=lambda body: _COUNT.decode(body).input_tokens,
    encode=lambda tokens: dump({"object": "response.input_tokens", "input_tokens": tokens}),
)
