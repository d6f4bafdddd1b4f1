"""Everything that can go wrong, as one tree.

GatewayError                 has a Kind; its message is ours and may be shown to the client
├── UpstreamError            an attempt at a provider failed
└── StoreError               the session store did not do what was asked
    ├── StoreUnavailable     down, slow, refusing; the breaker is open
    ├── SessionGone          deleted, expired or made anew since it was loaded (rule S11)
    ├── SessionChanged       another turn came between, and this one replaces turns
    ├── SessionBusy          another turn holds the lease (rule S9)
    ├── SessionLimit         the owner has as many sessions as it may have
    └── SessionTooLarge      the turn alone is larger than a session may be
"""

from enum import Enum

from msgspec import Struct


class Kind(Enum):
    """What kind of failure this is. The value is its name and the HTTP status that a client sees."""

    INVALID = "invalid", 400
    UNAUTHENTICATED = "unauthenticated", 401
    PAYMENT_REQUIRED = "payment_required", 402
    FORBIDDEN = "forbidden", 403
    NOT_FOUND = "not_found", 404
    CONFLICT = "conflict", 409
    TOO_LARGE = "too_large", 413
    UNPROCESSABLE = "unprocessable", 422
    RATE_LIMITED = "rate_limited", 429
    CLIENT_CLOSED = "client_closed", 499
    INTERNAL = "internal", 500
    BAD_GATEWAY = "bad_gateway", 502
    UNAVAILABLE = "unavailable", 503
    TIMEOUT = "timeout", 504

    @property
    def label(self) -> str:
        """The name, for metrics and logs."""
        return self.value[0]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[1]


def kind_of(status: int) -> Kind:
    """The Kind of a provider's HTTP status: what it means for the client that waits."""
    match status:
        case 401 | 402 | 403 | 404 | 409 | 413 | 422 | 429:
            return _BY_STATUS[status]
        case 408 | 504:
            return Kind.TIMEOUT
        case 503 | 529:
            return Kind.UNAVAILABLE
        case _ if 400 <= status < 500:  # noqa: PLR2004 - the class of client errors
            return Kind.INVALID
        case _:
            return Kind.BAD_GATEWAY


CONTEXT_LENGTH = "context_length_exceeded"
"""The `code` of a prompt that is longer than the model's window; clients make their history shorter then."""


class GatewayError(Exception):
    """A failure that has a meaning for the client.

    `message` is one sentence of ours that says what to do. `param` names the field at fault,
    `code` is a machine-readable name such as `session_busy`, `retry_after` is in seconds.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after


class ErrorAnswer(Struct, frozen=True):
    """A provider's error answer as it came, so that a client of the same `dialect` gets it unchanged."""

    dialect: str
    status: int
    body: bytes


class UpstreamError(GatewayError):
    """An attempt at a provider failed: refused, broken, silent, or answered with an error (then `answer` is set)."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        answer: ErrorAnswer | None = None,
    ) -> None:
        super().__init__(kind, message, param=param, code=code, retry_after=retry_after)
        self.answer = answer


class StoreError(GatewayError):
    """The session store did not do what was asked of it."""

    kind_of_class = Kind.UNAVAILABLE

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(self.kind_of_class, message, code=code, retry_after=retry_after)


class StoreUnavailable(StoreError):
    """The store is down, slow or refusing; nothing was read or written as far as we know."""


class SessionGone(StoreError):
    """The session was deleted, expired or made anew since it was loaded (rule S11)."""

    kind_of_class = Kind.CONFLICT


class SessionChanged(StoreError):
    """Another turn was stored between load and append, and this one wanted to replace turns."""

    kind_of_class = Kind.CONFLICT


class SessionBusy(StoreError):
    """Another turn holds the session's lease (rule S9)."""

    kind_of_class = Kind.CONFLICT


class SessionLimit(StoreError):
    """The owner has as many sessions as it may have."""

    kind_of_class = Kind.RATE_LIMITED


class SessionTooLarge(StoreError):
    """The turn alone is larger than a session may be."""

    kind_of_class = Kind.TOO_LARGE


_BY_STATUS = {kind.status: kind for kind in Kind}
