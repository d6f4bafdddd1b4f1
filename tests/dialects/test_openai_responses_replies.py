"""Whole replies and errors of the Responses dialect, read by the vendor's own SDK."""

import json

import httpx2
import pytest
from msgspec import Raw
from openai import OpenAI
from openai.types.responses import Response
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from pydantic import BaseModel, TypeAdapter

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
    unwrap_signature,
    wrap_signature,
)
from gateway.dialects import openai_responses
from gateway.dialects.dialect import Dialect, ReplyHead
from gateway.dialects.openai_responses.names import flat
from gateway.errors import ErrorAnswer, GatewayError, Kind, UpstreamError

dialect: Dialect = openai_responses

HERE = Origin("azure", "gpt-5")
CLAUDE = Origin("claude", "claude-sonnet-4-5")
ITEM = TypeAdapter(ResponseInputItemParam)


def head(**members) -> ReplyHead:
    request = dialect.open_request(json.dumps({"model": "smart", "input": "Hello", **members}).encode())
    return ReplyHead("0f" * 12, 1795000000, request)


def encoded(*parts, members: dict | None = None, **reply) -> Response:
    body = dialect.encode_reply(Reply(parts=parts, **reply), head(**(members or {})))
    return Response.model_validate_json(body)


def answer(*output: dict, **members) -> bytes:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 150,
    }
    whole = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "error": None,
             "incomplete_details": None, "model": "gpt-5-2025-08-07", "output": output, "usage": usage}  # fmt: skip
    return json.dumps(whole | members).encode()


def text(words: str, **members) -> dict:
    content = {"type": "output_text", "annotations": [], "logprobs": [], "text": words}
    return {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "content": [content],
        "role": "assistant",
    } | members


CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "arguments": '{"n":1}',
    "call_id": "c1",
    "name": "f",
}


# ---------------------------------------------------------------- from a provider


def test_a_whole_reply_is_decoded() -> None:
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "First."},
                 {"type": "summary_text", "text": "Then."}], "content": None, "encrypted_content": "gAAA"}  # fmt: skip
    search = {
        "id": "ws_1",
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    }
    reply = dialect.decode_reply(answer(reasoning, search, text("Hello"), CALL), HERE)
    assert (reply.id, reply.model, reply.stop) == ("resp_1", "gpt-5-2025-08-07", Stop.TOOL_CALLS)
    signature = Signature("gAAA", "openai_responses", HERE)
    assert reply.parts == (
        Reasoning("First.\n\nThen.", signature, summary=True, id="rs_1"),
        Opaque("openai_responses", "web_search_call", Raw(json.dumps(search).encode())),
        Text("Hello"),
        ToolCall("c1", "f", '{"n":1}'),
    )
    assert reply.usage == Usage(input=100, output=50, cached=60, cache_write=10, reasoning=20)


