"""Anthropic Messages, API versions 2023-06-01 and 2026-10-21.

The versions differ in what a request may hold and in how the vendor's clients send a key, not in the form of replies.
A request in this dialect is passed on as it came, with the version that its client named. One that is translated from
another dialect goes as 2023-06-01, which still takes a temperature where the model does.

Source: https://platform.claude.com/docs/en/api/versioning
"""

from collections.abc import Mapping

from gateway.conversation import Origin
from gateway.dialects.anthropic.caching import cache_hint
from gateway.dialects.anthropic.counting import COUNTING
from gateway.dialects.anthropic.decoding import StreamDecoder
from gateway.dialects.anthropic.errors import decode_error, encode_error
from gateway.dialects.anthropic.messages import decode_messages, decode_system, encode_messages, encode_system
from gateway.dialects.anthropic.prompts import decode_prompt, encode_prompt, open_request, splice, spoken
from gateway.dialects.anthropic.replies import decode_reply, encode_reply
from gateway.dialects.anthropic.streams import StreamEncoder
from gateway.dialects.anthropic.tools import decode_tools, encode_tools
from gateway.dialects.anthropic.wire import NAME
from gateway.dialects.dialect import RelayFilter, ReplyDecoder, ReplyEncoder, ReplyHead, Request

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

JOINABLE = True
FORWARDED_HEADERS = frozenset(
    {
        "anthropic-version",
        "anthropic-beta",
        "anthropic-user-profile-id",
        "x-app",
        "x-claude-code-session-id",
        "x-claude-code-agent-id",
        "x-claude-code-parent-agent-id",
    }
)
"""Not `anthropic-workspace-id`: it belongs to the client's credential, which the gateway replaces."""

_VERSION = "2023-06-01"
_BEARER_SINCE = "2026-10-21"
_TOKEN = "sk-ant-oat"  # noqa: S105 - the prefix of the vendor's OAuth tokens, which are never sent as x-api-key


def reply_decoder(origin: Origin, *, skim: bool = False) -> ReplyDecoder:
    """For one streamed reply of a provider. `skim`: content after the first may be left out."""
    return StreamDecoder(origin, skim=skim)


def reply_encoder(head: ReplyHead) -> ReplyEncoder:
    """For one streamed reply to a client."""
    return StreamEncoder(head)


def relay_filter(request: Request) -> RelayFilter | None:
    """Nothing has to be taken out: the gateway asks for nothing that the client did not."""
    del request
    return None


def path(model: str, *, stream: bool) -> str:
    """The same for every model, whole or streamed."""
    del model, stream
    return "/v1/messages"


def auth(key: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The credential as clients of the version send it, and the version: the client's, else 2023-06-01."""
    version = headers.get("anthropic-version") or _VERSION
    if version >= _BEARER_SINCE or key.startswith(_TOKEN):
        return {"authorization": f"Bearer {key}", "anthropic-version": version}
    return {"x-api-key": key, "anthropic-version": version}
