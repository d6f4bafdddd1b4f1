"""Streams of the Responses dialect, both ways: split at every byte, and read by the vendor's own SDK."""

import json
from collections.abc import Iterable

import httpx2
import pytest
from msgspec import Raw
from openai import APIError, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from gateway.conversation import (
    Begin,
    Delta,
    End,
    Event,
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
    events_of,
    wrap_signature,
)
from gateway.dialects import openai_responses
from gateway.dialects.dialect import Dialect, ReplyHead
from gateway.dialects.openai_responses.names import flat
from gateway.errors import GatewayError, Kind, UpstreamError
from tests.dialects.streams import Streams, built

dialect: Dialect = openai_responses

HERE = Origin("azure", "gpt-5")
EVENT = TypeAdapter(ResponseStreamEvent)
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 0},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def frames(*events: dict) -> bytes:
    """A provider's stream: each event with its name and its number."""
    numbered = ({"type": event["type"], "sequence_number": n, **event} for n, event in enumerate(events))
    return b"".join(f"event: {e['type']}\ndata: {compact(e)}\n\n".encode() for e in numbered)


def response(status: str = "in_progress", output: Iterable[dict] = (), **members) -> dict:
    whole = {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "error": None, "model": "gpt-5-x",
             "incomplete_details": None, "output": list(output), "usage": None, "parallel_tool_calls": True,
             "tool_choice": "auto", "tools": []}  # fmt: skip
    return whole | members


def message(*words: str, status: str = "completed") -> dict:
    content = [{"type": "output_text", "annotations": [], "text": text} for text in words]
    return {"id": "msg_1", "type": "message", "status": status, "content": content, "role": "assistant"}


def call(number: int, arguments: str) -> dict:
    return {"id": f"fc_{number}", "type": "function_call", "call_id": f"call_{number}", "name": "weather",
            "arguments": arguments, "status": "completed"}  # fmt: skip


CREATED = {"type": "response.created", "response": response()}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Then."}],
    "encrypted_content": "gAAA",
}
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "ü"}}
CUSTOM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_3", "name": "patch", "input": "*** Begin"}


def streamed(kind: str, place: dict, *deltas: str) -> list[dict]:
    return [{"type": f"response.{kind}.delta", **place, "delta": delta} for delta in deltas]


def call_events(number: int, at: int, *deltas: str) -> list[dict]:
    whole = call(number, "".join(deltas))
    place = {"item_id": whole["id"], "output_index": at}
    empty = whole | {"arguments": "", "status": "in_progress"}
    return [
        {"type": "response.output_item.added", "output_index": at, "item": empty},
        *streamed("function_call_arguments", place, *deltas),
        {"type": "response.function_call_arguments.done", **place, "arguments": whole["arguments"]},
        {"type": "response.output_item.done", "output_index": at, "item": whole},
    ]  # fmt: skip


def full_stream() -> bytes:
    """Reasoning with two summaries, a search, words, two parallel calls, a custom tool."""
    thought = {"item_id": "rs_1", "output_index": 0}
    words = {"item_id": "msg_1", "output_index": 2, "content_index": 0}
    patch = {"item_id": "ctc_1", "output_index": 5}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "Héllo"}
    output = [REASONING, SEARCH, message("Héllo"), call(1, '{"city":"Köln"}'), call(2, "{}"), CUSTOM]
    return frames(
        CREATED,
        {"type": "response.in_progress", "response": response()},
        {"type": "response.output_item.added", "output_index": 0, "item": REASONING | {"summary": []}},
        {"type": "response.reasoning_summary_part.added", **thought, "summary_index": 0, "part": {}},
        *streamed("reasoning_summary_text", thought | {"summary_index": 0}, "Fir", "st."),
        {"type": "response.reasoning_summary_text.done", **thought, "summary_index": 0, "text": "First."},
        {"type": "response.reasoning_summary_part.added", **thought, "summary_index": 1, "part": {}},
        *streamed("reasoning_summary_text", thought | {"summary_index": 1}, "Then."),
        {"type": "response.output_item.done", "output_index": 0, "item": REASONING},
        {"type": "response.output_item.added", "output_index": 1, "item": SEARCH | {"status": "in_progress"}},
        {"type": "response.web_search_call.searching", "output_index": 1, "item_id": "ws_1"},
        {"type": "response.output_item.done", "output_index": 1, "item": SEARCH},
        {"type": "response.output_item.added", "output_index": 2, "item": message(status="in_progress")},
        {"type": "response.content_part.added", **words, "part": part | {"text": ""}},
        *streamed("output_text", words | {"logprobs": [], "obfuscation": "xyz"}, "Hé", "llo"),
        {"type": "response.output_text.done", **words, "text": "Héllo", "logprobs": []},
        {"type": "response.content_part.done", **words, "part": part},
        {"type": "response.output_item.done", "output_index": 2, "item": message("Héllo")},
        *call_events(1, 3, '{"city"', ':"Köln"}'),
        *call_events(2, 4, "{}"),
        {"type": "response.output_item.added", "output_index": 5, "item": CUSTOM | {"input": ""}},
        *streamed("custom_tool_call_input", patch, "*** ", "Begin"),
        {"type": "response.custom_tool_call_input.done", **patch, "input": "*** Begin"},
        {"type": "response.output_item.done", "output_index": 5, "item": CUSTOM},
        {"type": "response.completed", "response": response("completed", output, usage=USAGE)},
    )  # fmt: skip


