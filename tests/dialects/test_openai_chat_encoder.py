"""Streamed replies for Chat clients, read by the official SDK and its accumulators."""

from typing import Any

import httpx2
import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.conversation import (
    Begin,
    Delta,
    End,
    Event,
    Failed,
    Image,
    Opaque,
    Origin,
    PartBegin,
    PartEnd,
    Reasoning,
    Refusal,
    Reply,
    Signature,
    Signed,
    Spent,
    Stop,
    Stopped,
    Text,
    ToolCall,
    Usage,
    events_of,
)
from gateway.dialects import openai_chat as chat
from gateway.dialects.dialect import ReplyHead
from gateway.errors import GatewayError, Kind, UpstreamError

HELLO = [{"role": "user", "content": "x"}]
CLAUDE = Signature("c2ln", "anthropic", Origin("claude", "sonnet"))
GEMINI = Signature("c2ln", "gemini", Origin("google", "gemini-3"))
FULL = Reply(
    id="msg_1",
    model="claude-sonnet",
    parts=(
        Reasoning("hm, so", signature=CLAUDE),
        Reasoning("", signature=CLAUDE, redacted=True),
        Text("Let me look.", signature=GEMINI),
        ToolCall(id="toolu_1", name="f", arguments='{"n":1152921504606846977}', signature=GEMINI),
        ToolCall(id="toolu_2", name="g", arguments=""),
    ),
    stop=Stop.TOOL_CALLS,
    usage=Usage(input=10, output=5, cached=4, cache_write=2, reasoning=3),
)


def head(**members: Any) -> ReplyHead:
    body = msgspec.json.encode({"model": "smart", "messages": HELLO, "stream": True, **members})
    return ReplyHead("0af3", 1700000000, chat.open_request(body))


def encoded(events: list[Event], **members: Any) -> bytes:
    encoder = chat.reply_encoder(head(**members))
    return b"".join(encoder.encode(event) for event in events)


def client_of(stream: bytes) -> openai.OpenAI:
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, content=stream, headers={"content-type": "text/event-stream"})
    )
    return openai.OpenAI(
        api_key="x",
        base_url="http://gateway.test/v1",
        http_client=httpx2.Client(transport=transport),
        max_retries=0,
        _strict_response_validation=True,
    )


def accumulated(stream: bytes, **members: Any) -> ChatCompletion:
    """What the SDK's own helper makes of a stream."""
    with (
        client_of(stream) as client,
        client.chat.completions.stream(model="smart", messages=HELLO, **members) as events,  # type: ignore[arg-type]
    ):
        for _ in events:
            pass
        return events.get_final_completion()


def chunks(stream: bytes) -> list[dict[str, Any]]:
    lines = stream.split(b"\n\n")
    assert lines[-2:] == [b"data: [DONE]", b""]
    return [msgspec.json.decode(line.removeprefix(b"data: ")) for line in lines[:-2]]


def deltas(stream: bytes) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(stream) if chunk["choices"]]


def test_every_chunk_is_one_that_the_sdk_knows() -> None:
    for chunk in chunks(encoded(events_of(FULL), stream_options={"include_usage": True})):
        ChatCompletionChunk.model_validate(chunk)
        assert (chunk["id"], chunk["created"], chunk["model"]) == ("chatcmpl-0af3", 1700000000, "claude-sonnet")


def test_the_sdks_helper_puts_the_reply_together() -> None:
    completion = accumulated(encoded(events_of(FULL), stream_options={"include_usage": True}))
    message = completion.choices[0].message
    assert message.content == "Let me look."
    assert [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or []] == [
        ("toolu_1", "f", '{"n":1152921504606846977}'),
        ("toolu_2", "g", "{}"),
    ]
    assert completion.choices[0].finish_reason == "tool_calls"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 15


