import json

import anthropic
import pytest
from msgspec import Raw

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
    Prompt,
    Reasoning,
    Refusal,
    Reply,
    Signature,
    Signed,
    Spent,
    Stop,
    Stopped,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    events_of,
)
from gateway.errors import GatewayError, Kind, UpstreamError
from tests.dialects.anthropic_sdk import ANTHROPIC, OLD, accumulated, checked, client, frames, head, sse
from tests.dialects.streams import Streams, built


def start(**usage):
    message = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-sonnet-4-5-20250929",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 1, **usage},
    }
    return {"type": "message_start", "message": message}


def block(index, **content):
    return {"type": "content_block_start", "index": index, "content_block": content}


def piece(index, **delta):
    return {"type": "content_block_delta", "index": index, "delta": delta}


def stop(index):
    return {"type": "content_block_stop", "index": index}


def finish(reason="end_turn", sequence=None, **usage):
    delta = {"stop_reason": reason, "stop_sequence": sequence}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 15, **usage}},
        {"type": "message_stop"},
    ]


PING = {"type": "ping"}
TEXT = sse(
    start(cache_read_input_tokens=1000, cache_creation_input_tokens=5),
    block(0, type="text", text=""),
    PING,
    piece(0, type="text_delta", text="Hel"),
    piece(0, type="text_delta", text="lö!"),
    stop(0),
    *finish(output_tokens_details={"thinking_tokens": 3}),
)
TOOLS = sse(
    start(),
    block(0, type="thinking", thinking="", signature=""),
    piece(0, type="thinking_delta", thinking="Hm"),
    piece(0, type="thinking_delta", thinking="."),
    piece(0, type="signature_delta", signature="Sig=="),
    stop(0),
    block(1, type="redacted_thinking", data="Data=="),
    stop(1),
    block(2, type="text", text=""),
    piece(2, type="text_delta", text="Looking."),
    stop(2),
    block(3, type="tool_use", id="toolu_1", name="weather", input={}),
    piece(3, type="input_json_delta", partial_json=""),
    piece(3, type="input_json_delta", partial_json='{"city": "Par'),
    piece(3, type="input_json_delta", partial_json='is"}'),
    stop(3),
    block(4, type="tool_use", id="toolu_2", name="now", input={}),
    piece(4, type="input_json_delta", partial_json=""),
    stop(4),
    *finish("tool_use"),
)
FOUND = {"type": "web_search_result", "title": "T", "url": "https://x.test", "encrypted_content": "E", "page_age": None}
CITED = {
    "type": "web_search_result_location",
    "cited_text": "x",
    "encrypted_index": "I",
    "title": "T",
    "url": "https://x.test",
}
SEARCH = sse(
    start(),
    block(0, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}, caller=None),
    piece(0, type="input_json_delta", partial_json='{"query":'),
    piece(0, type="input_json_delta", partial_json=' "x"}'),
    stop(0),
    block(1, type="web_search_tool_result", tool_use_id="srvtoolu_1", content=[FOUND]),
    stop(1),
    block(2, type="text", text="", citations=[]),
    piece(2, type="citations_delta", citation=CITED),
    piece(2, type="text_delta", text="Found."),
    stop(2),
    *finish("pause_turn"),
)


STREAMS = Streams(ANTHROPIC, OLD)
decoded = STREAMS.decoded


def encoded(events, **members):
    encoder = ANTHROPIC.reply_encoder(head(**members))
    return b"".join(encoder.encode(event) for event in events)


# ---------------------------------------------------------------- a provider's stream


def test_text_is_decoded_as_it_comes():
    usage = Usage(input=1030, output=1, cached=1000, cache_write=5)
    assert decoded(TEXT) == [
        Begin("msg_01", "claude-sonnet-4-5-20250929", usage),
        PartBegin(0, Text("")),
        Delta(0, "Hel"),
        Delta(0, "lö!"),
        PartEnd(0),
        Stopped(Stop.END),
        Spent(Usage(input=1030, output=15, cached=1000, cache_write=5, reasoning=3)),
        End(),
    ]


