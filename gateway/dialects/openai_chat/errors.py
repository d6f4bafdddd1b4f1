"""Errors, both ways.

Source: https://platform.openai.com/docs/guides/error-codes. Compatible servers have shapes of their own: a list
(Gemini), a bare string (Ollama), the members without the object around them (vLLM, Mistral), `detail` (FastAPI).
"""

from typing import Any

import msgspec

from gateway.dialects.openai_chat.wire import NAME, encode
from gateway.errors import ErrorAnswer, GatewayError, Kind, UpstreamError, kind_of

_LONGEST = 500
_OK = 200
_REFINED = {
    "insufficient_quota": Kind.PAYMENT_REQUIRED,
    "billing_hard_limit_reached": Kind.PAYMENT_REQUIRED,
    "billing_not_active": Kind.PAYMENT_REQUIRED,
    "invalid_api_key": Kind.UNAUTHENTICATED,
    "authentication_error": Kind.UNAUTHENTICATED,
    "model_not_found": Kind.NOT_FOUND,
    "rate_limit_exceeded": Kind.RATE_LIMITED,
    "rate_limit_error": Kind.RATE_LIMITED,
    "overloaded_error": Kind.UNAVAILABLE,
    "server_overloaded": Kind.UNAVAILABLE,
}
_IN_STREAM = {"invalid_request_error": Kind.INVALID, "context_length_exceeded": Kind.INVALID}


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider's error answer means; `body` may be anything."""
    error = _object(body)
    code, kind_name = _text(error.get("code")), _text(error.get("type"))
    return UpstreamError(
        _kind(status, error.get("code"), kind_name),
        _message(error) or f"The provider answered with status {status}.",
        param=_text(error.get("param")) or None,
        code=code or kind_name or None,
        answer=ErrorAnswer(NAME, status, body),
    )


def _kind(status: int, code: Any, kind_name: str) -> Kind:  # noqa: ANN401 - a JSON value
    refined = _REFINED.get(str(code)) or _REFINED.get(kind_name)
    if refined is Kind.RATE_LIMITED and status == Kind.TOO_LARGE.status:  # one request above the limit: no retry helps
        refined = None
    if refined is not None:
        return refined
    if status != _OK:
        return kind_of(status)
    number = int(code) if str(code).isdecimal() else 0
    if number >= 400:  # noqa: PLR2004 - OpenRouter's code is the status it would have been
        return kind_of(number)
    return _IN_STREAM.get(str(code)) or _IN_STREAM.get(kind_name) or Kind.BAD_GATEWAY


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return {}
    if isinstance(value, list):
        value = value[0] if value else {}
    if not isinstance(value, dict):
        return {}
    error = value.get("error", value)
    if isinstance(error, str):
        return {**value, "message": error}
    return error if isinstance(error, dict) else {}


def _message(error: dict[str, Any]) -> str:
    message = error.get("message") or error.get("detail")
    if isinstance(message, dict | list):
        message = encode(message).decode()
    return _text(message).strip()[:_LONGEST]


def _text(value: Any) -> str:  # noqa: ANN401 - a JSON value
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """The JSON body of an error answer; a provider's own of this dialect is passed on unchanged."""
    answer = error.answer if isinstance(error, UpstreamError) else None
    if answer is not None and answer.dialect == NAME and _is_openai_shape(answer.body):
        return answer.body
    members = {
        "message": error.message,
        "type": _type(error.kind),
        "param": error.param,
        "code": error.code,
    }
    if request_id:
        members["request_id"] = request_id
    return encode({"error": members})


def _is_openai_shape(body: bytes) -> bool:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("error"), dict)


def _type(kind: Kind) -> str:
    match kind:
        case Kind.UNAUTHENTICATED:
            return "authentication_error"
        case Kind.PAYMENT_REQUIRED:
            return "insufficient_quota"
        case Kind.FORBIDDEN:
            return "permission_error"
        case Kind.RATE_LIMITED:
            return "rate_limit_error"
        case Kind.INTERNAL | Kind.BAD_GATEWAY | Kind.UNAVAILABLE | Kind.TIMEOUT | Kind.CLIENT_CLOSED:
            return "server_error"
        case _:
            return "invalid_request_error"
