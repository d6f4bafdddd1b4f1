"""Errors of Chat providers, and errors for Chat clients."""

from typing import Any

import httpx2
import msgspec
import openai
import pytest

from gateway.dialects import openai_chat as chat
from gateway.errors import ErrorAnswer, GatewayError, Kind, StoreUnavailable, UpstreamError

QUOTA = (
    b'{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,'
    b'"code":"insufficient_quota"}}'
)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message", "code"),
    [
        (429, QUOTA, Kind.PAYMENT_REQUIRED, "You exceeded your current quota", "insufficient_quota"),
        (
            429,
            b'{"error":{"message":"Rate limit","type":"tokens","code":"rate_limit_exceeded"}}',
            Kind.RATE_LIMITED,
            "Rate limit",
            "rate_limit_exceeded",
        ),
        (
            413,
            b'{"error":{"message":"Too large for TPM","type":"tokens","code":"rate_limit_exceeded"}}',
            Kind.TOO_LARGE,
            "Too large for TPM",
            "rate_limit_exceeded",
        ),
        (
            400,
            b'{"error":{"message":"Too long","type":"invalid_request_error","code":"context_length_exceeded"}}',
            Kind.INVALID,
            "Too long",
            "context_length_exceeded",
        ),
        (
            400,
            b'{"error":{"message":"Bad key","code":"invalid_api_key"}}',
            Kind.UNAUTHENTICATED,
            "Bad key",
            "invalid_api_key",
        ),
        (
            404,
            b'{"error":{"message":"No model","code":"model_not_found"}}',
            Kind.NOT_FOUND,
            "No model",
            "model_not_found",
        ),
        (500, b'{"error":{"message":"Oops","type":"server_error"}}', Kind.BAD_GATEWAY, "Oops", "server_error"),
        (503, b'{"error":{"message":"Busy","code":503}}', Kind.UNAVAILABLE, "Busy", "503"),
        (
            400,
            b'{"object":"error","message":"vLLM says no","type":"BadRequestError","code":400}',
            Kind.INVALID,
            "vLLM says no",
            "400",
        ),
        (404, b'{"error":"model \'x\' not found"}', Kind.NOT_FOUND, "model 'x' not found", None),
        (422, b'{"detail":[{"loc":["body"],"msg":"bad"}]}', Kind.UNPROCESSABLE, '[{"loc":["body"],"msg":"bad"}]', None),
        (
            400,
            b'[{"error":{"code":400,"message":"Google","status":"INVALID_ARGUMENT"}}]',
            Kind.INVALID,
            "Google",
            "400",
        ),
        (
            502,
            b"<html><body>Bad gateway</body></html>",
            Kind.BAD_GATEWAY,
            "The provider answered with status 502.",
            None,
        ),
        (503, b"", Kind.UNAVAILABLE, "The provider answered with status 503.", None),
        (500, b'{"error":{"mess', Kind.BAD_GATEWAY, "The provider answered with status 500.", None),
        (500, b'{"error":7}', Kind.BAD_GATEWAY, "The provider answered with status 500.", None),
        (500, b"[]", Kind.BAD_GATEWAY, "The provider answered with status 500.", None),
        (500, b"7", Kind.BAD_GATEWAY, "The provider answered with status 500.", None),
        (500, b"[" * 100_000, Kind.BAD_GATEWAY, "The provider answered with status 500.", None),
        (200, b'{"error":{"message":"x","code":"402"}}', Kind.PAYMENT_REQUIRED, "x", "402"),
        (200, b'{"error":{"message":"x","type":"invalid_request_error"}}', Kind.INVALID, "x", "invalid_request_error"),
        (200, b'{"error":{"message":"x","type":"overloaded_error"}}', Kind.UNAVAILABLE, "x", "overloaded_error"),
    ],
)
def test_a_providers_error_is_understood(status: int, body: bytes, kind: Kind, message: str, code: str | None) -> None:
    error = chat.decode_error(status, body)
    assert (error.kind, error.message, error.code) == (kind, message, code)
    assert error.answer == ErrorAnswer("openai_chat", status, body)


def test_the_member_at_fault_is_kept_and_a_long_message_cut() -> None:
    body = msgspec.json.encode({"error": {"message": "x" * 9999, "param": "messages[0]"}})
    error = chat.decode_error(400, body)
    assert (error.param, len(error.message)) == ("messages[0]", 500)


def test_a_providers_own_error_is_passed_on_unchanged() -> None:
    assert chat.encode_error(chat.decode_error(429, QUOTA), "req-1") == QUOTA


@pytest.mark.parametrize("body", [b"<html>", b'{"error":"text"}', b'[{"error":{}}]', b'{"detail":"x"}'])
def test_an_error_that_sdks_could_not_read_is_put_into_the_usual_shape(body: bytes) -> None:
    assert "message" in shown(chat.decode_error(500, body))


def test_an_error_of_another_dialect_is_put_into_the_usual_shape() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Busy"}}'
    error = UpstreamError(Kind.UNAVAILABLE, "Busy", code="overloaded_error", answer=ErrorAnswer("anthropic", 529, body))
    assert shown(error) == {
        "message": "Busy",
        "type": "server_error",
        "param": None,
        "code": "overloaded_error",
        "request_id": "req-1",
    }


def shown(error: GatewayError) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.json.decode(chat.encode_error(error, "req-1"))["error"]
    return members


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_has_a_type(kind: Kind) -> None:
    assert shown(GatewayError(kind, "x"))["type"] in {
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "insufficient_quota",
        "rate_limit_error",
        "server_error",
    }


def test_the_sdk_reads_our_error() -> None:
    body = chat.encode_error(GatewayError(Kind.INVALID, "model is missing", param="model", code="missing"), "")
    transport = httpx2.MockTransport(lambda _: httpx2.Response(400, content=body))
    with (
        httpx2.Client(transport=transport) as http,
        openai.OpenAI(api_key="x", base_url="http://gateway.test/v1", http_client=http, max_retries=0) as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        client.chat.completions.create(model="m", messages=[])
    assert (caught.value.type, caught.value.param, caught.value.code) == ("invalid_request_error", "model", "missing")


def test_a_store_that_is_down_is_the_servers_error() -> None:
    assert shown(StoreUnavailable("Try again."))["type"] == "server_error"
