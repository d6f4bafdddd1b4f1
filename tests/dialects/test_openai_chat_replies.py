"""Whole replies: of Chat providers, and to Chat clients through the official SDK."""

from typing import Any

import httpx2
import msgspec
import openai
import pytest
from msgspec import Raw
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from gateway.conversation import (
    Image,
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
from gateway.dialects import openai_chat as chat
from gateway.dialects.dialect import ReplyHead
from gateway.errors import Kind, UpstreamError

PARAM = TypeAdapter(ChatCompletionMessageParam)
ORIGIN = Origin("main", "gpt-5")

# As in the API reference, with what tools, caching and reasoning add.
OPENAI: dict[str, Any] = {
    "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
    "object": "chat.completion",
    "created": 1741570283,
    "model": "gpt-5-2025-08-07",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "The weather.",
                "refusal": None,
                "annotations": [],
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"zip":1152921504606846977,"a":1}'},
                    },
                    {"id": "call_2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}},
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 1117,
        "completion_tokens": 46,
        "total_tokens": 1163,
        "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 9, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_fc9f1d7035",
}

THOUGHT = {"reasoning_tokens": 7}


def decoded(message: dict[str, Any] | None = None, *, origin: Origin = ORIGIN, **choice: Any) -> Reply:
    whole = {"index": 0, "message": {"role": "assistant", **(message or {})}, "finish_reason": "stop", **choice}
    return chat.decode_reply(msgspec.json.encode({"id": "gen-1", "model": "m", "choices": [whole]}), origin)


def said(reply: Reply) -> dict[str, Any]:
    return msgspec.json.decode(reply.said[0])


# ---------------------------------------------------------------- of a provider


def test_a_reply_of_openai_is_read() -> None:
    reply = chat.decode_reply(msgspec.json.encode(OPENAI), ORIGIN)
    assert reply.parts == (
        Text("The weather."),
        ToolCall(id="call_1", name="get_weather", arguments='{"zip":1152921504606846977,"a":1}'),
        ToolCall(id="call_2", name="patch", arguments="*** Begin", custom=True),
    )
    assert (reply.id, reply.model) == (OPENAI["id"], "gpt-5-2025-08-07")
    assert reply.stop is Stop.TOOL_CALLS
    assert reply.usage == Usage(input=1117, output=46, cached=1024, cache_write=9, reasoning=20)


def test_what_was_said_is_fit_to_be_sent_back() -> None:
    message = said(chat.decode_reply(msgspec.json.encode(OPENAI), ORIGIN))
    PARAM.validate_python(message)
    assert message.keys() == {"role", "content", "tool_calls"}
    assert message["tool_calls"] == OPENAI["choices"][0]["message"]["tool_calls"]


def test_unknown_members_of_what_was_said_are_kept_and_null_ones_removed() -> None:
    reply = decoded({"content": "Hi", "x": {"b": 1152921504606846977, "a": 1}, "y": None, "annotations": []})
    assert reply.said == (b'{"role":"assistant","content":"Hi","x":{"b":1152921504606846977,"a":1}}',)


