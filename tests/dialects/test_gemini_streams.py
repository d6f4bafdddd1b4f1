"""Streamed replies: read at any split, written as Google's SDK and others read them."""

import json

import pytest
from google.genai import types

from gateway.ask import Passage
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
)
from gateway.dialects import gemini
from gateway.dialects.dialect import ReplyHead
from gateway.errors import GatewayError, Kind, UpstreamError
from tests.dialects.streams import Streams, built

NEW = Origin("google", "gemini-3.1-pro")
OTHER = Origin("claude", "c")


def chunk(*parts: dict, reason: str | None = None, usage: dict | None = None, **more) -> dict:
    candidate: dict = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    whole: dict = {"candidates": [candidate | ({"finishReason": reason} if reason else {})]}
    if usage is not None:
        whole["usageMetadata"] = usage
    return whole | {"modelVersion": "gemini-3.1-pro-001", "responseId": "r1"} | more


def sse(*chunks: dict, newline: str = "\r\n") -> bytes:
    return b"".join(f"data: {json.dumps(each)}{newline}{newline}".encode() for each in chunks)


STREAM = sse(
    chunk({"text": "Let me", "thought": True}, usage={"promptTokenCount": 9}),
    chunk({"text": " think \u2028 grün", "thought": True}),
    chunk({"text": "Hel"}, usage={"promptTokenCount": 9, "candidatesTokenCount": 1}),
    chunk(
        {"text": "lo"}, {"functionCall": {"name": "f", "args": {"n": 1152921504606846977}}, "thoughtSignature": "c2ln"}
    ),
    chunk({"functionCall": {"name": "g", "args": {}, "id": "own"}}),
    chunk(
        {"text": ""},
        reason="STOP",
        usage={"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 7, "totalTokenCount": 21},
    ),
)


STREAMS = Streams(gemini, NEW)
events = STREAMS.decoded


# ---------------------------------------------------------------- decoding


def test_a_stream_with_everything_is_read() -> None:
    found = events(STREAM)
    call = found[9].part
    assert call.id.startswith("call_")
    assert found == [
        Begin("r1", "gemini-3.1-pro-001", Usage(input=9)),
        PartBegin(0, Reasoning(summary=True)),
        Delta(0, "Let me"),
        Delta(0, " think \u2028 grün"),
        PartEnd(0),
        PartBegin(1, Text("")),
        Delta(1, "Hel"),
        Delta(1, "lo"),
        PartEnd(1),
        PartBegin(2, ToolCall(call.id, "f", "", signature=Signature("c2ln", "gemini", NEW))),
        Delta(2, '{"n":1152921504606846977}'),
        PartEnd(2),
        PartBegin(3, ToolCall("own", "g", "")),
        Delta(3, "{}"),
        PartEnd(3),
        Stopped(Stop.TOOL_CALLS),
        Spent(Usage(input=9, output=12, reasoning=7)),
        End(),
    ]


def test_the_split_of_the_bytes_does_not_matter() -> None:
    STREAMS.must_not_depend_on_the_split(STREAM)


def test_a_stream_and_a_whole_reply_say_the_same() -> None:
    streamed = built(events(STREAM))
    whole = chunk(
        {"text": "Let me think \u2028 grün", "thought": True},
        {"text": "Hello"},
        {"functionCall": {"name": "f", "args": {"n": 1152921504606846977}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "g", "args": {}, "id": "own"}},
        reason="STOP",
        usage={"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 7},
    )
    reply = gemini.decode_reply(json.dumps(whole).encode(), NEW)
    assert streamed.parts == reply.parts
    assert (streamed.stop, streamed.usage) == (reply.stop, reply.usage)
    again = gemini.encode_messages([Message("assistant", streamed.parts)], NEW).messages
    assert [json.loads(each) for each in again] == [json.loads(each) for each in reply.said]


def test_text_is_signed_by_the_piece_that_follows_it() -> None:
    data = sse(
        chunk({"text": "Hi"}), chunk({"text": "", "thoughtSignature": "c2ln"}), chunk({"text": "more"}, reason="STOP")
    )
    assert built(events(data)).parts == (Text("Hi", Signature("c2ln", "gemini", NEW)), Text("more"))


def test_a_signature_alone_is_kept() -> None:
    data = sse(chunk({"functionCall": {"name": "f"}}), chunk({"thoughtSignature": "c2ln"}, reason="STOP"))
    assert built(events(data)).parts[1] == Text("", Signature("c2ln", "gemini", NEW))


def test_other_parts_come_whole_and_can_go_back() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "c2ln"}
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    reply = built(events(sse(chunk({"text": "see"}, code, image, reason="STOP"))))
    assert isinstance(reply.parts[1], Opaque)
    assert reply.parts[2] == Image(media_type="image/png", data="aGk=")
    (said,) = gemini.encode_messages([Message("assistant", reply.parts)], NEW).messages
    assert json.loads(said)["parts"] == [{"text": "see"}, code, image]


def test_a_blocked_prompt_is_a_filtered_reply() -> None:
    data = sse({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}})
    assert events(data)[1:] == [Stopped(Stop.FILTERED), Spent(Usage(input=3)), End()]