def test_the_helper_and_a_whole_reply_agree() -> None:
    whole = msgspec.json.decode(chat.encode_reply(FULL, head()))["choices"][0]["message"]
    streamed = accumulated(encoded(events_of(FULL))).choices[0].message.to_dict()
    for call in streamed["tool_calls"]:  # type: ignore[union-attr,attr-defined]
        call.pop("index")
        call["function"].pop("parsed_arguments", None)
    streamed.pop("parsed", None)
    assert {name: value for name, value in streamed.items() if value is not None} == {
        name: value for name, value in whole.items() if value is not None
    }


def test_a_message_that_was_put_together_and_sent_back_has_all_its_signatures() -> None:
    message = accumulated(encoded(events_of(FULL))).choices[0].message.to_dict()
    (back,) = chat.decode_messages([msgspec.json.encode(message)])
    assert back.parts == (*FULL.parts[:-1], ToolCall(id="toolu_2", name="g", arguments="{}"))


def test_structured_output_is_parsed_by_the_helper() -> None:
    reply = Reply(parts=(Text('{"answer": 42}'),), stop=Stop.END)
    events = events_of(reply)
    assert accumulated(encoded(events), response_format={"type": "json_object"}).choices[0].message.content == (
        '{"answer": 42}'
    )


def test_arguments_in_many_pieces_are_put_together() -> None:
    call = ToolCall(id="a", name="f", arguments="")
    pieces: list[Event] = [Delta(0, text) for text in ('{"a"', ":1", "}")]
    stream = encoded([Begin(), PartBegin(0, call), *pieces, PartEnd(0), Stopped(Stop.TOOL_CALLS), End()])
    first, *more = [delta["tool_calls"][0] for delta in deltas(stream) if "tool_calls" in delta]
    assert first == {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert [piece["function"]["arguments"] for piece in more] == ['{"a"', ":1", "}"]
    calls = accumulated(stream).choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == '{"a":1}'


def test_parts_that_are_complete_when_they_begin_are_told_whole() -> None:
    parts = (Text("a"), Reasoning("b", signature=CLAUDE), Refusal("c"), ToolCall(id="a", name="f", arguments='{"x":1}'))
    events: list[Event] = [Begin()]
    for i, part in enumerate(parts):
        events += [PartBegin(i, part), PartEnd(i)]
    message = accumulated(encoded([*events, Stopped(Stop.END), End()])).choices[0].message
    assert (message.content, message.refusal) == ("a", "c")
    assert message.reasoning_content == "b"  # type: ignore[attr-defined]
    assert message.reasoning_details[0]["text"] == "b"  # type: ignore[attr-defined]
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.arguments == '{"x":1}'


def test_the_first_chunk_has_the_role() -> None:
    assert deltas(encoded(events_of(FULL)))[0]["role"] == "assistant"


def test_counts_are_sent_only_to_a_client_that_asked() -> None:
    silent = chunks(encoded(events_of(FULL)))
    assert all(chunk["choices"] and "usage" not in chunk for chunk in silent)
    *others, last = chunks(encoded(events_of(FULL), stream_options={"include_usage": True}))
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in others)
    assert (last["choices"], last["usage"]["prompt_tokens"]) == ([], 10)


def test_counts_that_are_not_known_are_not_made_up() -> None:
    events = events_of(Reply(parts=(Text("x"),), stop=Stop.END))
    assert all(chunk["choices"] for chunk in chunks(encoded(events, stream_options={"include_usage": True})))


def test_the_last_counts_are_the_ones_that_are_sent() -> None:
    events: list[Event] = [Begin("", "", Usage(5, 1)), Stopped(Stop.END), Spent(Usage(5, 2)), End()]
    assert chunks(encoded(events, stream_options={"include_usage": True}))[-1]["usage"]["total_tokens"] == 7


@pytest.mark.parametrize("stop", list(Stop))
def test_a_reason_to_stop_is_told_as_in_a_whole_reply(stop: Stop) -> None:
    reply = Reply(parts=(Text("x"),), stop=stop)
    whole = msgspec.json.decode(chat.encode_reply(reply, head()))["choices"][0]["finish_reason"]
    assert chunks(encoded(events_of(reply)))[-1]["choices"][0]["finish_reason"] == whole


