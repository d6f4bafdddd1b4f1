"""Whole replies and errors: what a provider says, and what a client is given."""

import json

import pytest
from google.genai import types

from gateway.conversation import (
    Image,
    Message,
    Opaque,
    Origin,
    Reasoning,
    Refusal,
    Reply,
    Signature,
    Stop,
    Text,
    ToolCall,
    Usage,
    wrap_signature,
)
from gateway.dialects import gemini
from gateway.dialects.dialect import ReplyHead
from gateway.errors import ErrorAnswer, GatewayError, Kind, UpstreamError

NEW = Origin("google", "gemini-3.1-pro")
OTHER = Origin("claude", "claude-sonnet-4-5")


def decoded(*parts: dict, reason: str | None = "STOP", **more) -> Reply:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": reason, "index": 0}
    body = {"candidates": [candidate], "modelVersion": "gemini-3.1-pro-001", "responseId": "r1", **more}
    return gemini.decode_reply(json.dumps(body, indent=2).encode(), NEW)


def head(**more) -> ReplyHead:
    return ReplyHead("ab12", 1700000000, gemini.open_request(b'{"contents":[]}', model="asked", **more))


def encoded(*parts, stop: Stop = Stop.END, **more) -> types.GenerateContentResponse:
    body = gemini.encode_reply(Reply(parts=parts, stop=stop, **more), head())
    return types.GenerateContentResponse.model_validate_json(body)


# ---------------------------------------------------------------- decoding


def test_a_reply_with_everything_is_read() -> None:
    reply = decoded(
        {"text": "I think", "thought": True},
        {"text": "Let me see. "},
        {"text": "", "thoughtSignature": "c2ln"},
        {
            "functionCall": {"name": "f", "args": {"z": 1152921504606846977, "a": [1, 2]}},
            "thoughtSignature": "Zmlyc3Q=",
        },
        {"functionCall": {"name": "f", "args": {}, "id": "given"}},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
    )
    assert reply.id == "r1"
    assert reply.model == "gemini-3.1-pro-001"
    assert reply.stop is Stop.TOOL_CALLS
    thought, text, first, second, image, code = reply.parts
    assert thought == Reasoning("I think", summary=True)
    assert text == Text("Let me see. ", Signature("c2ln", "gemini", NEW))
    assert isinstance(first, ToolCall)
    assert first.id.startswith("call_")
    assert first.arguments == '{"z":1152921504606846977,"a":[1,2]}'
    assert first.signature == Signature("Zmlyc3Q=", "gemini", NEW)
    assert second == ToolCall("given", "f", "{}")
    assert image == Image(media_type="image/png", data="aGk=")
    assert isinstance(code, Opaque)


def test_what_was_said_can_go_back_as_it_came_with_ids() -> None:
    reply = decoded(
        {"text": "hm", "thought": True},
        {"text": "Hi", "partMetadata": {"k": 1}, "videoMetadata": None, "audioTranscription": {}},
        {"functionCall": {"name": "f", "args": {"a": 1152921504606846977}}, "thoughtSignature": "c2ln"},
    )
    (said,) = reply.said
    assert b"1152921504606846977" in said
    content = json.loads(said)
    call = reply.parts[2]
    assert content == {
        "role": "model",
        "parts": [
            {"text": "Hi", "partMetadata": {"k": 1}},
            {
                "functionCall": {"id": call.id, "name": "f", "args": {"a": 1152921504606846977}},
                "thoughtSignature": "c2ln",
            },
        ],
    }
    types.Content.model_validate(content)
    assert gemini.decode_messages(reply.said, NEW) == (Message("assistant", reply.parts[1:]),)


def test_ids_are_the_same_for_the_same_reply_and_differ_between_replies() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    ids = [part.id for part in decoded(call, call).parts]
    assert ids == [part.id for part in decoded(call, call).parts]
    assert len({*ids, *(part.id for part in decoded(call, call, responseId="r2").parts)}) == 4
    unnamed = [decoded(call, responseId=None, usageMetadata={"promptTokenCount": n}).parts[0].id for n in (1, 2)]
    assert len(set(unnamed)) == 2


REASONS = {
    **dict.fromkeys(["STOP", "SOMETHING_NEW", "FINISH_REASON_UNSPECIFIED", None], Stop.END),
    **dict.fromkeys(["MAX_TOKENS", "CONTINUATION"], Stop.LENGTH),
}


@pytest.mark.parametrize("reason", [*(each.value for each in types.FinishReason), "SOMETHING_NEW", None])
def test_every_reason_to_stop_has_a_meaning(reason: str | None) -> None:
    assert decoded({"text": "x"}, reason=reason).stop is REASONS.get(reason, Stop.FILTERED)


def test_calls_that_were_cut_are_not_a_reason_to_run_tools() -> None:
    assert decoded({"functionCall": {"name": "f"}}, reason="MAX_TOKENS").stop is Stop.LENGTH