FULL_PARTS = (
    Reasoning("First.\n\nThen.", Signature("gAAA", "openai_responses", HERE), summary=True, id="rs_1"),
    Opaque("openai_responses", "web_search_call", Raw(compact(SEARCH).encode())),
    Text("Héllo"),
    ToolCall("call_1", "weather", '{"city":"Köln"}'),
    ToolCall("call_2", "weather", "{}"),
    ToolCall("call_3", "patch", "*** Begin", custom=True),
)


STREAMS = Streams(dialect, HERE)
decoded = STREAMS.decoded


def assert_in_order(events: list[Event]) -> None:
    """Begin, (PartBegin, Delta*, Signed?, PartEnd)*, Stopped, Spent?, End."""
    assert isinstance(events[0], Begin)
    assert isinstance(events[-1], End)
    opened: int | None = None
    count = 0
    for event in events[1:-1]:
        match event:
            case PartBegin(index):
                assert opened is None
                assert index == count
                opened, count = index, count + 1
            case PartEnd(index):
                assert index == opened
                opened = None
            case Delta(index) | Signed(index):
                assert index == opened
            case _:
                assert isinstance(event, Stopped | Spent)
                assert opened is None


# ---------------------------------------------------------------- from a provider


def test_a_whole_stream_is_decoded() -> None:
    events = decoded(full_stream())
    assert_in_order(events)
    reply = built(events)
    assert (reply.id, reply.model, reply.stop) == ("resp_1", "gpt-5-x", Stop.TOOL_CALLS)
    assert reply.parts == FULL_PARTS
    assert reply.usage == Usage(input=100, output=50, cached=60, reasoning=20)
    assert Delta(2, "Hé") in events


def test_a_stream_split_at_every_byte_gives_the_same_events() -> None:
    STREAMS.must_not_depend_on_the_split(full_stream(), step=7)


def test_a_streamed_reply_is_said_as_the_whole_one_is() -> None:
    parts = built(decoded(full_stream())).parts
    said = dialect.encode_messages([Message("assistant", parts)], HERE).messages
    assert dialect.decode_messages(said, HERE) == (Message("assistant", FULL_PARTS),)
    output = [REASONING, SEARCH, message("Héllo"), call(1, '{"city":"Köln"}'), call(2, "{}"), CUSTOM]
    whole = dialect.decode_reply(compact(response("completed", output)).encode(), HERE)
    assert whole.parts == parts
    assert dialect.decode_messages(whole.said, HERE) == dialect.decode_messages(said, HERE)


def test_lines_may_end_with_carriage_returns_and_comments_count_for_nothing() -> None:
    stream = b": ping\n\n" + full_stream().replace(b"\n", b"\r\n") + b": bye\n\ndata: [DONE]\n\n"
    assert decoded(stream) == decoded(full_stream())


def test_a_keep_alive_yields_nothing() -> None:
    assert dialect.reply_decoder(HERE).feed(b": keep-alive\n\n") == []


def test_events_without_places_are_told_apart_by_id() -> None:
    stream = full_stream()
    for number in range(6):
        stream = stream.replace(f'"output_index":{number},'.encode(), b"")
    assert b"output_index" not in stream
    assert built(decoded(stream)).parts == FULL_PARTS


def test_items_that_only_the_last_event_shows_are_not_lost() -> None:
    output = [REASONING, message("Hello"), call(1, "{}")]
    events = decoded(frames(CREATED, {"type": "response.completed", "response": response("completed", output)}))
    assert_in_order(events)
    assert built(events).parts == (FULL_PARTS[0], Text("Hello"), ToolCall("call_1", "weather", "{}"))