def test_a_refusal_in_words_ends_as_a_message_does() -> None:
    message = accumulated(encoded(events_of(Reply(parts=(Refusal("No."),), stop=Stop.REFUSED)))).choices[0]
    assert (message.message.refusal, message.finish_reason) == ("No.", "stop")


def test_a_custom_call_is_told_as_one() -> None:
    reply = Reply(parts=(ToolCall(id="a", name="p", arguments="raw", custom=True),), stop=Stop.TOOL_CALLS)
    pieces = [delta["tool_calls"][0] for delta in deltas(encoded(events_of(reply))) if "tool_calls" in delta]
    assert pieces == [
        {"index": 0, "id": "a", "type": "custom", "custom": {"name": "p", "input": ""}},
        {"index": 0, "custom": {"input": "raw"}},
    ]


def test_a_legacy_client_is_answered_with_a_function_call() -> None:
    completion = accumulated(encoded(events_of(FULL), functions=[{"name": "f"}]))
    call = completion.choices[0].message.function_call
    assert call is not None
    assert (call.name, call.arguments) == ("f", '{"n":1152921504606846977}')
    assert completion.choices[0].message.tool_calls is None
    assert completion.choices[0].finish_reason == "function_call"


def test_a_generated_image_is_shown_and_what_chat_cannot_say_is_left_out() -> None:
    opaque = Opaque(dialect="gemini", kind="executable_code", raw=msgspec.Raw(b"{}"))
    stream = encoded(events_of(Reply(parts=(opaque, Image(media_type="image/png", data="AAAA")), stop=Stop.END)))
    assert deltas(stream)[1:-1] == [
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}]}
    ]


def test_a_call_that_is_signed_late_keeps_its_signature() -> None:
    call = ToolCall(id="a", name="f", arguments="{}")
    stream = encoded([Begin(), PartBegin(0, call), Signed(0, GEMINI), PartEnd(0), Stopped(Stop.TOOL_CALLS), End()])
    message = accumulated(stream).choices[0].message.to_dict()
    (back,) = chat.decode_messages([msgspec.json.encode(message)])
    assert back.parts == (ToolCall(id="a", name="f", arguments="{}", signature=GEMINI),)


@pytest.mark.parametrize("failed", [True, False])
def test_an_error_ends_the_stream_in_a_way_that_the_sdk_raises(failed: bool) -> None:  # noqa: FBT001 - a parameter
    encoder = chat.reply_encoder(head())
    error = UpstreamError(Kind.UNAVAILABLE, "Busy", code="overloaded")
    stream = encoder.encode(Begin()) + (encoder.encode(Failed(error)) if failed else encoder.error(error))
    assert encoder.encode(End()) == b""
    with client_of(stream) as client, pytest.raises(openai.APIError, match="Busy") as caught:
        list(client.chat.completions.create(model="m", messages=HELLO, stream=True))  # type: ignore[call-overload]
    assert caught.value.code == "overloaded"


def test_a_providers_error_that_is_written_on_several_lines_becomes_one_event() -> None:
    error = chat.decode_error(429, b'{\n  "error": {\r\n    "message": "Slow\\ndown"\n  }\n}\n')
    assert chat.reply_encoder(head()).error(error) == b'data: {"error":{"message":"Slow\\ndown"}}\n\n'


def test_an_error_of_our_own_has_the_same_shape() -> None:
    stream = chat.reply_encoder(head()).error(GatewayError(Kind.TIMEOUT, "Too slow."))
    assert msgspec.json.decode(stream.removeprefix(b"data: "))["error"]["type"] == "server_error"
    assert stream.endswith(b"\n\n")


def test_a_text_that_looks_like_our_own_marks_is_told_as_it_is() -> None:
    text = "\0delta\0 data: [DONE]\n\n"
    reply = Reply(model=text, parts=(Text(text),), stop=Stop.END)
    assert accumulated(encoded(events_of(reply))).choices[0].message.content == text
