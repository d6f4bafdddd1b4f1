import json

import anthropic
import pytest

from gateway.errors import ErrorAnswer, GatewayError, Kind, UpstreamError
from tests.dialects.anthropic_sdk import ANTHROPIC, client

TYPES = {
    Kind.INVALID: ("invalid_request_error", anthropic.BadRequestError),
    Kind.UNAUTHENTICATED: ("authentication_error", anthropic.AuthenticationError),
    Kind.PAYMENT_REQUIRED: ("billing_error", anthropic.APIStatusError),
    Kind.FORBIDDEN: ("permission_error", anthropic.PermissionDeniedError),
    Kind.NOT_FOUND: ("not_found_error", anthropic.NotFoundError),
    Kind.CONFLICT: ("conflict_error", anthropic.ConflictError),
    Kind.TOO_LARGE: ("request_too_large", anthropic.APIStatusError),
    Kind.UNPROCESSABLE: ("invalid_request_error", anthropic.UnprocessableEntityError),
    Kind.RATE_LIMITED: ("rate_limit_error", anthropic.RateLimitError),
    Kind.CLIENT_CLOSED: ("invalid_request_error", anthropic.APIStatusError),
    Kind.INTERNAL: ("api_error", anthropic.InternalServerError),
    Kind.BAD_GATEWAY: ("api_error", anthropic.InternalServerError),
    Kind.UNAVAILABLE: ("overloaded_error", anthropic.InternalServerError),
    Kind.TIMEOUT: ("timeout_error", anthropic.InternalServerError),
}


@pytest.mark.parametrize("kind", Kind)
def test_the_sdk_raises_its_own_error_for_each_kind(kind):
    name, exception = TYPES[kind]
    body = ANTHROPIC.encode_error(GatewayError(kind, "Something.", code="session_busy"), "req_1")
    with client(body, status=kind.status) as sdk, pytest.raises(exception) as caught:
        sdk.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    assert caught.value.type == name
    assert caught.value.api_message == "Something."
    assert caught.value.error_code == "session_busy"
    assert json.loads(body)["request_id"] == "req_1"


def test_the_field_at_fault_is_named_once():
    plain = ANTHROPIC.encode_error(GatewayError(Kind.INVALID, "It is required.", param="model"), "")
    assert json.loads(plain) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "model: It is required."},
        "request_id": None,
    }
    named = ANTHROPIC.encode_error(GatewayError(Kind.INVALID, "model: required.", param="model"), "")
    assert json.loads(named)["error"]["message"] == "model: required."


OWN = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded","new":1},  "request_id":"req_9"}'


def test_the_vendors_own_error_goes_back_as_it_came():
    assert ANTHROPIC.encode_error(ANTHROPIC.decode_error(529, OWN), "req_1") == OWN


@pytest.mark.parametrize(
    "answer",
    [
        ErrorAnswer("openai-chat", 500, OWN),
        ErrorAnswer("anthropic", 500, b"<html>"),
        ErrorAnswer("anthropic", 500, b'{"error":"x"}'),
        ErrorAnswer("anthropic", 500, b'[{"type":"error"}]'),
    ],
)
def test_anything_else_is_put_into_the_vendors_form(answer):
    body = ANTHROPIC.encode_error(UpstreamError(Kind.BAD_GATEWAY, "Broken.", answer=answer), "req_1")
    assert json.loads(body)["error"] == {"type": "api_error", "message": "Broken."}


def error(name: str, message: str = "Oh.", **members) -> bytes:
    return json.dumps({"type": "error", "error": {"type": name, "message": message, **members}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, error("invalid_request_error"), Kind.INVALID, "invalid_request_error"),
        (401, error("authentication_error"), Kind.UNAUTHENTICATED, "authentication_error"),
        (402, error("billing_error"), Kind.PAYMENT_REQUIRED, "billing_error"),
        (403, error("permission_error"), Kind.FORBIDDEN, "permission_error"),
        (404, error("not_found_error"), Kind.NOT_FOUND, "not_found_error"),
        (413, error("request_too_large"), Kind.TOO_LARGE, "request_too_large"),
        (429, error("rate_limit_error"), Kind.RATE_LIMITED, "rate_limit_error"),
        (500, error("api_error"), Kind.BAD_GATEWAY, "api_error"),
        (504, error("timeout_error"), Kind.TIMEOUT, "timeout_error"),
        (529, error("overloaded_error"), Kind.UNAVAILABLE, "overloaded_error"),
        (200, error("overloaded_error"), Kind.UNAVAILABLE, "overloaded_error"),
        (418, error("teapot_error"), Kind.INVALID, "teapot_error"),
        (400, error("invalid_request_error", details={"error_code": "file_expired"}), Kind.INVALID, "file_expired"),
        (
            400,
            error("invalid_request_error", "Your credit balance is too low."),
            Kind.PAYMENT_REQUIRED,
            "invalid_request_error",
        ),
    ],
)
def test_a_providers_error_is_understood(status, body, kind, code):
    found = ANTHROPIC.decode_error(status, body)
    assert (found.kind, found.code) == (kind, code)
    assert found.answer == ErrorAnswer("anthropic", status, body)


@pytest.mark.parametrize(
    "body", [b"", b"<html>502</html>", b"[]", b"null", b'{"error":"x"}', b'{"error":{"mess', b"\xff"]
)
def test_any_answer_at_all_makes_an_error(body):
    found = ANTHROPIC.decode_error(503, body)
    assert found.kind is Kind.UNAVAILABLE
    assert found.message == "The provider answered with status 503."


def test_a_long_message_is_cut():
    assert len(ANTHROPIC.decode_error(400, error("invalid_request_error", "x" * 900)).message) == 500
