"""Gemini: generateContent and streamGenerateContent.

Source: https://ai.google.dev/api/generate-content
"""

from collections.abc import Mapping
from urllib.parse import quote

from gateway.dialects.gemini.counting import COUNTING, unwrapped
from gateway.dialects.gemini.errors import decode_error, encode_error
from gateway.dialects.gemini.framing import relay_filter
from gateway.dialects.gemini.messages import decode_messages, decode_system, encode_system
from gateway.dialects.gemini.prompts import decode_prompt, encode_prompt, open_request, splice, spoken
from gateway.dialects.gemini.replies import decode_reply, encode_reply
from gateway.dialects.gemini.streams import reply_decoder, reply_encoder
from gateway.dialects.gemini.tools import decode_tools, encode_tools
from gateway.dialects.gemini.wire import NAME
from gateway.dialects.gemini.writing import encode_messages
from gateway.dialects.lists import Payload

__all__ = [
    "COUNTING",
    "FORWARDED_HEADERS",
    "JOINABLE",
    "KEEP_ALIVE",
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
    "unwrapped",
]

JOINABLE = True
FORWARDED_HEADERS = frozenset({"x-goog-api-client", "x-server-timeout"})

KEEP_ALIVE = b"\n"
"""What may be sent while a client waits for a stream. Google's Python SDK takes an SSE comment for broken JSON; an
empty line is nothing to it, nor to the reader of a JSON array."""


def path(model: str, *, stream: bool) -> str:
    """Behind a base URL without version. A stream is always asked for as server-sent events."""
    name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/{quote(name)}:{method}"


def cache_hint(body: Payload, *, model: str, key: str, history: bool) -> Payload:
    """Nothing: the vendor's implicit caching needs no hint."""
    del model, key, history
    return body


def auth(key: str, headers: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG001 - the verb's signature
    """The header that carries an API key."""
    return {"x-goog-api-key": key}
