"""OpenAI Responses. Source: https://platform.openai.com/docs/api-reference/responses.

`instructions` is the system prompt; each item of `input` is a message, and a string is one item of the user's.
A custom tool of this dialect is, elsewhere, a function tool with one string member `input`.
"""

from collections.abc import Mapping

from gateway.conversation import Origin
from gateway.dialects.dialect import RelayFilter, ReplyDecoder, ReplyEncoder, ReplyHead, Request
from gateway.dialects.openai_responses.caching import cache_hint
from gateway.dialects.openai_responses.counting import COUNTING
from gateway.dialects.openai_responses.decoding import ResponsesDecoder
from gateway.dialects.openai_responses.encoding import ResponsesEncoder
from gateway.dialects.openai_responses.errors import decode_error, encode_error
from gateway.dialects.openai_responses.messages import decode_messages, encode_messages
from gateway.dialects.openai_responses.prompts import (
    decode_prompt,
    decode_system,
    encode_prompt,
    encode_system,
    open_request,
    spoken,
)
from gateway.dialects.openai_responses.replies import decode_reply, encode_reply
from gateway.dialects.openai_responses.tools import decode_tools, encode_tools
from gateway.dialects.openai_responses.upstream import splice
from gateway.dialects.openai_responses.wire import NAME

JOINABLE = False
FORWARDED_HEADERS = frozenset({"openai-beta", "x-client-request-id"})


def reply_decoder(origin: Origin, *, skim: bool = False) -> ReplyDecoder:
    """For one streamed reply of a provider. `skim`: content after the first may be left out."""
    return ResponsesDecoder(origin, skim=skim)


def reply_encoder(head: ReplyHead) -> ReplyEncoder:
    """For one streamed reply to a client."""
    return ResponsesEncoder(head)


def relay_filter(request: Request) -> RelayFilter | None:  # noqa: ARG001 - the verb's own shape
    """Nothing has to be taken out: encrypted reasoning that the client did not ask for is one member more."""
    return None


def path(model: str, *, stream: bool) -> str:  # noqa: ARG001 - the verb's own shape
    """The same for every model."""
    return "/responses"


def auth(key: str, headers: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001 - the verb's own shape
    """A bearer token; a provider without a key gets none."""
    return {"authorization": f"Bearer {key}"} if key else {}


__all__ = [
    "COUNTING",
    "FORWARDED_HEADERS",
    "JOINABLE",
    "NAME",
    "auth",
    "cache_hint",
    "decode_error",
    "decode_messages",
    "decode_prompt",
    "decode_reply",
    "decode_system",
    "decode_tools",
    "encode_error",
    "encode_messages",
    "encode_prompt",
    "encode_reply",
    "encode_system",
    "encode_tools",
    "open_request",
    "path",
    "relay_filter",
    "reply_decoder",
    "reply_encoder",
    "splice",
    "spoken",
]