def test_a_stream_without_deltas_is_decoded_from_what_is_done() -> None:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = decoded(
        frames(
            {"type": "response.output_text.done", **place, "text": "Hello"},
            {"type": "response.output_item.done", "output_index": 0, "item": message("Hello", "World")},
            {"type": "response.function_call_arguments.done", "output_index": 1, "arguments": "{}"},
            {"type": "response.output_item.done", "output_index": 1, "item": call(1, "{}")},
            {"type": "response.completed", "response": response("completed")},
        )
    )
    assert_in_order(events)
    assert built(events).parts == (Text("Hello"), Text("World"), ToolCall("call_1", "weather", "{}"))


def test_items_that_overlap_come_one_after_the_other() -> None:
    a, b = call_events(1, 0, '{"a"', ":1}"), call_events(2, 1, '{"b"', ":2}")
    overlapping = [event for pair in zip(a, b, strict=True) for event in pair]
    events = decoded(frames(CREATED, *overlapping, {"type": "response.completed", "response": response("completed")}))
    assert_in_order(events)
    assert [part.arguments for part in built(events).parts] == ['{"a":1}', '{"b":2}']


def test_a_refusal_is_decoded() -> None:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    events = decoded(
        frames(
            CREATED,
            *streamed("refusal", place, "N", "o."),
            {"type": "response.refusal.done", **place, "refusal": "No."},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": response("completed")},
        )
    )
    assert_in_order(events)
    assert built(events).parts == (Refusal("No."),)
    assert Stopped(Stop.REFUSED) in events


def test_plain_reasoning_is_decoded_and_belongs_to_its_server() -> None:
    place = {"item_id": "rs_1", "output_index": 0, "content_index": 0}
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hmm"}]}
    events = decoded(
        frames(
            CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": item | {"content": []}},
            *streamed("reasoning_text", place, "H", "mm"),
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": response("completed")},
        )
    )
    assert_in_order(events)
    assert built(events).parts == (Reasoning("Hmm", Signature("", "openai_responses", HERE), id="rs_1"),)


def test_the_phase_and_the_namespace_of_streamed_items_are_kept() -> None:
    said = message("Looking.") | {"phase": "commentary"}
    search = call(1, "{}") | {"namespace": "mail"}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = decoded(
        frames(
            CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": said | {"content": []}},
            *streamed("output_text", place, "Looking."),
            {"type": "response.output_item.done", "output_index": 0, "item": said},
            {"type": "response.output_item.done", "output_index": 1, "item": search},
            {"type": "response.completed", "response": response("completed")},
        )
    )
    parts = built(events).parts
    assert parts[1] == ToolCall("call_1", flat("mail", "weather"), "{}")
    items = [json.loads(item) for item in dialect.encode_messages([Message("assistant", parts)], HERE).messages]
    assert items[0]["phase"] == "commentary"
    assert (items[1]["namespace"], items[1]["name"]) == ("mail", "weather")


@pytest.mark.parametrize(
    ("reason", "stop"), [("max_output_tokens", Stop.LENGTH), ("content_filter", Stop.FILTERED), (None, Stop.LENGTH)]
)
def test_an_incomplete_stream_says_why(reason: str | None, stop: Stop) -> None:
    end = response(
        "incomplete", [message("Hel", status="incomplete")], incomplete_details={"reason": reason}, usage=USAGE
    )
    events = decoded(frames(CREATED, {"type": "response.incomplete", "response": end}))
    assert_in_order(events)
    assert [type(event) for event in events[-3:]] == [Stopped, Spent, End]
    assert built(events).stop is stop


def failed(code: str) -> dict:
    return {"type": "response.failed", "response": response("failed", error={"code": code, "message": "Oh"})}


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "Slow", "param": None}, Kind.RATE_LIMITED, "Slow"),
        ({"type": "error", "error": {"type": "server_error", "code": None, "message": "Oh"}}, Kind.BAD_GATEWAY, "Oh"),
        ({"type": "", "error": {"message": "Oh"}}, Kind.BAD_GATEWAY, "Oh"),
        (failed("server_is_overloaded"), Kind.UNAVAILABLE, "Oh"),
        (failed("context_length_exceeded"), Kind.INVALID, "Oh"),
        ({"type": "response.failed", "response": None}, Kind.BAD_GATEWAY, "The provider ended the reply as failed."),
        ({"type": "response.completed", "response": 5}, Kind.BAD_GATEWAY, "last event is not a response"),
    ],
)  # fmt: skip
def test_an_error_in_the_stream_ends_it(event: dict, kind: Kind, message: str) -> None:
    decoder = dialect.reply_decoder(HERE)
    events = decoder.feed(frames(CREATED, event, {"type": "response.completed", "response": response("completed")}))
    [begin, end] = events
    assert isinstance(begin, Begin)
    assert isinstance(end, Failed)
    assert end.error.kind is kind
    assert message in end.error.message
    assert decoder.close() == []


