"""OpenAI Chat Completions, as OpenAI and as compatible servers speak it.

Source: https://platform.openai.com/docs/api-reference/chat and the types of the official SDK.
"""

from collections.abc import Mapping

from gateway.conversation import Origin
from gateway.dialects.dialect import Counting, ReplyHead
from gateway.dialects.openai_chat.caching import cache_hint
from gateway.dialects.openai_chat.encoder import ReplyEncoder
from gateway.dialects.openai_chat.errors import decode_error, encode_error
from gateway.dialects.openai_chat.messages import decode_messages, decode_system, encode_messages, encode_system
from gateway.dialects.openai_chat.prompts import decode_prompt, encode_prompt
from gateway.dialects.openai_chat.relay import relay_filter
from gateway.dialects.openai_chat.replies import decode_reply, encode_reply
from gateway.dialects.openai_chat.requests import open_request, splice, spoken
from gateway.dialects.openai_chat.streams import ReplyDecoder
from gateway.dialects.openai_chat.tools import decode_tools, encode_tools
from gateway.dialects.openai_chat.wire import NAME

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

COUNTING: Counting | None = None
JOINABLE = True
FORWARDED_HEADERS = frozenset({"openai-beta", "http-referer", "x-title"})
"""The last two are how an application names itself to OpenRouter."""


def reply_decoder(origin: Origin, *, skim: bool = False) -> ReplyDecoder:
    """For one streamed reply of a provider. `skim`: content after the first may be left out."""
    return ReplyDecoder(origin, skim=skim)


def reply_encoder(head: ReplyHead) -> ReplyEncoder:
    """For one streamed reply to a client."""
    return ReplyEncoder(head)


def path(model: str, *, stream: bool) -> str:  # noqa: ARG001 - other dialects put them into the path
    """What the SDK appends to its base URL."""
    return "/chat/completions"


def auth(key: str, headers: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001 - nothing depends on the client's
    """The credential; none for a server without keys."""
    return {"authorization": f"Bearer {key}"} if key else {}