def test_thinking_its_signature_and_parallel_calls_are_decoded():
    assert decoded(TOOLS)[1:] == [
        PartBegin(0, Reasoning()),
        Delta(0, "Hm"),
        Delta(0, "."),
        Signed(0, Signature("Sig==", "anthropic", OLD)),
        PartEnd(0),
        PartBegin(1, Reasoning(signature=Signature("Data==", "anthropic", OLD), redacted=True)),
        PartEnd(1),
        PartBegin(2, Text("")),
        Delta(2, "Looking."),
        PartEnd(2),
        PartBegin(3, ToolCall(id="toolu_1", name="weather", arguments="")),
        Delta(3, '{"city": "Par'),
        Delta(3, 'is"}'),
        PartEnd(3),
        PartBegin(4, ToolCall(id="toolu_2", name="now", arguments="")),
        Delta(4, "{}"),
        PartEnd(4),
        Stopped(Stop.TOOL_CALLS),
        Spent(Usage(input=25, output=15)),
        End(),
    ]


@pytest.mark.parametrize("stream", [TEXT, TOOLS, SEARCH])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_a_stream_cut_at_every_byte_gives_the_same_events(stream, ends):
    assert decoded(stream)[-1] == End()
    STREAMS.must_not_depend_on_the_split(stream.replace(b"\n", ends))


def test_a_streamed_reply_can_be_sent_back():
    """Blocks of the vendor's own tools included, and citations with their text."""
    parts = built(decoded(SEARCH)).parts
    coded = ANTHROPIC.encode_messages([Message("assistant", parts)], OLD)
    assert coded.dropped == ()
    assert json.loads(coded.messages[0])["content"] == [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [FOUND]},
        {
            "type": "text",
            "text": "Found.",
            "citations": [CITED],
        },
    ]


def test_a_block_of_a_kind_not_known_yet_is_collected_from_its_deltas():
    stream = sse(
        start(),
        block(0, type="compaction", content=None, marks=[1152921504606846976]),
        piece(0, type="compaction_delta", content="Sum", encrypted_content=None),
        piece(0, type="compaction_delta", content="mary", encrypted_content="Z"),
        stop(0),
        *finish(),
    )
    (part,) = built(decoded(stream)).parts
    assert isinstance(part, Opaque)
    assert json.loads(bytes(part.raw)) == {
        "type": "compaction",
        "marks": [1152921504606846976],
        "content": "Summary",
        "encrypted_content": "Z",
    }


def test_a_streamed_reply_says_the_same_as_a_whole_one():
    whole = {
        **start()["message"],
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "Sig=="},
            {"type": "redacted_thinking", "data": "Data=="},
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ],
    }
    said = ANTHROPIC.decode_reply(json.dumps(whole).encode(), OLD).said
    streamed = ANTHROPIC.encode_messages([Message("assistant", built(decoded(TOOLS)).parts)], OLD).messages
    assert json.loads(streamed[0]) == json.loads(said[0])
    checked(b'{"model":"m","max_tokens":1,"messages":[' + streamed[0] + b"]}")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", Stop.END),
        ("max_tokens", Stop.LENGTH),
        ("stop_sequence", Stop.STOP_SEQUENCE),
        ("tool_use", Stop.TOOL_CALLS),
        ("pause_turn", Stop.PAUSED),
        ("refusal", Stop.REFUSED),
        ("model_context_window_exceeded", Stop.CONTEXT),
        ("something_new", Stop.END),
    ],
)
def test_every_reason_to_stop_is_decoded(reason, expected):
    assert Stopped(expected, "END") in decoded(sse(start(), *finish(reason, "END")))


def test_what_is_odd_but_harmless_is_ignored():
    stream = (
        b": comment\n\nretry: 10\n\n"
        + sse({"type": "new_event", "x": 1}, piece(9, type="text_delta", text="lost"), start())
        + b"data: [DONE]\n\ndata: {broken\n\nevent: x\ndata: \xff\n\ndata: 7\n\n"
        + sse(
            block(0, type="text", text="A"), piece(0, type="new_delta", text=5), piece(0, type="text_delta", text="B")
        )
        + sse(block(1, type="tool_use", name="no id"), piece(1, type="input_json_delta", partial_json="{}"), stop(1))
        + sse({"type": "message_delta", "delta": {"stop_reason": None}, "usage": None}, *finish(), PING, *finish())
    )
    events = decoded(stream)
    assert events[0] == Begin()
    assert built(events).parts == (Text("AB"),)
    assert events[-1] == End()
    assert events.count(End()) == 1


def test_blocks_that_nobody_ended_are_ended_before_the_reply_is():
    events = decoded(sse(start(), block(0, type="text", text="A"), block(1, type="text", text="B"), *finish()))
    assert [type(event) for event in events[1:8]] == [PartBegin, Delta, PartEnd, PartBegin, Delta, PartEnd, Stopped]


