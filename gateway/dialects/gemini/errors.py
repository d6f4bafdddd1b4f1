"""Errors, both directions: `{"error": {"code", "message", "status", "details"}}`.

Sources: https://ai.google.dev/gemini-api/docs/troubleshooting and https://cloud.google.com/apis/design/errors
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.dialects.gemini.wire import BROKEN, ENCODER, NAME
from gateway.errors import CONTEXT_LENGTH, ErrorAnswer, GatewayError, Kind, UpstreamError, kind_of

_TYPES = "type.googleapis.com/google.rpc."
_LONGEST = 500
_KINDS = {
    "INVALID_ARGUMENT": Kind.INVALID,
    "FAILED_PRECONDITION": Kind.INVALID,
    "OUT_OF_RANGE": Kind.INVALID,
    "UNAUTHENTICATED": Kind.UNAUTHENTICATED,
    "PERMISSION_DENIED": Kind.FORBIDDEN,
    "NOT_FOUND": Kind.NOT_FOUND,
    "ABORTED": Kind.CONFLICT,
    "ALREADY_EXISTS": Kind.CONFLICT,
    "RESOURCE_EXHAUSTED": Kind.RATE_LIMITED,
    "INTERNAL": Kind.BAD_GATEWAY,
    "UNKNOWN": Kind.BAD_GATEWAY,
    "DATA_LOSS": Kind.BAD_GATEWAY,
    "UNIMPLEMENTED": Kind.BAD_GATEWAY,
    "CANCELLED": Kind.BAD_GATEWAY,
    "UNAVAILABLE": Kind.UNAVAILABLE,
    "DEADLINE_EXCEEDED": Kind.TIMEOUT,
}
_STATUSES = {
    Kind.INVALID: "INVALID_ARGUMENT",
    Kind.UNAUTHENTICATED: "UNAUTHENTICATED",
    Kind.PAYMENT_REQUIRED: "FAILED_PRECONDITION",
    Kind.FORBIDDEN: "PERMISSION_DENIED",
    Kind.NOT_FOUND: "NOT_FOUND",
    Kind.CONFLICT: "ABORTED",
    Kind.TOO_LARGE: "INVALID_ARGUMENT",
    Kind.UNPROCESSABLE: "INVALID_ARGUMENT",
    Kind.RATE_LIMITED: "RESOURCE_EXHAUSTED",
    Kind.CLIENT_CLOSED: "CANCELLED",
    Kind.INTERNAL: "INTERNAL",
    Kind.BAD_GATEWAY: "INTERNAL",
    Kind.UNAVAILABLE: "UNAVAILABLE",
    Kind.TIMEOUT: "DEADLINE_EXCEEDED",
}


_TOO_LONG = "exceeds the maximum number of tokens allowed"


class _Violation(Struct):
    field: str = ""


class _Detail(Struct, rename="camel"):
    type: str = msgspec.field(default="", name="@type")
    retry_delay: str = ""
    reason: str = ""
    field_violations: list[_Violation] = []


class _Error(Struct):
    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: list[Raw] | None = None


class _Body(Struct):
    error: _Error


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What an error answer means. A key that is refused comes as 400, and is told from bad requests by its reason."""
    answer = ErrorAnswer(NAME, status, body)
    found = _read(body)
    if found is None:
        return UpstreamError(kind_of(status), f"The provider answered with status {status}.", answer=answer)
    details = [detail for raw in found.details or () if (detail := _detail(raw)) is not None]
    kind = _kind(status, found, [detail.reason for detail in details])
    return UpstreamError(
        kind,
        (found.message or f"The provider answered with status {status}.").strip()[:_LONGEST],
        param=next((each.field for detail in details for each in detail.field_violations if each.field), None),
        code=CONTEXT_LENGTH if _TOO_LONG in (found.message or "") else found.status or None,
        retry_after=next((delay for detail in details if (delay := _seconds(detail.retry_delay)) is not None), None),
        answer=answer,
    )


def status_in(error: Raw) -> int:
    """The HTTP status that an error in the place of a reply names."""
    try:
        code = msgspec.json.decode(error, type=_Error).code
    except BROKEN:
        code = None
    return code if code is not None and 400 <= code < 600 else 500  # noqa: PLR2004 - the classes of errors


def _read(body: bytes) -> _Error | None:
    for kind in (_Body, list[_Body]):
        try:
            found: Any = msgspec.json.decode(body, type=kind)
        except BROKEN:
            continue
        if isinstance(found, list):
            return found[0].error if found else None
        error: _Error = found.error
        return error
    return None


def _detail(raw: Raw) -> _Detail | None:
    try:
        return msgspec.json.decode(raw, type=_Detail)
    except BROKEN:
        return None


def _kind(status: int, error: _Error, reasons: list[str]) -> Kind:
    if "API_KEY_INVALID" in reasons:
        return Kind.UNAUTHENTICATED
    if status in (400, 500):  # the statuses that stand for many things
        return _KINDS.get(error.status or "", kind_of(status))
    return _KINDS["CANCELLED"] if error.status == "CANCELLED" else kind_of(status)


def _seconds(duration: str) -> float | None:
    """A protobuf duration such as `34.07s`."""
    try:
        seconds = float(duration.removesuffix("s"))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """The body of an error answer; a Gemini provider's own goes through as it came."""
    if isinstance(error, UpstreamError) and error.answer is not None and error.answer.dialect == NAME:
        body = error.answer.body
        if body.lstrip().startswith(b"{") and _read(body) is not None:
            return body
    details: list[dict[str, Any]] = []
    if error.code:
        details.append({"@type": _TYPES + "ErrorInfo", "reason": error.code.upper(), "domain": "gateway"})
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPES + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        details.append({"@type": _TYPES + "RetryInfo", "retryDelay": f"{error.retry_after:g}s"})
    if request_id:
        details.append({"@type": _TYPES + "RequestInfo", "requestId": request_id})
    shape = {"code": error.kind.status, "message": error.message, "status": _STATUSES[error.kind], "details": details}
    return ENCODER.encode({"error": shape})