def test_an_error_of_the_provider_reaches_a_client_of_the_same_dialect() -> None:
    problem = {"type": "tokens", "code": "rate_limit_exceeded", "message": "Slow", "param": None}
    [failed] = decoded(frames({"type": "error", "error": problem}))
    assert isinstance(failed, Failed)
    assert json.loads(dialect.encode_error(failed.error, "r"))["error"] == problem


def test_a_cut_stream_is_an_error() -> None:
    stream = full_stream()
    end = stream.index(b"event: response.completed")
    for cut in (0, 10, stream.index(b"event: response.in_progress"), end, len(stream) - 10):
        decoder = dialect.reply_decoder(HERE)
        with pytest.raises(UpstreamError, match="ended before it was complete"):
            decoder.feed(stream[:cut]) + decoder.close()


def test_a_last_event_without_its_blank_line_counts() -> None:
    assert decoded(full_stream().removesuffix(b"\n\n")) == decoded(full_stream())


@pytest.mark.parametrize("garbage", [b"data: {not json}\n\n", b'data: {"type":"x\xff"}\n\n'])
def test_garbage_fails_and_does_not_raise(garbage: bytes) -> None:
    [failed] = dialect.reply_decoder(HERE).feed(garbage)
    assert isinstance(failed, Failed)
    assert failed.error.kind is Kind.BAD_GATEWAY


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "response.from_the_future", "delta": {"x": 1}},
        {"type": "response.audio.delta", "delta": "AA=="},
        {"type": "response.output_text.delta", "delta": 5},
        {"type": "response.output_item.added", "item": None},
        {"type": "response.output_item.added", "item": {"type": "function_call"}},
        {"type": "response.output_item.done", "item": {"type": "message", "role": "x", "content": 5}},
        {"type": "response.output_item.done", "item": {}},
        {"type": "response.function_call_arguments.delta", "item_id": "nobody", "delta": "{}"},
        {"type": "response.created", "response": 5},
        {"no_type": True, "type": "x"},
    ],
)
def test_odd_but_harmless_events_are_passed_over(odd: dict) -> None:
    events = decoded(frames(CREATED, odd, {"type": "response.completed", "response": response("completed")}))
    assert [type(event) for event in events] == [Begin, Stopped, End]


# ---------------------------------------------------------------- to a client


def head(**members) -> ReplyHead:
    request = dialect.open_request(json.dumps({"model": "smart", "input": "Hi", "stream": True, **members}).encode())
    return ReplyHead("0f" * 12, 1795000000, request)


def encoded(events: Iterable[Event], **members) -> bytes:
    encoder = dialect.reply_encoder(head(**members))
    return b"".join(encoder.encode(event) for event in events)


def wire(stream: bytes) -> list[dict]:
    """The events, each checked: its name, its number, and the SDK's own type for it."""
    found = []
    for block in stream.decode().strip().split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == len(found)
        EVENT.validate_python(event)
        found.append(event)
    return found


def sdk(stream: bytes) -> OpenAI:
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, content=stream, headers={"content-type": "text/event-stream"})
    )
    http = httpx2.Client(transport=transport)
    return OpenAI(api_key="k", base_url="http://127.0.0.1/v1", http_client=http, max_retries=0)


TALK = [
    Begin("", "claude-sonnet-4-5-x"),
    PartBegin(0, Reasoning(summary=True)),
    Delta(0, "Hm"),
    Delta(0, "m."),
    Signed(0, Signature("sig", "anthropic", Origin("claude", "c"))),
    PartEnd(0),
    PartBegin(1, Text("")),
    Delta(1, "Hello "),
    Delta(1, "you"),
    PartEnd(1),
    PartBegin(2, ToolCall("c1", "weather", "")),
    Delta(2, '{"city":'),
    Delta(2, '"Köln"}'),
    PartEnd(2),
    PartBegin(3, ToolCall("c2", "weather", '{"city":"Bonn"}')),
    PartEnd(3),
    Stopped(Stop.TOOL_CALLS),
    Spent(Usage(input=10, output=5, cached=3, reasoning=2)),
    End(),
]