def test_choice_0_is_the_reply_in_whatever_order_choices_come() -> None:
    choices = [{"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (1, 0)]
    assert chat.decode_reply(msgspec.json.encode({"choices": choices}), ORIGIN).parts == (Text("0"),)


def test_a_call_without_an_id_gets_one_that_its_said_message_has_too() -> None:
    calls = [{"type": "function", "function": {"name": "f", "arguments": "{}"}, "id": ""} for _ in range(2)]
    reply = decoded({"content": None, "tool_calls": calls})
    ids = [part.id for part in reply.parts if isinstance(part, ToolCall)]
    assert ids == ["call_gen-1_0", "call_gen-1_1"]
    assert [call["id"] for call in said(reply)["tool_calls"]] == ids
    assert said(reply)["content"] is None


def test_deepseeks_thinking_is_read_and_goes_back_in_its_member() -> None:
    reply = decoded({"content": "Hi", "reasoning_content": "hm"})
    assert reply.parts == (Reasoning("hm", signature=Signature("reasoning_content", "openai_chat", ORIGIN)), Text("Hi"))
    assert said(reply) == {"role": "assistant", "content": "Hi", "reasoning_content": "hm"}


def test_mistrals_thinking_items_are_read() -> None:
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]
    assert decoded({"content": content}).parts == (Reasoning("hm"), Text("Hi"))


def test_a_refusal_is_read() -> None:
    reply = decoded({"content": None, "refusal": "No."})
    assert (reply.parts, reply.stop) == ((Refusal("No."),), Stop.REFUSED)
    PARAM.validate_python(said(reply))


def test_spoken_audio_is_kept_by_its_id() -> None:
    reply = decoded({"content": None, "audio": {"id": "audio_1", "data": "AAAA", "transcript": "Hi", "expires_at": 1}})
    assert reply.parts == (Opaque(dialect="openai_chat", kind="audio", raw=Raw(b'{"id":"audio_1"}')),)
    assert said(reply) == {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}


def test_a_generated_image_is_read() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert decoded({"content": "Here", "images": [image]}).parts == (
        Text("Here"),
        Image(media_type="image/png", data="AAAA"),
    )


@pytest.mark.parametrize(
    ("choice", "stop", "sequence"),
    [
        ({"finish_reason": "stop"}, Stop.END, ""),
        ({"finish_reason": "length"}, Stop.LENGTH, ""),
        ({"finish_reason": "content_filter"}, Stop.FILTERED, ""),
        ({"finish_reason": "model_length"}, Stop.CONTEXT, ""),
        ({"finish_reason": "stop", "stop_reason": "END"}, Stop.STOP_SEQUENCE, "END"),
        ({"finish_reason": "stop", "stop_reason": 128009}, Stop.END, ""),
        ({"finish_reason": None}, Stop.END, ""),
        ({"finish_reason": "eos"}, Stop.END, ""),
    ],
)
def test_each_reason_to_stop_is_read(choice: dict[str, Any], stop: Stop, sequence: str) -> None:
    reply = decoded({"content": "Hi"}, **choice)
    assert (reply.stop, reply.stop_sequence) == (stop, sequence)


@pytest.mark.parametrize("reason", ["stop", "tool_calls", None])
def test_a_reply_that_calls_tools_has_stopped_for_them(reason: str | None) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert decoded({"tool_calls": [call]}, finish_reason=reason).stop is Stop.TOOL_CALLS


def test_a_legacy_function_call_is_read() -> None:
    reply = decoded({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, finish_reason="function_call")
    assert reply.parts == (ToolCall(id="call_f", name="f", arguments="{}"),)
    assert reply.stop is Stop.TOOL_CALLS


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, Usage(3, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}, Usage(9, 2, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4}, Usage(9, 2, 4)),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 18, "completion_tokens_details": THOUGHT},
            Usage(9, 9, reasoning=7),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18, "completion_tokens_details": THOUGHT},
            Usage(9, 9, reasoning=7),
        ),
        ({"prompt_tokens": None, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(0, 2)),
    ],
)
def test_token_counts_are_normalised(usage: dict[str, Any], expected: Usage) -> None:
    body = {"choices": [{"message": {"content": "Hi"}}], "usage": usage}
    assert chat.decode_reply(msgspec.json.encode(body), ORIGIN).usage == expected


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", Kind.BAD_GATEWAY),
        (b"<html>", Kind.BAD_GATEWAY),
        (b'{"choices":[', Kind.BAD_GATEWAY),
        (b"[]", Kind.BAD_GATEWAY),
        (b"[" * 100_000, Kind.BAD_GATEWAY),
        (b"{}", Kind.BAD_GATEWAY),
        (b'{"choices":[]}', Kind.BAD_GATEWAY),
        (b'{"choices":[{"message":"text"}]}', Kind.BAD_GATEWAY),
        (b'{"choices":[{"message":{"content":7}}]}', Kind.BAD_GATEWAY),
        (b'{"choices":[{"message":{"tool_calls":[{"id":"a"}]}}]}', Kind.BAD_GATEWAY),
        (b'{"error":{"message":"slow down","code":429}}', Kind.RATE_LIMITED),
        (b'{"error":{"message":"x","type":"server_error"}}', Kind.BAD_GATEWAY),
        (b'{"choices":[{"message":{"content":"x"},"error":{"code":502,"message":"y"}}]}', Kind.BAD_GATEWAY),
        (b'{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}', Kind.UNAVAILABLE),
        (
            b'{"choices":[{"message":{"content":"x"},"finish_reason":"insufficient_system_resource"}]}',
            Kind.UNAVAILABLE,
        ),
    ],
)
def test_a_body_that_is_no_reply_is_the_providers_failure(body: bytes, kind: Kind) -> None:
    with pytest.raises(UpstreamError) as caught:
        chat.decode_reply(body, ORIGIN)
    assert caught.value.kind is kind