def test_a_call_whose_arguments_come_at_the_start_has_them():
    events = decoded(sse(start(), block(0, type="tool_use", id="a", name="f", input={"x": 1}), stop(0), *finish()))
    assert built(events).parts == (ToolCall(id="a", name="f", arguments='{"x": 1}'),)


def test_empty_text_is_no_part():
    assert built(decoded(sse(start(), block(0, type="text", text=""), stop(0), *finish()))).parts == ()


def test_half_a_call_of_the_vendors_own_tool_is_left_out():
    half = sse(start(), block(0, type="server_tool_use", id="s", name="web_search", input={}))
    half += sse(piece(0, type="input_json_delta", partial_json='{"q'), *finish("max_tokens"))
    assert built(decoded(half)).parts == ()


@pytest.mark.parametrize("stream", [b"", b"<html>", b": ping\n\n", TEXT[: TEXT.index(b"event: message_delta")]])
def test_a_stream_that_ends_early_is_an_error(stream):
    decoder = ANTHROPIC.reply_decoder(OLD)
    decoder.feed(stream)
    with pytest.raises(UpstreamError, match="ended before it was complete") as caught:
        decoder.close()
    assert caught.value.kind is Kind.BAD_GATEWAY


def test_a_stream_that_only_lacks_its_last_event_is_complete():
    assert decoded(TEXT[: TEXT.index(b"event: message_stop")]) == decoded(TEXT)


def test_the_last_event_needs_no_blank_line():
    assert decoded(TEXT.rstrip(b"\n")) == decoded(TEXT)


def test_an_error_event_is_a_failure_and_nothing_follows():
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events = decoded(sse(start(), block(0, type="text", text="A"), error, *finish()))
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed is events[-1]
    assert (failed.error.kind, failed.error.code, failed.error.message) == (
        Kind.UNAVAILABLE,
        "overloaded_error",
        "Overloaded",
    )
    assert failed.error.answer is not None
    assert failed.error.answer.status == 529


def test_an_error_event_that_cannot_be_read_is_a_failure_all_the_same():
    assert isinstance(decoded(b'data: {"type":"error"}\n\n')[0], Failed)


# ---------------------------------------------------------------- a client's stream

FOREIGN = Signature("thought", "gemini", Origin("google", "g"))
REPLY = Reply(
    model="gpt-5",
    parts=(
        Reasoning(text="Hm.", signature=FOREIGN),
        Text("Hello"),
        Refusal("No."),
        Image(data="iVBO"),
        Opaque(dialect="gemini", kind="code", raw=Raw(b"{}")),
        ToolCall(id="call_1", name="f", arguments='{"a": [1152921504606846976]}'),
        ToolCall(id="call_2", name="g", arguments=""),
        ToolCall(id="call_3", name="patch", arguments="*** Begin", custom=True),
    ),
    stop=Stop.TOOL_CALLS,
    usage=Usage(input=100, output=20, cached=60, cache_write=10, reasoning=5),
)


def test_the_sdk_accumulates_a_reply_of_any_provider():
    message = accumulated(encoded(events_of(REPLY)))
    assert (message.id, message.model, message.stop_reason) == ("msg_0123abcd", "gpt-5", "tool_use")
    assert [part.type for part in message.content] == ["thinking", "text", "text", "tool_use", "tool_use", "tool_use"]
    assert [message.content[1].text, message.content[2].text] == ["Hello", "No."]
    assert [part.input for part in message.content[3:]] == [
        {"a": [1152921504606846976]},
        {},
        {"input": "*** Begin"},
    ]
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (30, 60, 10)
    assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (20, 5)


@pytest.mark.parametrize("stream", [TEXT, TOOLS, SEARCH])
def test_own_streams_come_back_with_the_same_parts(stream):
    events = decoded(stream)
    again = built(decoded(encoded(events)))
    assert again.parts == built(events).parts
    assert (again.stop, again.usage) == (built(events).stop, built(events).usage)


def test_streamed_and_whole_give_a_client_the_same_content():
    for reply in (REPLY, built(decoded(TOOLS)), built(decoded(SEARCH))):
        whole = json.loads(ANTHROPIC.encode_reply(reply, head()))
        streamed = accumulated(encoded(events_of(reply))).model_dump(mode="json", exclude_unset=True)
        for block in streamed["content"]:
            block.pop("parsed_output", None)
        assert streamed["content"] == whole["content"]