def test_what_was_said_is_fit_to_be_sent_back() -> None:
    kept = {"id": "rs_1", "type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAA"}
    lost = {"id": "rs_2", "type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}]}
    said = text("Hello", phase=None, future={"z": 2**60, "a": None})
    reply = dialect.decode_reply(answer(kept, lost, said, CALL | {"namespace": None, "created_by": "x"}), HERE)
    items = [json.loads(item) for item in reply.said]
    content = [{"type": "output_text", "annotations": [], "text": "Hello"}]
    assert items == [
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
        {"id": "msg_1", "type": "message", "status": "completed", "content": content, "role": "assistant",
         "future": {"z": 2**60, "a": None}},
        CALL,
    ]  # fmt: skip
    for item in items:
        ITEM.validate_python(item)
    [message] = dialect.decode_messages(reply.said, HERE)
    assert message.parts == (reply.parts[0], *reply.parts[2:])


@pytest.mark.parametrize(
    ("output", "members", "stop"),
    [
        (text("x"), {}, Stop.END),
        (CALL, {}, Stop.TOOL_CALLS),
        ({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"}, {}, Stop.TOOL_CALLS),
        (text("x", content=[{"type": "refusal", "refusal": "No."}]), {}, Stop.REFUSED),
        (text("x"), {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, Stop.LENGTH),
        (text("x"), {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, Stop.FILTERED),
        (text("x"), {"status": "incomplete", "incomplete_details": None}, Stop.LENGTH),
    ],
)
def test_every_way_to_stop_is_decoded(output: dict, members: dict, stop: Stop) -> None:
    assert dialect.decode_reply(answer(output, **members), HERE).stop is stop


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None}])
def test_usage_without_details_is_decoded(details: dict | None) -> None:
    usage = {"input_tokens": 3, "output_tokens": 4, "input_tokens_details": details}
    assert dialect.decode_reply(answer(text("x"), usage=usage), HERE).usage == Usage(input=3, output=4)
    assert dialect.decode_reply(answer(text("x"), usage=None), HERE).usage is None


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"", Kind.BAD_GATEWAY, "not a response"),
        (b"<html>oops</html>", Kind.BAD_GATEWAY, "not a response"),
        (b"[]", Kind.BAD_GATEWAY, "not a response"),
        (b"{}", Kind.BAD_GATEWAY, "not a finished response"),
        (answer(status="in_progress"), Kind.BAD_GATEWAY, "not a finished response"),
        (answer(text("x"))[:-20], Kind.BAD_GATEWAY, "not a response"),
        (answer({"type": "function_call"}), Kind.BAD_GATEWAY, "not a response"),
        (b'{"error":{"message":"Slow down","code":"rate_limit_exceeded"}}', Kind.RATE_LIMITED, "Slow down"),
        (answer(status="failed", error={"code": "server_error", "message": "Oh"}), Kind.BAD_GATEWAY, "Oh"),
        (answer(status="failed", error={"code": "invalid_prompt", "message": "Oh"}), Kind.INVALID, "Oh"),
        (answer(status="cancelled"), Kind.BAD_GATEWAY, "cancelled"),
    ],
)
def test_an_answer_that_is_no_reply_is_an_error_of_the_provider(body: bytes, kind: Kind, message: str) -> None:
    with pytest.raises(UpstreamError, match=message) as caught:
        dialect.decode_reply(body, HERE)
    assert caught.value.kind is kind


# ---------------------------------------------------------------- to a client


def test_a_whole_reply_is_encoded_as_the_sdk_knows_it() -> None:
    response = encoded(
        Reasoning("Hm.", Signature("gAAA", "openai_responses", HERE), summary=True, id="rs_1"),
        Text("One "),
        Text("two."),
        ToolCall("c1", "f", '{"n":1}'),
        ToolCall("c2", "f", ""),
        model="gpt-5-2025-08-07",
        stop=Stop.TOOL_CALLS,
        usage=Usage(input=100, output=50, cached=60, cache_write=10, reasoning=20),
    )
    assert (response.id, response.model, response.status) == ("resp_" + "0f" * 12, "gpt-5-2025-08-07", "completed")
    assert response.created_at == 1795000000
    reasoning, message, first, second = response.output
    assert (reasoning.id, reasoning.summary[0].text, reasoning.encrypted_content) == ("rs_1", "Hm.", "gAAA")
    assert [part.text for part in message.content] == ["One ", "two."]
    assert (first.call_id, first.name, first.arguments, second.arguments) == ("c1", "f", '{"n":1}', "{}")
    assert response.output_text == "One two."
    assert len({item.id for item in response.output}) == 4
    assert response.usage.input_tokens == 100
    assert response.usage.input_tokens_details.cached_tokens == 60
    assert response.usage.input_tokens_details.cache_write_tokens == 10
    assert response.usage.output_tokens_details.reasoning_tokens == 20
    assert response.usage.total_tokens == 150