def test_what_comes_after_the_reason_only_counts_tokens() -> None:
    late = {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}}
    found = events(sse(chunk({"text": "x"}, reason="MAX_TOKENS"), chunk({"text": "late"}), late))
    assert found[-3:] == [Stopped(Stop.LENGTH), Spent(Usage(input=1, output=2)), End()]


@pytest.mark.parametrize(
    "odd",
    [
        b": keep-alive\n\n",
        b"event: ping\ndata: {}\n\n",
        b"data: [DONE]\n\n",
        b"data: 5\n\n",
        b'data: {"new":1,"candidates":[{"index":1,"content":{"parts":[{"text":"no"}]},"finishReason":"STOP"}]}\n\n',
        b'data: {"candidates":[{"content":{}}]}\n\n',
        b'data: {"candidates":[{"content":{"parts":[5,{"text":7},{},{"functionCall":{}}]}}]}\n\n',
        b'data: {"candidates":[{"finishReason":"FINISH_REASON_UNSPECIFIED"}],"error":null}\n\n',
    ],
)
def test_odd_events_change_nothing(odd: bytes) -> None:
    usual = sse(chunk({"text": "a"}), chunk({"text": "b"}, reason="STOP"))
    first, second = usual.split(b"\r\n\r\n", 1)
    assert events(first + b"\r\n\r\n" + odd + second) == events(usual)


def test_a_last_event_without_its_blank_line_counts() -> None:
    assert events(STREAM.rstrip()) == events(STREAM)


