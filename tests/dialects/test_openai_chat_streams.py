"""Streamed replies of Chat providers: whole, and split at every byte."""

from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletionChunk

from gateway.conversation import (
    Begin,
    Delta,
    End,
    Failed,
    Image,
    Message,
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
)
from gateway.dialects import openai_chat as chat
from gateway.errors import Kind, UpstreamError
from tests.dialects import streams
from tests.dialects.streams import Streams

ORIGIN = Origin("main", "gpt-5")
DONE = b"data: [DONE]\n\n"


def event(**members: Any) -> bytes:
    body = {"id": "chatcmpl-123", "object": "chat.completion.chunk", "created": 1694268190, "model": "gpt-5"}
    return b"data: " + msgspec.json.encode(body | members) + b"\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **choice: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish, **choice}])


def call(index: int, **members: Any) -> bytes:
    return chunk({"tool_calls": [{"index": index, **members}]})


def counts(prompt: int, completion: int) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return event(choices=[], usage=usage)


MAIN = Streams(chat, ORIGIN)
decoded = MAIN.decoded


def built(stream: bytes) -> Reply:
    events = decoded(stream)
    assert events[-1] == End()
    return streams.built(events)


def signed(value: str) -> Signature:
    return Signature(value, "openai_chat", ORIGIN)


PLAIN = (
    chunk({"role": "assistant", "content": "", "refusal": None})
    + chunk({"content": "Hel"})
    + chunk({"content": "lo é€😀"})
    + chunk(finish="stop")
    + counts(9, 3)
    + DONE
)
TOOLS = (
    chunk({"role": "assistant", "content": None})
    + chunk({"content": "Look"})
    + call(0, id="call_a", type="function", function={"name": "f", "arguments": ""})
    + call(0, function={"arguments": '{"n":1152'})
    + call(0, function={"arguments": "921504606846977}"})
    + call(1, id="call_b", type="function", function={"name": "g", "arguments": "{}"})
    + chunk(finish="tool_calls")
    + counts(20, 10)
    + DONE
)
DEEPSEEK = (
    chunk({"role": "assistant", "content": None, "reasoning_content": ""})
    + chunk({"content": None, "reasoning_content": "Hm"})
    + chunk({"content": None, "reasoning_content": ", so"})
    + chunk({"content": "Hi", "reasoning_content": None})
    + event(
        choices=[{"index": 0, "delta": {"content": "", "reasoning_content": None}, "finish_reason": "stop"}],
        usage={
            "prompt_tokens": 9,
            "completion_tokens": 7,
            "total_tokens": 16,
            "prompt_cache_hit_tokens": 8,
            "prompt_cache_miss_tokens": 1,
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
    )
    + DONE
)


def detail(text: str | None = None, **members: Any) -> bytes:
    item = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, **members}
    shown = {} if text is None else {"text": text}
    return chunk({"content": "", "reasoning": text, "reasoning_details": [item | shown]})


OPENROUTER = (
    b": OPENROUTER PROCESSING\n\n"
    + detail("Hm")
    + detail(", so")
    + detail(signature="c2ln")
    + detail(type="reasoning.encrypted", index=1, data="abc")
    + chunk({"role": "assistant", "content": "Hi"})
    + call(0, id="toolu_1", type="function", function={"name": "f", "arguments": "{}"})
    + chunk({"content": ""}, "tool_calls", native_finish_reason="tool_use")
    + counts(9, 7)
    + DONE
)
STREAMS = {"plain": PLAIN, "tools": TOOLS, "deepseek": DEEPSEEK, "openrouter": OPENROUTER}


def test_a_stream_of_text_is_read() -> None:
    assert decoded(PLAIN) == [
        Begin("chatcmpl-123", "gpt-5"),
        PartBegin(0, Text("")),
        Delta(0, "Hel"),
        Delta(0, "lo é€😀"),
        PartEnd(0),
        Stopped(Stop.END),
        Spent(Usage(9, 3)),
        End(),
    ]