def test_a_stream_is_the_full_sequence_of_events() -> None:
    events = wire(encoded(TALK))
    call_kinds = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done",
        *call_kinds[:2], *call_kinds[1:], *call_kinds,
        "completed",
    ]  # fmt: skip
    places = [event["output_index"] for event in events if "output_index" in event]
    assert places == sorted(places)
    last = events[-1]["response"]
    assert last["output"] == [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert (events[0]["response"]["status"], events[0]["response"]["output"]) == ("in_progress", [])
    assert (last["model"], last["created_at"], last["id"]) == ("claude-sonnet-4-5-x", 1795000000, "resp_" + "0f" * 12)
    assert last["usage"]["input_tokens_details"] == {"cached_tokens": 3, "cache_write_tokens": 0}


def test_a_streamed_and_a_whole_reply_are_the_same() -> None:
    whole = json.loads(dialect.encode_reply(built(TALK), head()))
    assert wire(encoded(TALK))[-1]["response"] == whole
    Response.model_validate(whole)


def test_the_sdk_collects_the_stream() -> None:
    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}]
    with (
        sdk(encoded(TALK, tools=tools)) as client,
        client.responses.stream(model="smart", input="Hi", tools=tools) as stream,
    ):
        seen = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "Hello you"
    assert [event.snapshot for event in seen if event.type == "response.output_text.delta"] == ["Hello ", "Hello you"]
    snapshots = [event.snapshot for event in seen if event.type == "response.function_call_arguments.delta"]
    assert snapshots == ['{"city":', '{"city":"Köln"}', '{"city":"Bonn"}']
    calls = [item for item in final.output if item.type == "function_call"]
    assert [item.parsed_arguments for item in calls] == [{"city": "Köln"}, {"city": "Bonn"}]
    assert final.usage.total_tokens == 15
    assert final.output[0].encrypted_content == wrap_signature(Signature("sig", "anthropic", Origin("claude", "c")))


class Weather(BaseModel):
    city: str


def test_the_sdk_parses_streamed_structured_output() -> None:
    events = events_of(Reply(parts=(Text('{"city":"Bonn"}'),), stop=Stop.END))
    with (
        sdk(encoded(events)) as client,
        client.responses.stream(model="smart", input="Hi", text_format=Weather) as stream,
    ):
        assert stream.get_final_response().output_parsed == Weather(city="Bonn")


def test_a_stream_of_the_dialects_own_goes_round() -> None:
    events = decoded(full_stream())
    stream = encoded(events, tools=[{"type": "custom", "name": "patch"}])
    wire(stream)
    again = built(decoded(stream))
    assert again.parts == FULL_PARTS
    assert (again.stop, again.usage) == (Stop.TOOL_CALLS, built(events).usage)
    with sdk(stream) as client, client.responses.stream(model="smart", input="Hi") as collected:
        kinds = [item.type for item in collected.get_final_response().output]
    assert kinds == ["reasoning", "web_search_call", "message", "function_call", "function_call", "custom_tool_call"]


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        (Stop.END, "response.completed"),
        (Stop.STOP_SEQUENCE, "response.completed"),
        (Stop.PAUSED, "response.completed"),
        (Stop.LENGTH, "response.incomplete"),
        (Stop.CONTEXT, "response.incomplete"),
        (Stop.FILTERED, "response.incomplete"),
        (Stop.REFUSED, "response.incomplete"),
    ],
)
def test_a_stream_ends_as_its_reply_does(stop: Stop, kind: str) -> None:
    events = wire(encoded(events_of(Reply(parts=(Text("Hi"),), stop=stop))))
    assert events[-1]["type"] == kind
    status = kind.removeprefix("response.")
    assert events[-1]["response"]["status"] == status
    assert events[-1]["response"]["output"][0]["status"] == status


def test_neighbouring_texts_and_a_refusal_are_one_message() -> None:
    reply = Reply(parts=(Text("a"), Text("b"), Refusal("No.")), stop=Stop.REFUSED)
    events = wire(encoded(events_of(reply)))
    assert [event["content_index"] for event in events if event["type"] == "response.content_part.done"] == [0, 1, 2]
    assert events[-1]["type"] == "response.completed"
    assert decoded(encoded(events_of(reply)))[-1] == End()
    assert built(decoded(encoded(events_of(reply)))).parts == reply.parts