def test_tokens_are_counted_the_same_way_everywhere() -> None:
    usage = decoded(
        usageMetadata={
            "promptTokenCount": 100,
            "cachedContentTokenCount": 60,
            "toolUsePromptTokenCount": 7,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 30,
            "totalTokenCount": 157,
        }
    ).usage
    assert usage == Usage(input=107, output=50, cached=60, reasoning=30)
    assert decoded().usage is None


def test_a_blocked_prompt_is_a_filtered_reply() -> None:
    reply = gemini.decode_reply(
        b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}', NEW
    )
    assert (reply.parts, reply.stop, reply.said, reply.usage) == ((), Stop.FILTERED, (), Usage(input=4))


def test_of_several_candidates_the_first_counts() -> None:
    candidates = [{"index": i, "content": {"parts": [{"text": str(i)}]}, "finishReason": "STOP"} for i in (1, 0)]
    assert gemini.decode_reply(json.dumps({"candidates": candidates}).encode(), NEW).parts == (Text("0"),)


def test_odd_parts_are_passed_over() -> None:
    reply = decoded(
        {}, {"text": None}, {"functionCall": {}}, {"inlineData": 5}, {"text": "x"}, {"futureThing": {"a": 1}}
    )
    assert reply.parts[0] == Text("x")
    assert reply.parts[1].kind == "futureThing"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{", b"{}", b'{"candidates":[]}', b'{"candidates":5}', b"\xff"]
)
def test_what_is_no_reply_is_the_providers_fault(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        gemini.decode_reply(body, NEW)
    assert caught.value.kind is Kind.BAD_GATEWAY


def test_an_error_with_status_200_is_an_error() -> None:
    body = b'{"error":{"code":503,"message":"Overloaded","status":"UNAVAILABLE"}}'
    with pytest.raises(UpstreamError) as caught:
        gemini.decode_reply(body, NEW)
    assert (caught.value.kind, caught.value.message, caught.value.code) == (
        Kind.UNAVAILABLE,
        "Overloaded",
        "UNAVAILABLE",
    )


# ---------------------------------------------------------------- encoding


def test_a_reply_is_what_googles_sdk_reads() -> None:
    response = encoded(
        Reasoning("hm", Signature("sig", "anthropic", OTHER)),
        Text("Hi"),
        ToolCall("t1", "f", '{"a": [1,\n2]}'),
        Refusal("No."),
        Image(media_type="image/png", data="aGk="),
        stop=Stop.TOOL_CALLS,
        model="m",
        usage=Usage(input=10, output=9, cached=4, reasoning=3),
    )
    assert response.text == "HiNo."
    assert response.function_calls == [types.FunctionCall(id="t1", name="f", args={"a": [1, 2]})]
    assert response.candidates[0].finish_reason is types.FinishReason.STOP
    assert (response.model_version, response.response_id) == ("m", "ab12")
    counts = response.usage_metadata
    assert (counts.prompt_token_count, counts.candidates_token_count, counts.thoughts_token_count) == (10, 6, 3)
    assert (counts.cached_content_token_count, counts.total_token_count) == (4, 19)


@pytest.mark.parametrize("stop", Stop)
def test_every_stop_has_a_reason(stop: Stop) -> None:
    reason = encoded(Text("x"), stop=stop).candidates[0].finish_reason
    expected = {
        "length": "MAX_TOKENS",
        "context": "MAX_TOKENS",
        "filtered": "SAFETY",
        "refused": "SAFETY",
        "paused": "OTHER",
    }
    assert reason == types.FinishReason(expected.get(stop.value, "STOP"))


def test_an_empty_reply_has_a_part_unless_it_was_filtered() -> None:
    assert encoded().candidates[0].content.parts == [types.Part(text="")]
    assert encoded(stop=Stop.FILTERED).candidates[0].content is None


def test_usage_survives_the_way_there_and_back() -> None:
    usage = Usage(input=107, output=50, cached=60, reasoning=30)
    body = gemini.encode_reply(Reply(parts=(Text("x"),), usage=usage), head())
    assert gemini.decode_reply(body, NEW).usage == usage


def test_signatures_of_gemini_are_given_as_they_are() -> None:
    body = gemini.encode_reply(
        Reply(parts=(ToolCall("1", "f", "", signature=Signature("c2ln", "gemini", NEW)),)), head()
    )
    assert json.loads(body)["candidates"][0]["content"]["parts"][0]["thoughtSignature"] == "c2ln"


@pytest.mark.parametrize(
    "thought",
    [
        Reasoning("hm", Signature("sig", "anthropic", OTHER)),
        Reasoning("", Signature("sig", "anthropic", OTHER), redacted=True),
        Reasoning("sum", Signature("gAAA", "openai-responses", OTHER), summary=True, id="rs_1"),
    ],
)
def test_foreign_thinking_comes_back_whole(thought: Reasoning) -> None:
    response = encoded(thought, Text("Hi"))
    content = json.loads(response.candidates[0].content.model_dump_json(by_alias=True, exclude_none=True))
    assert content["parts"][0]["thoughtSignature"] == wrap_signature(thought.signature)
    assert gemini.decode_messages([json.dumps(content).encode()]) == (Message("assistant", (thought, Text("Hi"))),)


def test_what_gemini_cannot_say_is_left_out() -> None:
    assert encoded(Opaque("anthropic", "x", b"{}"), Text("Hi")).text == "Hi"
    own = decoded({"executableCode": {"code": "1"}, "thoughtSignature": "c2ln"}).parts[0]
    body = json.loads(gemini.encode_reply(Reply(parts=(own,)), head()))
    assert body["candidates"][0]["content"]["parts"] == [{"executableCode": {"code": "1"}, "thoughtSignature": "c2ln"}]


# ---------------------------------------------------------------- errors


def test_a_quota_says_when_to_come_back() -> None:
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]},
        {"@type": "type.googleapis.com/google.rpc.Help", "links": 5},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.074824224s"},
    ]
    body = json.dumps({"error": {"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED", "details": details}})
    error = gemini.decode_error(429, body.encode())
    assert (error.kind, error.message, error.code) == (Kind.RATE_LIMITED, "Quota.", "RESOURCE_EXHAUSTED")
    assert error.retry_after == pytest.approx(34.07, abs=0.01)
    assert error.answer == ErrorAnswer("gemini", 429, body.encode())