# ---------------------------------------------------------------- to a client


def answered(reply: Reply, **members: Any) -> Any:
    """What the official SDK's client makes of our answer."""
    request = chat.open_request(
        msgspec.json.encode({"model": "smart", "messages": [{"role": "user", "content": "x"}], **members})
    )
    body = chat.encode_reply(reply, ReplyHead("0af3", 1700000000, request))
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, content=body, headers={"content-type": "application/json"})
    )
    with (
        httpx2.Client(transport=transport) as http,
        openai.OpenAI(
            api_key="x",
            base_url="http://gateway.test/v1",
            http_client=http,
            max_retries=0,
            _strict_response_validation=True,
        ) as client,
    ):
        return client.chat.completions.create(model="smart", messages=[{"role": "user", "content": "x"}])


FULL = Reply(
    model="claude-sonnet",
    parts=(
        Reasoning("hm", signature=Signature("c2ln", "anthropic", Origin("claude", "sonnet"))),
        Text("Let me "),
        Text("look."),
        ToolCall(id="toolu_1", name="f", arguments='{"n":1152921504606846977}'),
        ToolCall(id="toolu_2", name="g", arguments=""),
    ),
    stop=Stop.TOOL_CALLS,
    usage=Usage(input=10, output=5, cached=4, cache_write=2, reasoning=3),
)


def test_the_sdk_reads_a_reply_of_any_provider() -> None:
    completion = answered(FULL)
    assert (completion.id, completion.created, completion.model) == ("chatcmpl-0af3", 1700000000, "claude-sonnet")
    message = completion.choices[0].message
    assert message.content == "Let me look."
    assert [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls] == [
        ("toolu_1", "f", '{"n":1152921504606846977}'),
        ("toolu_2", "g", "{}"),
    ]
    assert completion.choices[0].finish_reason == "tool_calls"
    assert completion.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert message.reasoning_content == "hm"
    assert message.reasoning_details == [
        {
            "type": "reasoning.text",
            "text": "hm",
            "signature": wrap_signature(FULL.parts[0].signature),  # type: ignore[union-attr,arg-type]
            "index": 0,
        }
    ]


def test_a_reply_without_a_models_name_has_the_one_that_was_asked_for() -> None:
    completion = answered(Reply(parts=(Text("Hi"),)))
    assert (completion.model, completion.usage, completion.choices[0].finish_reason) == ("smart", None, "stop")


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (Stop.END, "stop"),
        (Stop.LENGTH, "length"),
        (Stop.TOOL_CALLS, "tool_calls"),
        (Stop.STOP_SEQUENCE, "stop"),
        (Stop.FILTERED, "content_filter"),
        (Stop.REFUSED, "content_filter"),
        (Stop.PAUSED, "stop"),
        (Stop.CONTEXT, "length"),
    ],
)
def test_each_reason_to_stop_is_told(stop: Stop, reason: str) -> None:
    assert answered(Reply(parts=(Text("x"),), stop=stop)).choices[0].finish_reason == reason


def test_a_refusal_in_words_is_told_as_one() -> None:
    choice = answered(Reply(parts=(Refusal("No."),), stop=Stop.REFUSED)).choices[0]
    assert (choice.message.refusal, choice.message.content, choice.finish_reason) == ("No.", None, "stop")


def test_a_custom_call_is_told_as_one() -> None:
    call = (
        answered(Reply(parts=(ToolCall(id="a", name="p", arguments="raw", custom=True),)))
        .choices[0]
        .message.tool_calls[0]
    )
    assert (call.type, call.custom.name, call.custom.input) == ("custom", "p", "raw")


def test_a_legacy_client_is_answered_with_a_function_call() -> None:
    choice = answered(FULL, functions=[{"name": "f"}]).choices[0]
    assert choice.message.function_call.name == "f"
    assert (choice.message.tool_calls, choice.finish_reason) == (None, "function_call")


def test_a_generated_image_is_shown() -> None:
    message = answered(Reply(parts=(Image(media_type="image/png", data="AAAA"),))).choices[0].message
    assert message.images == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}]


def test_a_reply_of_this_dialect_is_told_as_it_was_said() -> None:
    details = [{"type": "reasoning.text", "signature": "s", "index": 0, "text": "hm"}]
    reply = decoded({"content": "Hi", "reasoning": "hm", "reasoning_details": details})
    assert answered(reply).choices[0].message.reasoning_details == details
