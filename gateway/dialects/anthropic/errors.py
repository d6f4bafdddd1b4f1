"""Errors, both directions.

Source: https://platform.claude.com/docs/en/api/errors
"""

from typing import Any, assert_never

from msgspec.json import Decoder

from gateway.dialects.anthropic.wire import NAME, UNREADABLE, ErrorBody, encode
from gateway.errors import CONTEXT_LENGTH, ErrorAnswer, GatewayError, Kind, UpstreamError, kind_of

_BODY = Decoder(ErrorBody)
_LONGEST = 500
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_NO_CREDIT = "credit balance is too low"
_TOO_LONG = "prompt is too long"
"""How the vendor says it; its agents look for these words, and then make their history shorter."""


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider's error answer means. `body` may be anything, or empty."""
    answer = ErrorAnswer(NAME, status, body)
    try:
        error = _BODY.decode(body).error
    except UNREADABLE:
        return UpstreamError(kind_of(status), f"The provider answered with status {status}.", answer=answer)
    too_long = error.message.startswith(_TOO_LONG)
    code = CONTEXT_LENGTH if too_long else (error.details.error_code if error.details else None) or error.type or None
    message = error.message.strip()[:_LONGEST] or f"The provider answered with status {status}."
    return UpstreamError(_kind(status, error.type, message), message, code=code, answer=answer)


def stream_error(body: bytes) -> UpstreamError:
    """What an error event means: it has a type, and no status."""
    try:
        kind = _BODY.decode(body).error.type
    except UNREADABLE:
        kind = ""
    return decode_error(_STATUS.get(kind, 500), body)


def _kind(status: int, type_name: str, message: str) -> Kind:
    if _NO_CREDIT in message:  # comes as a 400, and another account would do
        return Kind.PAYMENT_REQUIRED
    return kind_of(_STATUS.get(type_name, status))


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """The JSON body of an error answer; this vendor's own goes back as it came."""
    answer = error.answer if isinstance(error, UpstreamError) else None
    if answer is not None and answer.dialect == NAME and _is_ours(answer.body):
        return answer.body
    message = error.message
    if error.param and error.param not in message:
        message = f"{error.param}: {message}"  # the vendor has no member for it
    if error.code == CONTEXT_LENGTH and _TOO_LONG not in message:
        message = f"{_TOO_LONG}: {message}"
    body: dict[str, Any] = {"type": _type_of(error.kind), "message": message}
    if error.code and error.code != body["type"]:
        body["details"] = {"error_code": error.code}
    return encode({"type": "error", "error": body, "request_id": request_id or None})


def _is_ours(body: bytes) -> bool:
    try:
        decoded = _BODY.decode(body)
    except UNREADABLE:
        return False
    return decoded.type == "error" and bool(decoded.error.type)


def _type_of(kind: Kind) -> str:  # noqa: C901, PLR0911 - one case a kind
    match kind:
        case Kind.INVALID | Kind.UNPROCESSABLE | Kind.CLIENT_CLOSED:
            return "invalid_request_error"
        case Kind.UNAUTHENTICATED:
            return "authentication_error"
        case Kind.PAYMENT_REQUIRED:
            return "billing_error"
        case Kind.FORBIDDEN:
            return "permission_error"
        case Kind.NOT_FOUND:
            return "not_found_error"
        case Kind.CONFLICT:
            return "conflict_error"
        case Kind.TOO_LARGE:
            return "request_too_large"
        case Kind.RATE_LIMITED:
            return "rate_limit_error"
        case Kind.INTERNAL | Kind.BAD_GATEWAY:
            return "api_error"
        case Kind.UNAVAILABLE:
            return "overloaded_error"
        case Kind.TIMEOUT:
            return "timeout_error"
    assert_never(kind)