def test_a_stream_with_text_and_two_parallel_calls_is_read() -> None:
    assert decoded(TOOLS) == [
        Begin("chatcmpl-123", "gpt-5"),
        PartBegin(0, Text("")),
        Delta(0, "Look"),
        PartEnd(0),
        PartBegin(1, ToolCall(id="call_a", name="f", arguments="")),
        Delta(1, '{"n":1152'),
        Delta(1, "921504606846977}"),
        PartEnd(1),
        PartBegin(2, ToolCall(id="call_b", name="g", arguments="")),
        Delta(2, "{}"),
        PartEnd(2),
        Stopped(Stop.TOOL_CALLS),
        Spent(Usage(20, 10)),
        End(),
    ]


def test_deepseeks_thinking_is_read_and_marked_with_the_member_it_came_in() -> None:
    assert decoded(DEEPSEEK)[1:] == [
        PartBegin(0, Reasoning()),
        Delta(0, "Hm"),
        Delta(0, ", so"),
        Signed(0, signed("reasoning_content")),
        PartEnd(0),
        PartBegin(1, Text("")),
        Delta(1, "Hi"),
        PartEnd(1),
        Stopped(Stop.END),
        Spent(Usage(9, 7, 8, 0, 5)),
        End(),
    ]


def test_openrouters_details_are_read_once_though_the_text_comes_twice() -> None:
    first, second, *rest = built(OPENROUTER).parts
    assert isinstance(first, Reasoning)
    assert isinstance(second, Reasoning)
    assert (first.text, second.text, second.redacted) == ("Hm, so", "", True)
    assert rest == [Text("Hi"), ToolCall(id="toolu_1", name="f", arguments="{}")]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_split_at_every_byte_gives_the_same_events(name: str) -> None:
    MAIN.must_not_depend_on_the_split(STREAMS[name])


@pytest.mark.parametrize("name", STREAMS)
def test_carriage_returns_change_nothing(name: str) -> None:
    assert MAIN.in_pieces(STREAMS[name].replace(b"\n", b"\r\n"), 7) == decoded(STREAMS[name])


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (TOOLS, None),
        (DEEPSEEK, {"role": "assistant", "content": "Hi", "reasoning_content": "Hm, so"}),
        (
            OPENROUTER,
            {
                "role": "assistant",
                "content": "Hi",
                "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                        "signature": "c2ln",
                        "text": "Hm, so",
                    },
                    {"type": "reasoning.encrypted", "format": "anthropic-claude-v1", "index": 1, "data": "abc"},
                ],
            },
        ),
    ],
)
def test_what_was_streamed_can_be_sent_back_to_its_maker(stream: bytes, message: dict[str, Any] | None) -> None:
    parts = built(stream).parts
    said = chat.encode_messages([Message("assistant", parts)], ORIGIN)
    assert said.dropped == ()
    assert chat.decode_messages(said.messages, ORIGIN)[0].parts == parts
    if message is not None:
        assert [msgspec.json.decode(raw) for raw in said.messages] == [message]


@pytest.mark.parametrize("stream", [PLAIN, TOOLS])
def test_the_streams_of_this_test_are_ones_that_the_sdk_knows(stream: bytes) -> None:
    for line in stream.split(b"\n\n")[:-2]:
        ChatCompletionChunk.model_validate_json(line[6:], strict=True)


# ---------------------------------------------------------------- ways in which servers differ


def test_arguments_in_one_piece_become_one_delta() -> None:
    stream = (
        call(0, id="a", type="function", function={"name": "f", "arguments": '{"x":1}'}) + chunk(finish="stop") + DONE
    )
    assert built(stream).parts == (ToolCall(id="a", name="f", arguments='{"x":1}'),)
    assert built(stream).stop is Stop.TOOL_CALLS