def test_the_requests_parameters_are_echoed() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"b": 1, "a": 2}, "strict": True}]
    members = {
        "instructions": "Be brief.", "tools": tools, "tool_choice": "required", "parallel_tool_calls": False,
        "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 99, "metadata": {"a": "b"}, "store": False,
        "previous_response_id": "resp_0", "reasoning": {"effort": "low"}, "text": {"verbosity": "low"},
        "truncation": "auto", "service_tier": "auto", "prompt_cache_key": "k", "safety_identifier": "u",
        "conversation": "conv_1", "user": None,
    }  # fmt: skip
    body = json.loads(dialect.encode_reply(Reply(parts=(Text("x"),)), head(**members)))
    changed = {"text": {"verbosity": "low", "format": {"type": "text"}}, "service_tier": "default",
               "conversation": {"id": "conv_1"}, "tools": [{**tools[0], "description": None}]}  # fmt: skip
    assert {name: body[name] for name in members} == members | changed
    Response.model_validate(body)


def test_a_plain_request_is_echoed_with_the_vendors_defaults() -> None:
    response = encoded(Text("x"))
    assert (response.model, response.tool_choice, response.tools) == ("smart", "auto", [])
    assert (response.parallel_tool_calls, response.temperature, response.truncation) == (True, 1.0, "disabled")
    assert response.text.format.type == "text"
    assert response.error is None
    assert response.usage is None


@pytest.mark.parametrize(
    ("stop", "status", "reason"),
    [
        (Stop.END, "completed", None),
        (Stop.TOOL_CALLS, "completed", None),
        (Stop.STOP_SEQUENCE, "completed", None),
        (Stop.PAUSED, "completed", None),
        (None, "completed", None),
        (Stop.LENGTH, "incomplete", "max_output_tokens"),
        (Stop.CONTEXT, "incomplete", "max_output_tokens"),
        (Stop.FILTERED, "incomplete", "content_filter"),
        (Stop.REFUSED, "incomplete", "content_filter"),
    ],
)
def test_every_way_to_stop_is_encoded(stop: Stop, status: str, reason: str | None) -> None:
    response = encoded(Text("x"), stop=stop)
    assert response.status == status
    assert (response.incomplete_details.reason if response.incomplete_details else None) == reason
    assert response.output[0].status == status


def test_a_refusal_in_words_is_a_completed_reply() -> None:
    response = encoded(Refusal("No."), stop=Stop.REFUSED)
    assert response.status == "completed"
    assert response.output[0].content[0].refusal == "No."


def test_thinking_of_another_vendor_is_shown_and_its_signature_wrapped() -> None:
    signature = Signature("sig", "anthropic", CLAUDE)
    plain = encoded(Reasoning("Hm.", signature), Reasoning("", signature, redacted=True)).output
    assert plain[0].content[0].text == "Hm."
    assert plain[0].encrypted_content == wrap_signature(signature)
    assert plain[1].encrypted_content == wrap_signature(signature) + "#redacted"
    asked = encoded(Reasoning("Hm."), members={"reasoning": {"effort": "low", "summary": "auto"}}).output
    assert asked[0].summary[0].text == "Hm."
    assert asked[0].content is None
    unasked = encoded(Reasoning("Hm."), members={"reasoning": {"effort": "low", "summary": None}}).output
    assert unasked[0].summary == []


def test_what_another_vendor_signed_comes_back_with_the_clients_next_request() -> None:
    thought = Signature("abc", "gemini", Origin("google", "g"))
    parts = (
        Reasoning("Hm.", Signature("sig", "anthropic", CLAUDE), summary=True),
        Text("Yes.", thought),
        ToolCall("c1", "f", "{}", signature=thought),
        ToolCall("c2", "f", "{}"),
    )
    request = head(include=["reasoning.encrypted_content"])
    output = json.loads(dialect.encode_reply(Reply(parts=parts), request))["output"]
    [message] = dialect.decode_messages([json.dumps(item).encode() for item in output])
    assert message.parts[1:] == parts[1:]
    assert message.parts[0].signature == parts[0].signature
    assert message.parts[0].text == "Hm."
    unasked = json.loads(dialect.encode_reply(Reply(parts=parts[1:]), head()))["output"]
    assert [item["type"] for item in unasked] == ["message", "function_call", "reasoning", "function_call"]
    assert unwrap_signature(unasked[2]["encrypted_content"].removesuffix("#previous"), "x") == thought


