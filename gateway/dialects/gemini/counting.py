"""Counting tokens.

Source: https://ai.google.dev/api/tokens
"""

from urllib.parse import quote

from msgspec import Raw, Struct
from msgspec.json import Decoder

from gateway.dialects.dialect import Counting
from gateway.dialects.gemini.wire import ENCODER

_REQUEST = "generateContentRequest"


class _Count(Struct, rename="camel"):
    total_tokens: int


class _Wrapped(Struct, rename="camel"):
    generate_content_request: Raw = Raw(b"")


_COUNT = Decoder(_Count)
_WRAPPED = Decoder(_Wrapped)
_FIELDS = Decoder(dict[str, Raw])


def unwrapped(body: bytes) -> bytes:
    """The request for a reply that a client wants counted: whole in a member of its own, or only its contents."""
    try:
        inner = bytes(_WRAPPED.decode(body).generate_content_request)
    except ValueError:
        return body
    return inner if inner.startswith(b"{") else body


def _name(model: str) -> str:
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


def _body(body: bytes, model: str) -> bytes:
    return ENCODER.encode({_REQUEST: {"model": _name(model)} | _FIELDS.decode(body)})


COUNTING: Counting | None = Counting(
    path=lambda model: f"/v1beta/{quote(_name(model))}:countTokens",
    body=_body,
    decode=lambda body: _COUNT.decode(body).total_tokens,
    encode=lambda tokens: ENCODER.encode({"totalTokens": tokens}),
)