def test_a_refused_key_is_told_from_a_bad_request() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    body = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [detail]}}
    assert gemini.decode_error(400, json.dumps(body).encode()).kind is Kind.UNAUTHENTICATED
    del body["error"]["details"]
    assert gemini.decode_error(400, json.dumps([body]).encode()).kind is Kind.INVALID


def test_the_field_at_fault_is_named() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "contents[0]"}]}
    body = {"error": {"code": 400, "message": "Bad.", "status": "INVALID_ARGUMENT", "details": [detail]}}
    assert gemini.decode_error(400, json.dumps(body).encode()).param == "contents[0]"


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "FAILED_PRECONDITION", Kind.INVALID),
        (403, "PERMISSION_DENIED", Kind.FORBIDDEN),
        (404, "NOT_FOUND", Kind.NOT_FOUND),
        (499, "CANCELLED", Kind.BAD_GATEWAY),
        (500, "INTERNAL", Kind.BAD_GATEWAY),
        (500, "DEADLINE_EXCEEDED", Kind.TIMEOUT),
        (503, "UNAVAILABLE", Kind.UNAVAILABLE),
        (504, "DEADLINE_EXCEEDED", Kind.TIMEOUT),
    ],
)
def test_the_status_names_the_kind(status: int, name: str, kind: Kind) -> None:
    body = json.dumps({"error": {"code": status, "message": "x", "status": name}})
    assert gemini.decode_error(status, body.encode()).kind is kind


@pytest.mark.parametrize(
    "body", [b"", b"<html>502</html>", b"{", b"[]", b"[1]", b'{"error":"text"}', b"\xff\xfe", b"[" * 9999]
)
def test_any_error_body_is_understood(body: bytes) -> None:
    error = gemini.decode_error(502, body)
    assert (error.kind, error.message) == (Kind.BAD_GATEWAY, "The provider answered with status 502.")
    assert json.loads(gemini.encode_error(error, "r"))["error"]["status"] == "INTERNAL"


def test_a_long_message_is_cut() -> None:
    body = json.dumps({"error": {"code": 400, "message": "x" * 999, "status": "INVALID_ARGUMENT"}})
    assert len(gemini.decode_error(400, body.encode()).message) == 500


def test_a_gemini_providers_error_goes_through_unchanged() -> None:
    body = b'{\n "error": {"code": 400, "message": "x", "status": "INVALID_ARGUMENT", "new": 1}}'
    assert gemini.encode_error(gemini.decode_error(400, body), "r") == body


def test_an_error_of_ours_has_googles_shape() -> None:
    error = GatewayError(Kind.RATE_LIMITED, "Slow down.", param="contents", code="session_busy", retry_after=1.5)
    shape = json.loads(gemini.encode_error(error, "req1"))["error"]
    assert (shape["code"], shape["message"], shape["status"]) == (429, "Slow down.", "RESOURCE_EXHAUSTED")
    by_type = {detail["@type"].rpartition(".")[2]: detail for detail in shape["details"]}
    assert by_type["ErrorInfo"]["reason"] == "SESSION_BUSY"
    assert by_type["BadRequest"]["fieldViolations"][0]["field"] == "contents"
    assert by_type["RetryInfo"]["retryDelay"] == "1.5s"
    assert by_type["RequestInfo"]["requestId"] == "req1"
    again = gemini.decode_error(429, json.dumps({"error": shape}).encode())
    assert (again.param, again.retry_after) == ("contents", 1.5)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_status_of_googles(kind: Kind) -> None:
    shape = json.loads(gemini.encode_error(GatewayError(kind, "x"), ""))["error"]
    assert shape["code"] == kind.status
    assert shape["status"].isupper()
    assert shape["details"] == []