@pytest.mark.parametrize(
    "data", [b"", b": keep-alive\n\n", sse(chunk({"text": "x"})), STREAM[:-200], b"<html>Bad gateway</html>"]
)
def test_a_stream_without_a_reason_was_cut(data: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        events(data)
    assert caught.value.kind is Kind.BAD_GATEWAY
    assert "ended before it was complete" in caught.value.message


def test_garbage_behind_a_finished_reply_does_no_harm() -> None:
    assert events(STREAM + b'data: {"half') == events(STREAM)


@pytest.mark.parametrize("data", [b"data: {nonsense}\n\n", b'data: {"candidates":"text"}\n\n'])
def test_an_event_that_is_no_reply_is_the_providers_fault(data: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        gemini.reply_decoder(NEW).feed(data)
    assert caught.value.kind is Kind.BAD_GATEWAY


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


def test_an_error_inside_the_stream_ends_it() -> None:
    found = events(sse(chunk({"text": "x"}), ERROR, chunk({"text": "y"}, reason="STOP")))
    failed = found[-1]
    assert isinstance(failed, Failed)
    assert (failed.error.kind, failed.error.message) == (Kind.UNAVAILABLE, "The model is overloaded.")
    assert failed.error.answer is not None
    assert (failed.error.answer.dialect, failed.error.answer.status) == ("gemini", 503)
    assert json.loads(failed.error.answer.body) == ERROR


@pytest.mark.parametrize("body", [ERROR, [ERROR]])
@pytest.mark.parametrize("size", [1, 4096])
def test_an_error_in_place_of_a_stream_is_seen(body: object, size: int) -> None:
    (failed,) = STREAMS.in_pieces(json.dumps(body, indent=2).encode(), size)
    assert isinstance(failed, Failed)
    assert failed.error.kind is Kind.UNAVAILABLE


def test_a_provider_that_answers_with_an_array_is_understood() -> None:
    array = [chunk({"text": "a"}), chunk({"text": "b"}, reason="STOP")]
    assert events(json.dumps(array, indent=1).encode()) == events(sse(*array))


# ---------------------------------------------------------------- encoding


def head(query: str = "sse") -> ReplyHead:
    request = gemini.open_request(b'{"contents":[]}', model="asked", stream=True, query=query)
    return ReplyHead("ab12", 1700000000, request)


def written(found: list[Event], query: str = "sse") -> bytes:
    encoder = gemini.reply_encoder(head(query))
    return b"".join(encoder.encode(event) for event in found)


def chunks(data: bytes) -> list[dict]:
    blocks = data.split(b"\n\n")
    assert blocks.pop() == b""
    return [json.loads(block.removeprefix(b"data: ")) for block in blocks]


REPLY = Reply(
    id="x",
    model="claude-sonnet-4-5",
    parts=(
        Reasoning("hm", Signature("sig", "anthropic", OTHER)),
        Text("Hello"),
        ToolCall("t1", "f", '{"a":\n1}'),
        ToolCall("t2", "g", ""),
        Refusal("No."),
    ),
    stop=Stop.TOOL_CALLS,
    usage=Usage(input=5, output=4, cached=2, reasoning=1),
)


def test_every_event_is_a_response_of_googles() -> None:
    found = chunks(written(events_of(REPLY)))
    responses = [types.GenerateContentResponse.model_validate(each) for each in found]
    assert {each.response_id for each in responses} == {"ab12"}
    assert {each.model_version for each in responses} == {"claude-sonnet-4-5"}
    assert "".join(each.text or "" for each in responses) == "HelloNo."
    calls = [call for each in responses for call in each.function_calls or ()]
    assert [(call.id, call.name, call.args) for call in calls] == [("t1", "f", {"a": 1}), ("t2", "g", {})]
    assert [bool(each.candidates[0].finish_reason) for each in responses] == [False] * (len(found) - 1) + [True]
    last = responses[-1]
    assert last.candidates[0].content.parts == [types.Part(text="")]
    assert last.usage_metadata.total_token_count == 9


def test_a_reply_survives_being_written_and_read() -> None:
    own = Reply(
        model="gemini-3.1-pro",
        parts=(
            Reasoning("hm", Signature("YQ==", "gemini", NEW), summary=True),
            Text("Hello", Signature("Yg==", "gemini", NEW)),
            ToolCall("t1", "f", '{"a":1}', signature=Signature("Yw==", "gemini", NEW)),
            Image(media_type="image/png", data="aGk="),
        ),
        stop=Stop.TOOL_CALLS,
        usage=Usage(input=5, output=4, cached=2, reasoning=1),
    )
    again = built(events(written(events_of(own))))
    assert (again.parts, again.stop, again.usage) == (own.parts, own.stop, own.usage)


def test_foreign_thinking_of_a_stream_comes_back_whole() -> None:
    redacted = Reasoning("", Signature("enc", "anthropic", OTHER), redacted=True)
    found = chunks(written(events_of(Reply(parts=(*REPLY.parts[:2], redacted), stop=Stop.END))))
    contents = [json.dumps(each["candidates"][0]["content"]).encode() for each in found]
    assert gemini.decode_messages(contents) == (Message("assistant", (*REPLY.parts[:2], redacted)),)


def test_arguments_in_many_pieces_are_one_call() -> None:
    found: list[Event] = [
        Begin("x", "m"),
        PartBegin(0, ToolCall("t", "f", "")),
        *(Delta(0, piece) for piece in ('{"a"', ":", "1}")),
        PartEnd(0),
        Stopped(Stop.TOOL_CALLS),
        End(),
    ]
    first = chunks(written(found))[0]
    assert first["candidates"][0]["content"]["parts"] == [{"functionCall": {"id": "t", "name": "f", "args": {"a": 1}}}]


def test_parts_that_begin_complete_are_complete() -> None:
    signature = Signature("Yg==", "gemini", NEW)
    found: list[Event] = [
        PartBegin(0, Text("whole", signature)),
        PartEnd(0),
        PartBegin(1, ToolCall("t", "f", '{"a":1}')),
        Signed(1, signature),
        PartEnd(1),
        PartBegin(2, Opaque("anthropic", "x", b"{}")),
        PartEnd(2),
        End(),
    ]
    parts = [part for each in chunks(written(found)) for part in each["candidates"][0]["content"]["parts"]]
    assert parts == [
        {"text": "whole"},
        {"text": "", "thoughtSignature": "Yg=="},
        {"functionCall": {"id": "t", "name": "f", "args": {"a": 1}}, "thoughtSignature": "Yg=="},
        {"text": ""},
    ]


def test_without_events_asked_for_a_stream_is_an_array() -> None:
    array = json.loads(written(events_of(REPLY), query=""))
    assert array == chunks(written(events_of(REPLY)))
    assert (
        json.loads(written([Stopped(Stop.FILTERED), End()], query=""))[0]["candidates"][0]["finishReason"] == "SAFETY"
    )


@pytest.mark.parametrize("said", [True, False])
def test_an_error_ends_a_stream_in_its_framing(*, said: bool) -> None:
    error = GatewayError(Kind.TIMEOUT, "Too slow.")
    begun = [PartBegin(0, Text("")), Delta(0, "Hi")] if said else []
    as_events, as_array = gemini.reply_encoder(head()), gemini.reply_encoder(head(""))
    sent = b"".join(as_events.encode(event) for event in begun) + as_events.error(error)
    assert chunks(sent)[-1]["error"]["status"] == "DEADLINE_EXCEEDED"
    array = json.loads(b"".join(as_array.encode(event) for event in begun) + as_array.error(error))
    assert array == chunks(sent)


def test_a_providers_error_of_many_lines_is_one_event() -> None:
    error = gemini.decode_error(503, json.dumps(ERROR, indent=2).encode())
    assert chunks(gemini.reply_encoder(head()).error(error)) == [ERROR]


# ---------------------------------------------------------------- verbatim


def test_a_verbatim_stream_is_filtered_only_where_an_array_was_asked_for() -> None:
    assert gemini.relay_filter(head().request) is None
    assert gemini.relay_filter(gemini.open_request(b'{"contents":[]}', model="m")) is None


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_a_verbatim_stream_becomes_the_array_that_was_asked_for(size: int) -> None:
    relay = gemini.relay_filter(head("").request)
    assert relay is not None
    pieces = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    array = b"".join(relay.feed(piece) for piece in pieces) + relay.close()
    assert json.loads(array) == [json.loads(each.removeprefix(b"data: ")) for each in STREAM.split(b"\r\n\r\n") if each]


def test_an_empty_verbatim_stream_is_an_empty_array() -> None:
    relay = gemini.relay_filter(head("").request)
    assert relay is not None
    assert json.loads(relay.feed(b"") + relay.close()) == []


def test_a_failing_stream_of_an_array_is_still_an_array() -> None:
    request = gemini.open_request(b'{"contents":[]}', model="m", stream=True)
    passage = Passage(None, gemini.relay_filter(request))
    out = passage.carry(b'data: {"a":1}\r\n\r\ndata: {"b":', [])
    error = UpstreamError(Kind.BAD_GATEWAY, "It broke.")
    out += passage.fail(error, gemini.reply_encoder(ReplyHead("0", 1, request)))
    first, last = json.loads(out)
    assert (first, last["error"]["message"]) == ({"a": 1}, "It broke.")