def test_the_events_are_the_vendors_in_number_order_and_form():
    names = [event["type"] for event in frames(encoded(decoded(TEXT)))]
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_indexes_have_no_gap_where_a_part_cannot_be_said():
    indexes = [event["index"] for event in frames(encoded(events_of(REPLY))) if event["type"] == "content_block_start"]
    assert indexes == list(range(6))


def test_arguments_in_many_pieces_stay_in_pieces_and_the_first_event_names_the_call():
    call = ToolCall(id="c", name="f", arguments="")
    events = [
        Begin(),
        PartBegin(0, call),
        Delta(0, '{"a"'),
        Delta(0, ":1}"),
        PartEnd(0),
        Stopped(Stop.TOOL_CALLS),
        End(),
    ]
    sent = list(frames(encoded(events)))
    assert sent[1]["content_block"] == {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    assert [event["delta"]["partial_json"] for event in sent[2:4]] == ['{"a"', ":1}"]


def test_arguments_that_come_with_the_call_become_a_delta():
    events = [PartBegin(0, ToolCall(id="c", name="f", arguments='{"a":1}')), PartEnd(0), End()]
    assert accumulated(encoded(events)).content[0].input == {"a": 1}


def test_a_late_signature_of_a_call_travels_too():
    events = [PartBegin(0, ToolCall(id="c", name="f", arguments="{}")), Signed(0, FOREIGN), PartEnd(0), End()]
    message = accumulated(encoded(events))
    raw = json.dumps({"role": "assistant", "content": message.model_dump(mode="json")["content"]}).encode()
    assert ANTHROPIC.decode_messages([raw])[0].parts == (ToolCall(id="c", name="f", arguments="{}", signature=FOREIGN),)


def test_empty_text_never_begins():
    events = [Begin(), PartBegin(0, Text("")), Delta(0, ""), PartEnd(0), Stopped(Stop.END), End()]
    assert [event["type"] for event in frames(encoded(events))] == ["message_start", "message_delta", "message_stop"]


def test_a_stream_without_a_beginning_still_has_one():
    assert accumulated(encoded([Stopped(Stop.LENGTH), End()], model="alias")).model == "alias"


def test_an_error_ends_the_stream_as_the_vendors_does():
    error = GatewayError(Kind.UNAVAILABLE, "Try later.", code="draining")
    encoder = ANTHROPIC.reply_encoder(head())
    stream = encoder.encode(Begin()) + encoder.error(error)
    with (
        client(stream, kind="text/event-stream") as sdk,
        sdk.messages.stream(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}]) as events,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        events.get_final_message()
    assert (caught.value.type, caught.value.api_message) == ("overloaded_error", "Try later.")


def test_a_providers_failure_goes_on_in_one_line():
    body = b'{"type":"error",\n "error":{"type":"api_error","message":"Oh."}}'
    stream = encoded([Begin(), Failed(ANTHROPIC.decode_error(500, body))])
    assert stream.endswith(b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"Oh."}}\n\n')


def test_a_block_in_many_lines_is_sent_in_one():
    raw = Raw(b'{"type":"server_tool_use",\n"id":"s","name":"web_search","input":{}}')
    sent = encoded([PartBegin(0, Opaque(dialect="anthropic", kind="server_tool_use", raw=raw)), PartEnd(0)])
    assert [event["type"] for event in frames(sent)][1:] == ["content_block_start", "content_block_stop"]


# ---------------------------------------------------------------- a loop


def test_a_loop_with_two_parallel_calls_goes_round():
    """Streamed calls, their results from a client of another dialect, and the next request with thinking unbroken."""
    question = Message("user", (Text("Weather in Paris, and the time?"),))
    said = Message("assistant", built(decoded(TOOLS)).parts)
    answers = (
        Message("user", (ToolResult(call_id="toolu_2", content=(Text("noon"),)),)),
        Message("user", (ToolResult(call_id="toolu_1", content=(Text("rain"), Image(data="iVBO"))),)),
    )
    history = ANTHROPIC.encode_messages([question, said], OLD).messages
    tools = (Tool(name="weather"), Tool(name="now"))
    prompt = Prompt(model="m", messages=answers, tools=tools, thinking=Thinking(budget=2000))
    encoded_prompt = ANTHROPIC.encode_prompt(prompt, OLD, history)
    tree = checked(encoded_prompt.body)
    assert encoded_prompt.dropped == ()
    assert tree["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert [message["role"] for message in tree["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in tree["messages"][1]["content"]] == [
        "thinking",
        "redacted_thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    assert {block["tool_use_id"] for block in tree["messages"][2]["content"]} == {"toolu_1", "toolu_2"}
