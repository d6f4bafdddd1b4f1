"""Error answers, both directions. Source: https://platform.openai.com/docs/guides/error-codes."""

from msgspec import Raw, Struct
from msgspec.json import Decoder

from gateway.dialects.openai_responses.wire import NAME, UNREADABLE, dump
from gateway.errors import ErrorAnswer, GatewayError, Kind, UpstreamError, kind_of

_LONGEST = 500

_KINDS = {
    "insufficient_quota": Kind.PAYMENT_REQUIRED,
    "billing_hard_limit_reached": Kind.PAYMENT_REQUIRED,
    "invalid_api_key": Kind.UNAUTHENTICATED,
    "authentication_error": Kind.UNAUTHENTICATED,
    "permission_error": Kind.FORBIDDEN,
    "model_not_found": Kind.NOT_FOUND,
    "rate_limit_exceeded": Kind.RATE_LIMITED,
    "rate_limit_error": Kind.RATE_LIMITED,
    "server_is_overloaded": Kind.UNAVAILABLE,
    "slow_down": Kind.UNAVAILABLE,
    "server_error": Kind.BAD_GATEWAY,
    "vector_store_timeout": Kind.TIMEOUT,
}
"""What a code or a type means, whatever the status says."""

_OF_THE_REQUEST = (
    "invalid_",
    "context_length_exceeded",
    "image_",
    "unsupported_image",
    "empty_image",
    "failed_to_download",
)
"""How the codes of a failed response begin that the request is to blame for."""

_TYPES = {
    Kind.UNAUTHENTICATED: "authentication_error",
    Kind.FORBIDDEN: "permission_error",
    Kind.PAYMENT_REQUIRED: "insufficient_quota",
    Kind.RATE_LIMITED: "rate_limit_error",
    Kind.INTERNAL: "server_error",
    Kind.BAD_GATEWAY: "server_error",
    Kind.UNAVAILABLE: "server_error",
    Kind.TIMEOUT: "server_error",
}
_CODES = {
    Kind.UNAUTHENTICATED: "invalid_api_key",
    Kind.PAYMENT_REQUIRED: "insufficient_quota",
    Kind.RATE_LIMITED: "rate_limit_exceeded",
}


class Problem(Struct):
    """An error object; providers of the same dialect put other types into each member, so none is insisted on."""

    message: object = None
    type: object = None
    code: object = None
    param: object = None


class _Answer(Struct):
    error: Problem | str | None = None
    message: object = None
    detail: object = None


_ANSWER = Decoder(_Answer)
_ANSWERS = Decoder(list[_Answer])
_PROBLEM = Decoder(Problem)
_SHAPE = Decoder(dict[str, Raw])


def decode_error(status: int, body: bytes) -> UpstreamError:
    """What a provider's error answer means; `body` may be anything."""
    problem = _problem(body)
    kind = kind_of(status)
    for name in (problem.type, problem.code):
        kind = _KINDS.get(str(name), kind)
    return _error(kind, problem, f"The provider answered with status {status}.", ErrorAnswer(NAME, status, body))


def _problem(body: bytes) -> Problem:
    try:
        answer = _ANSWERS.decode(body)[0] if body.lstrip()[:1] == b"[" else _ANSWER.decode(body)
    except (*UNREADABLE, IndexError):
        return Problem()
    match answer:
        case _Answer(error=Problem() as problem):
            return problem
        case _Answer(error=str(text)):
            return Problem(message=text)
        case _:
            return Problem(message=answer.message or answer.detail)


def failure(error: Raw | bytes, status: str = "failed") -> UpstreamError:
    """A reply that failed after it had begun: the error object of a response or of an event."""
    try:
        problem = _PROBLEM.decode(error)
    except UNREADABLE:
        problem = Problem()
    code = _text(problem.code) or _text(problem.type) or ""
    kind = _KINDS.get(code, Kind.INVALID if code.startswith(_OF_THE_REQUEST) else Kind.BAD_GATEWAY)
    answer = ErrorAnswer(NAME, kind.status, dump({"error": _members(problem)}))
    return _error(kind, problem, f"The provider ended the reply as {status}.", answer)


def _members(problem: Problem) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("message", "type", "param", "code")}


def _error(kind: Kind, problem: Problem, default: str, answer: ErrorAnswer) -> UpstreamError:
    return UpstreamError(
        kind,
        (_text(problem.message) or default)[:_LONGEST],
        param=_text(problem.param),
        code=_text(problem.code) or _text(problem.type),
        answer=answer,
    )


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return value.strip() if isinstance(value, str) else dump(value).decode()


def encode_error(error: GatewayError, request_id: str) -> bytes:  # noqa: ARG001 - the vendor has it in a header
    """The JSON body of an error answer. A provider's own one of this dialect is passed on as it is."""
    if isinstance(error, UpstreamError) and error.answer is not None and error.answer.dialect == NAME:
        body = error.answer.body
        if _is_error(body):
            return body
    return dump({"error": error_members(error)})


def error_members(error: GatewayError) -> dict[str, object]:
    """The vendor's error object."""
    return {
        "message": error.message,
        "type": _TYPES.get(error.kind, "invalid_request_error"),
        "param": error.param,
        "code": error.code or _CODES.get(error.kind),
    }


def failed_code(error: GatewayError) -> str:
    """The code of a response that failed: the provider's own where it is of this dialect, else one the SDK knows."""
    if isinstance(error, UpstreamError) and error.code and error.answer is not None and error.answer.dialect == NAME:
        return error.code
    match error.kind:
        case Kind.RATE_LIMITED:
            return "rate_limit_exceeded"
        case Kind.INVALID | Kind.TOO_LARGE | Kind.UNPROCESSABLE:
            return "invalid_prompt"
        case _:
            return "server_error"


def _is_error(body: bytes) -> bool:
    try:
        return bytes(_SHAPE.decode(body).get("error", b""))[:1] == b"{"
    except UNREADABLE:
        return False