def test_raw_thinking_is_shown_as_reasoning_text_unless_a_summary_was_asked_for() -> None:
    events = events_of(Reply(parts=(Reasoning("Hm."), Text("x")), stop=Stop.END))
    plain = [event["type"] for event in wire(encoded(events))]
    assert "response.reasoning_text.delta" in plain
    assert not any("summary" in name for name in plain)
    asked = [event["type"] for event in wire(encoded(events, reasoning={"summary": "auto"}))]
    assert "response.reasoning_summary_text.delta" in asked


def test_a_custom_tool_called_by_another_vendor_gets_its_text() -> None:
    call_part = ToolCall("c1", "patch", "")
    events = [Begin(), PartBegin(0, call_part), Delta(0, '{"inp'), Delta(0, 'ut":"*** Begin"}'), PartEnd(0),
              Stopped(Stop.TOOL_CALLS), End()]  # fmt: skip
    sent = wire(encoded(events, tools=[{"type": "custom", "name": "patch"}]))
    assert [event["type"] for event in sent[2:-1]] == [
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
    ]
    assert sent[3]["delta"] == sent[4]["input"] == sent[5]["item"]["input"] == "*** Begin"


def test_a_call_without_arguments_has_an_empty_object() -> None:
    reply = Reply(parts=(ToolCall("c1", "f", ""),), stop=Stop.TOOL_CALLS)
    with sdk(encoded(events_of(reply))) as client, client.responses.stream(model="smart", input="Hi") as stream:
        [item] = stream.get_final_response().output
    assert item.arguments == "{}"


def test_a_thought_signature_of_a_call_follows_it() -> None:
    thought = Signature("abc", "gemini", Origin("google", "g"))
    events = [Begin(), PartBegin(0, ToolCall("c1", "f", "{}")), Signed(0, thought), PartEnd(0),
              Stopped(Stop.TOOL_CALLS), End()]  # fmt: skip
    output = wire(encoded(events))[-1]["response"]["output"]
    [back] = dialect.decode_messages([json.dumps(item).encode() for item in output])
    assert back.parts == (ToolCall("c1", "f", "{}", signature=thought),)


def test_what_only_another_vendor_can_say_is_left_out_and_pictures_are_not() -> None:
    foreign = Opaque("anthropic", "server_tool_use", Raw(b"{}"))
    reply = Reply(parts=(Text("a"), foreign, Image(media_type="image/png", data="AA=="), Text("b")), stop=Stop.END)
    output = wire(encoded(events_of(reply)))[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "image_generation_call", "message"]
    assert len({item["id"] for item in output}) == 3


def test_a_part_that_nobody_ended_is_ended_with_the_stream() -> None:
    events = [Begin(), PartBegin(0, Text("Hi")), Stopped(Stop.END), End()]
    output = wire(encoded(events))[-1]["response"]["output"]
    assert output[0]["content"][0]["text"] == "Hi"


def test_an_error_ends_the_stream_for_every_kind_of_client() -> None:
    encoder = dialect.reply_encoder(head())
    error = UpstreamError(Kind.RATE_LIMITED, "Too fast.")
    stream = b"".join(encoder.encode(event) for event in TALK[:8]) + encoder.error(error)
    assert encoder.encode(End()) == encoder.error(error) == b""
    plain, failed = wire(stream)[-2:]
    assert (plain["type"], plain["code"], plain["message"]) == ("error", "rate_limit_exceeded", "Too fast.")
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "Too fast."}
    with sdk(stream) as client, pytest.raises(APIError, match=r"Too fast\."):
        list(client.responses.create(model="smart", input="Hi", stream=True))
    [*_, seen] = dialect.reply_decoder(HERE).feed(stream)
    assert isinstance(seen, Failed)
    assert seen.error.kind is Kind.RATE_LIMITED


def test_an_error_may_be_all_there_is() -> None:
    encoder = dialect.reply_encoder(head())
    stream = encoder.encode(Failed(UpstreamError(Kind.BAD_GATEWAY, "Gone.")))
    assert [event["type"] for event in wire(stream)] == ["error", "response.failed"]
    reject = dialect.reply_encoder(head()).error(GatewayError(Kind.UNAVAILABLE, "Not saved."))
    assert wire(reject)[1]["response"]["error"]["code"] == "server_error"