def test_text_and_a_call_in_one_chunk_are_both_kept() -> None:
    both = {"content": "Look", "tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}
    stream = chunk(both, "tool_calls") + DONE
    assert built(stream).parts == (Text("Look"), ToolCall(id="a", name="f", arguments="{}"))


def test_calls_that_are_all_numbered_0_are_told_apart_by_their_ids() -> None:
    stream = b"".join(call(0, id=name, function={"name": name, "arguments": "{}"}) for name in "ab")
    assert [part.id for part in built(stream + chunk(finish="stop") + DONE).parts if isinstance(part, ToolCall)] == [
        "a",
        "b",
    ]


def test_calls_without_numbers_and_ids_get_ids_of_their_own() -> None:
    pieces = [
        {"function": {"name": "f", "arguments": '{"x"'}},
        {"function": {"arguments": ":1}"}},
        {"function": {"name": "g", "arguments": "{}"}},
    ]
    stream = b"".join(chunk({"tool_calls": [piece]}) for piece in pieces) + chunk(finish="stop") + DONE
    assert built(stream).parts == (
        ToolCall(id="call_chatcmpl-123_0", name="f", arguments='{"x":1}'),
        ToolCall(id="call_chatcmpl-123_1", name="g", arguments="{}"),
    )


def test_an_id_and_a_name_that_are_repeated_are_the_same_call() -> None:
    pieces = [call(0, id="a", function={"name": "f", "arguments": text}) for text in ("{", "}")]
    assert built(b"".join(pieces) + chunk(finish="stop") + DONE).parts == (ToolCall(id="a", name="f", arguments="{}"),)


def test_a_call_whose_name_comes_late_begins_when_it_is_known() -> None:
    stream = call(0, id="a") + call(0, function={"arguments": "{"}) + call(0, function={"name": "f", "arguments": "}"})
    assert built(stream + chunk(finish="stop") + DONE).parts == (ToolCall(id="a", name="f", arguments="{}"),)


def test_pieces_of_interleaved_calls_reach_their_own_call() -> None:
    stream = (
        call(0, id="a", function={"name": "f", "arguments": "{"})
        + call(1, id="b", function={"name": "g", "arguments": "["})
        + call(0, function={"arguments": "}"})
        + call(1, function={"arguments": "]"})
        + chunk(finish="tool_calls")
        + DONE
    )
    assert [part.arguments for part in built(stream).parts if isinstance(part, ToolCall)] == ["{}", "[]"]


def test_a_custom_call_is_read() -> None:
    stream = (
        call(0, id="a", type="custom", custom={"name": "p", "input": ""})
        + call(0, custom={"input": "raw"})
        + chunk(finish="tool_calls")
        + DONE
    )
    assert built(stream).parts == (ToolCall(id="a", name="p", arguments="raw", custom=True),)


def test_a_legacy_function_call_is_read() -> None:
    stream = (
        chunk({"function_call": {"name": "f", "arguments": ""}})
        + chunk({"function_call": {"arguments": "{}"}})
        + chunk(finish="function_call")
        + DONE
    )
    reply = built(stream)
    assert reply.stop is Stop.TOOL_CALLS
    assert [(part.name, part.arguments) for part in reply.parts if isinstance(part, ToolCall)] == [("f", "{}")]


def test_a_thought_signature_of_a_call_is_read() -> None:
    extra = {"google": {"thought_signature": "c2ln"}}
    stream = (
        call(0, id="a", function={"name": "f", "arguments": "{}"}, extra_content=extra) + chunk(finish="stop") + DONE
    )
    assert built(stream).parts == (ToolCall(id="a", name="f", arguments="{}", signature=signed("c2ln")),)


def test_a_thought_signature_of_text_is_read() -> None:
    stream = chunk({"content": "Hi"}) + chunk({"extra_content": {"google": {"thought_signature": "c2ln"}}})
    assert built(stream + chunk(finish="stop") + DONE).parts == (Text("Hi", signature=signed("c2ln")),)


def test_a_refusal_is_read() -> None:
    reply = built(chunk({"refusal": "No"}) + chunk({"refusal": "."}) + chunk(finish="stop") + DONE)
    assert (reply.parts, reply.stop) == ((Refusal("No."),), Stop.REFUSED)


def test_thinking_that_returns_after_text_is_a_part_of_its_own() -> None:
    stream = (
        chunk({"reasoning": "a"}) + chunk({"content": "b"}) + chunk({"reasoning": "c"}) + chunk(finish="stop") + DONE
    )
    assert [(type(part), part.text) for part in built(stream).parts if isinstance(part, Text | Reasoning)] == [
        (Reasoning, "a"),
        (Text, "b"),
        (Reasoning, "c"),
    ]


def test_thinking_whose_signed_whole_comes_after_its_pieces_is_not_doubled() -> None:
    whole = {"type": "reasoning.text", "text": "Hm, so", "signature": "c2ln", "index": 0}
    stream = (
        chunk({"reasoning_content": "Hm"})
        + chunk({"reasoning_content": ", so"})
        + chunk({"reasoning_details": [whole]})
        + chunk({"content": "Hi"})
        + chunk(finish="stop")
        + DONE
    )
    first, second = built(stream).parts
    assert isinstance(first, Reasoning)
    assert first.text == "Hm, so"
    assert first.signature is not None
    assert msgspec.json.decode(first.signature.value)["signature"] == "c2ln"
    assert second == Text("Hi")


def test_mistrals_thinking_items_are_read() -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    stream = (
        chunk({"content": thinking}) + chunk({"content": thinking}) + chunk({"content": "Hi"}) + chunk(finish="stop")
    )
    assert built(stream + DONE).parts == (Reasoning("hmhm"), Text("Hi"))


def test_audio_and_images_are_read() -> None:
    stream = (
        chunk({"audio": {"id": "audio_1", "transcript": "Hi"}})
        + chunk({"audio": {"data": "AAAA"}})
        + chunk({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]})
        + chunk(finish="stop")
        + DONE
    )
    audio, image = built(stream).parts
    assert isinstance(audio, Opaque)
    assert (audio.kind, bytes(audio.raw)) == ("audio", b'{"id":"audio_1"}')
    assert image == Image(media_type="image/png", data="AAAA")