def test_calls_of_custom_and_namespaced_tools_are_what_the_client_knows() -> None:
    space = {"type": "namespace", "name": "n" * 50, "description": "d", "tools": [
        {"type": "function", "name": "search" * 3, "parameters": {}}]}  # fmt: skip
    members = {"tools": [{"type": "custom", "name": "patch"}, space]}
    calls = (
        ToolCall("c1", "patch", '{"input":"*** Begin"}'),
        ToolCall("c2", "patch", "raw text"),
        ToolCall("c3", "patch", "*** raw", custom=True),
        ToolCall("c4", flat("n" * 50, "search" * 3), "{}"),
        ToolCall("c5", flat("other", "f"), "{}"),
    )
    output = encoded(*calls, members=members).output
    assert [item.type for item in output] == [*["custom_tool_call"] * 3, *["function_call"] * 2]
    assert [item.input for item in output[:3]] == ["*** Begin", "raw text", "*** raw"]
    assert [(item.namespace, item.name) for item in output[3:]] == [("n" * 50, "search" * 3), ("other", "f")]


def test_opaque_items_and_pictures_are_shown_where_the_client_can_read_them() -> None:
    search = Raw(b'{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search","query":"q"}}')
    opaque = Opaque("openai_responses", "web_search_call", search)
    foreign = Opaque("anthropic", "server_tool_use", Raw(b"{}"))
    output = encoded(opaque, foreign, Image(media_type="image/png", data="AA=="), Image(url="https://x/y.png")).output
    assert [item.type for item in output] == ["web_search_call", "image_generation_call"]
    assert output[1].result == "AA=="


def test_a_reply_without_parts_is_still_a_response() -> None:
    assert encoded().output == []


def test_a_decoded_reply_encodes_to_the_same_parts() -> None:
    said = text("Hello", phase="final_answer")
    reply = dialect.decode_reply(answer(said, CALL), HERE)
    back = dialect.decode_reply(dialect.encode_reply(reply, head()), HERE)
    assert (back.parts, back.stop, back.usage) == (reply.parts, reply.stop, reply.usage)
    assert dialect.decode_messages(
        dialect.encode_messages([Message("assistant", reply.parts)], HERE).messages, HERE
    ) == dialect.decode_messages(reply.said, HERE)


def client(body: bytes, status: int = 200) -> OpenAI:
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(status, content=body, headers={"content-type": "application/json"})
    )
    http = httpx2.Client(transport=transport)
    return OpenAI(api_key="k", base_url="http://127.0.0.1/v1", http_client=http, max_retries=0)


class Weather(BaseModel):
    city: str
    degrees: int