def test_choices_but_the_first_are_passed_over() -> None:
    other = event(choices=[{"index": 1, "delta": {"content": "B"}, "finish_reason": "length"}])
    stream = other + chunk({"content": "A"}) + other + chunk(finish="stop") + DONE
    assert (built(stream).parts, built(stream).stop) == ((Text("A"),), Stop.END)


@pytest.mark.parametrize(
    ("where", "usage"),
    [
        ({"x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}}, {}),
        ({}, {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
    ],
)
def test_counts_are_found_where_groq_and_moonshot_put_them(where: dict[str, Any], usage: dict[str, Any]) -> None:
    last = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", **usage}], **where)
    assert built(chunk({"content": "A"}) + last + DONE).usage == Usage(1, 2)


def test_counts_in_every_chunk_are_told_once_the_reply_has_stopped() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    first = event(choices=[{"index": 0, "delta": {"content": "A"}}], usage=usage)
    stream = (
        first + event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=usage) + counts(1, 2) + DONE
    )
    assert decoded(stream)[-4:] == [Stopped(Stop.END), Spent(Usage(1, 1)), Spent(Usage(1, 2)), End()]


@pytest.mark.parametrize(
    "odd",
    [
        b": keep-alive\n\n",
        b"\n\n",
        b"event: ping\ndata: {}\n\n",
        b"data: null\n\n",
        b'data: "text"\n\n',
        b"data: 7\n\n",
        b'data: {"type":"ping","choices":null}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[{}]}\n\n',
        b"retry: 10\n\n",
        b'data: {"id":"chatcmpl-123","choices":[{"index":0,"delta":null}],"error":null}\n\n',
        b'data: {"id":"chatcmpl-123","choices":[{"index":0,"delta":{"content":null,"x":[1]},"finish_reason":""}]}\n\n',
    ],
)
def test_what_is_odd_but_harmless_is_passed_over(odd: bytes) -> None:
    usual = chunk({"content": "A"})
    assert decoded(usual + odd + chunk(finish="stop") + odd + DONE + odd) == decoded(
        usual + chunk(finish="stop") + DONE
    )


def test_content_after_the_reason_to_stop_is_passed_over() -> None:
    stream = chunk({"content": "A"}) + chunk(finish="stop") + chunk({"content": "B"}, "length") + DONE
    assert (built(stream).parts, built(stream).stop) == ((Text("A"),), Stop.END)


def test_the_marker_alone_ends_a_reply_that_gave_no_reason() -> None:
    reply = built(chunk({"content": "A"}) + DONE)
    assert (reply.parts, reply.stop) == ((Text("A"),), Stop.END)


def test_a_reason_alone_ends_a_stream_without_the_marker() -> None:
    assert decoded(chunk({"content": "A"}) + chunk(finish="length"))[-2:] == [Stopped(Stop.LENGTH), End()]


def test_a_last_event_without_a_blank_line_counts() -> None:
    assert decoded((chunk({"content": "A"}) + chunk(finish="stop") + DONE).rstrip(b"\n")) == decoded(
        chunk({"content": "A"}) + chunk(finish="stop") + DONE
    )


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("stream", [b"", b": nothing\n\n", chunk({"content": "A"}), chunk({"role": "assistant"})])
def test_a_stream_that_is_cut_short_is_the_providers_failure(stream: bytes) -> None:
    decoder = chat.reply_decoder(ORIGIN)
    decoder.feed(stream)
    with pytest.raises(UpstreamError, match="ended before it was complete") as caught:
        decoder.close()
    assert caught.value.kind is Kind.BAD_GATEWAY


@pytest.mark.parametrize(
    ("frame", "kind", "message"),
    [
        (b'data: {"error":{"message":"Slow down","code":429}}\n\n', Kind.RATE_LIMITED, "Slow down"),
        (b'event: error\ndata: {"error":{"message":"Oops","type":"server_error"}}\n\n', Kind.BAD_GATEWAY, "Oops"),
        (b'event: error\ndata: {"message":"Oops"}\n\n', Kind.BAD_GATEWAY, "Oops"),
        (b'data: {"object":"error","message":"Oops","code":503}\n\n', Kind.UNAVAILABLE, "Oops"),
        (b'data: {"error":"Oops"}\n\n', Kind.BAD_GATEWAY, "Oops"),
        (
            b'data: {"error":{"code":"x","message":"Oops"},"choices":[{"delta":{},"finish_reason":"error"}]}\n\n',
            Kind.BAD_GATEWAY,
            "Oops",
        ),
        (b'data: {"choices":[{"index":0,"error":{"code":402,"message":"Pay"}}]}\n\n', Kind.PAYMENT_REQUIRED, "Pay"),
        (
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"insufficient_system_resource"}]}\n\n',
            Kind.UNAVAILABLE,
            "The provider broke off its reply.",
        ),
    ],
)
def test_an_error_inside_the_stream_ends_it(frame: bytes, kind: Kind, message: str) -> None:
    events = decoded(chunk({"content": "A"}) + frame + chunk({"content": "B"}, "stop") + DONE)
    assert [type(item) for item in events] == [Begin, PartBegin, Delta, Failed] or kind is Kind.UNAVAILABLE
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.error.kind, failed.error.message) == (kind, message)


def test_an_error_frame_keeps_the_providers_answer() -> None:
    body = b'{"error":{"message":"Slow down","code":429}}'
    (failed,) = decoded(b"data: " + body + b"\n\n")
    assert isinstance(failed, Failed)
    assert failed.error.answer is not None
    assert failed.error.answer.body == body


@pytest.mark.parametrize(
    "garbage",
    [
        b"data: {\n\n",
        b"data: <html>\n\n",
        b'data: {"choices":[{"delta":{"content":7}}]}\n\n',
        b'data: {"choices":' + b"[" * 9999 + b"\n\n",
    ],
)
def test_garbage_is_a_failure_and_no_exception(garbage: bytes) -> None:
    events = decoded(chunk({"content": "A"}) + garbage + DONE)
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.error.kind is Kind.BAD_GATEWAY


def test_the_marker_without_any_reply_is_a_failure() -> None:
    assert [type(item) for item in decoded(DONE)] == [Failed]