def test_the_sdk_parses_structured_output() -> None:
    reply = Reply(parts=(Text('{"city":"Bonn","degrees":7}'),), stop=Stop.END)
    with client(dialect.encode_reply(reply, head())) as sdk:
        response = sdk.responses.parse(model="smart", input="Hello", text_format=Weather)
    assert response.output_parsed == Weather(city="Bonn", degrees=7)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "message"),
    [
        (400, b'{"error":{"message":"Bad","type":"invalid_request_error","param":"input","code":null}}', Kind.INVALID,
         "invalid_request_error", "Bad"),
        (401, b'{"error":{"message":"Key","type":"invalid_request_error","code":"invalid_api_key"}}',
         Kind.UNAUTHENTICATED, "invalid_api_key", "Key"),
        (404, b'{"error":{"message":"No","type":"invalid_request_error","code":"model_not_found"}}', Kind.NOT_FOUND,
         "model_not_found", "No"),
        (400, b'{"error":{"message":"No","code":"model_not_found"}}', Kind.NOT_FOUND, "model_not_found", "No"),
        (429, b'{"error":{"message":"Slow","type":"tokens","code":"rate_limit_exceeded"}}', Kind.RATE_LIMITED,
         "rate_limit_exceeded", "Slow"),
        (429, b'{"error":{"message":"Pay","type":"insufficient_quota","code":"insufficient_quota"}}',
         Kind.PAYMENT_REQUIRED, "insufficient_quota", "Pay"),
        (500, b'{"error":{"message":"Oh","type":"server_error"}}', Kind.BAD_GATEWAY, "server_error", "Oh"),
        (503, b"", Kind.UNAVAILABLE, None, "The provider answered with status 503."),
        (502, b"<html>Bad Gateway</html>", Kind.BAD_GATEWAY, None, "The provider answered with status 502."),
        (400, b'{"error":{"message":"Bad', Kind.INVALID, None, "The provider answered with status 400."),
        (400, b'[{"error":{"message":"Bad","code":400}}]', Kind.INVALID, "400", "Bad"),
        (400, b"[]", Kind.INVALID, None, "The provider answered with status 400."),
        (404, b'{"error":"model not found"}', Kind.NOT_FOUND, None, "model not found"),
        (422, b'{"detail":[{"loc":["body"]}]}', Kind.UNPROCESSABLE, None, '[{"loc":["body"]}]'),
        (400, b'{"message":"\xff"}', Kind.INVALID, None, "The provider answered with status 400."),
    ],
)  # fmt: skip
def test_error_answers_are_understood(status: int, body: bytes, kind: Kind, code: str | None, message: str) -> None:
    error = dialect.decode_error(status, body)
    assert (error.kind, error.code, error.message) == (kind, code, message)
    assert error.answer == ErrorAnswer("openai_responses", status, body)


def test_a_long_error_is_cut() -> None:
    body = json.dumps({"error": {"message": "x" * 1000, "param": "input"}}).encode()
    error = dialect.decode_error(400, body)
    assert len(error.message) == 500
    assert error.param == "input"


def test_an_error_of_the_same_dialect_is_passed_on_as_it_came() -> None:
    body = b'{"error":{"message":"Bad","z":1,"type":"invalid_request_error"} }'
    assert dialect.encode_error(dialect.decode_error(400, body), "r1") == body
    html = json.loads(dialect.encode_error(dialect.decode_error(502, b"<html>"), "r1"))
    assert html["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (Kind.INVALID, "invalid_request_error", None),
        (Kind.NOT_FOUND, "invalid_request_error", None),
        (Kind.UNAUTHENTICATED, "authentication_error", "invalid_api_key"),
        (Kind.FORBIDDEN, "permission_error", None),
        (Kind.RATE_LIMITED, "rate_limit_error", "rate_limit_exceeded"),
        (Kind.PAYMENT_REQUIRED, "insufficient_quota", "insufficient_quota"),
        (Kind.BAD_GATEWAY, "server_error", None),
        (Kind.TIMEOUT, "server_error", None),
    ],
)
def test_errors_have_the_vendors_names(kind: Kind, name: str, code: str | None) -> None:
    error = json.loads(dialect.encode_error(GatewayError(kind, "Why.", param="p"), "r1"))["error"]
    assert error == {"message": "Why.", "type": name, "param": "p", "code": code}


def test_the_sdk_reads_our_errors() -> None:
    body = dialect.encode_error(
        GatewayError(Kind.NOT_FOUND, "No such model.", param="model", code="model_not_found"), "r"
    )
    with client(body, 404) as sdk, pytest.raises(Exception, match=r"No such model\.") as caught:
        sdk.responses.create(model="smart", input="Hello")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
