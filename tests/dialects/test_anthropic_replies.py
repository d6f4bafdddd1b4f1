import json

import pytest
from msgspec import Raw

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
)
from gateway.errors import Kind, UpstreamError
from tests.dialects.anthropic_sdk import ANTHROPIC, OLD, checked, head, parsed

WHOLE = json.dumps(
    {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "Sig=="},
            {"type": "redacted_thinking", "data": "Data=="},
            {"type": "text", "text": "", "citations": None},
            {"type": "text", "text": "Two cities.", "citations": None},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"z": 1152921504606846976, "a": 1}},
            {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {}, "caller": {"type": "direct"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 200,
            "cache_read_input_tokens": 3000,
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 20},
            "service_tier": "standard",
        },
    },
    separators=(",", ":"),
).encode()


def body(**members) -> bytes:
    return json.dumps({**json.loads(WHOLE), **members}).encode()


def test_a_whole_reply_is_decoded():
    reply = ANTHROPIC.decode_reply(WHOLE, OLD)
    assert reply.parts == (
        Reasoning(text="Hm.", signature=Signature("Sig==", "anthropic", OLD)),
        Reasoning(signature=Signature("Data==", "anthropic", OLD), redacted=True),
        Text("Two cities."),
        ToolCall(id="toolu_1", name="weather", arguments='{"z":1152921504606846976,"a":1}'),
        ToolCall(id="toolu_2", name="weather", arguments="{}"),
    )
    assert (reply.id, reply.model, reply.stop) == ("msg_01", "claude-sonnet-4-5-20250929", Stop.TOOL_CALLS)
    assert reply.usage == Usage(input=3210, output=50, cached=3000, cache_write=200, reasoning=20)


def test_what_was_said_can_be_sent_back():
    (said,) = ANTHROPIC.decode_reply(WHOLE, OLD).said
    content = json.loads(said)["content"]
    assert content[2] == {"type": "text", "text": "Two cities."}
    assert b'{"type":"tool_use","id":"toolu_1","name":"weather","input":{"z":1152921504606846976,"a":1}}' in said
    assert content[4]["caller"] == {"type": "direct"}
    checked(b'{"model":"m","max_tokens":1,"messages":[' + said + b"]}")
    assert ANTHROPIC.decode_messages([said], OLD)[0].parts == ANTHROPIC.decode_reply(WHOLE, OLD).parts


def test_a_reply_of_nothing_says_nothing():
    assert ANTHROPIC.decode_reply(body(content=[]), OLD).said == ()


def test_unknown_members_and_blocks_stay_in_what_was_said():
    block = {"type": "hologram", "beam": [1152921504606846976], "off": None, "deep": {"kept": None}}
    reply = ANTHROPIC.decode_reply(body(content=[block]), OLD)
    assert json.loads(reply.said[0])["content"] == [
        {"type": "hologram", "beam": [1152921504606846976], "deep": {"kept": None}}
    ]
    (part,) = reply.parts
    assert isinstance(part, Opaque)
    assert (part.dialect, part.kind) == ("anthropic", "hologram")


REASONS = {
    "end_turn": Stop.END,
    "max_tokens": Stop.LENGTH,
    "stop_sequence": Stop.STOP_SEQUENCE,
    "tool_use": Stop.TOOL_CALLS,
    "pause_turn": Stop.PAUSED,
    "refusal": Stop.REFUSED,
    "model_context_window_exceeded": Stop.CONTEXT,
}


@pytest.mark.parametrize(("reason", "stop"), REASONS.items())
def test_every_reason_to_stop_goes_both_ways(reason, stop):
    assert ANTHROPIC.decode_reply(body(stop_reason=reason), OLD).stop is stop
    assert parsed(ANTHROPIC.encode_reply(Reply(stop=stop), head())).stop_reason == reason


def test_a_new_reason_is_an_end_and_what_was_filtered_is_refused():
    assert ANTHROPIC.decode_reply(body(stop_reason="bored"), OLD).stop is Stop.END
    assert parsed(ANTHROPIC.encode_reply(Reply(stop=Stop.FILTERED), head())).stop_reason == "refusal"


def test_the_sequence_that_stopped_goes_both_ways():
    reply = ANTHROPIC.decode_reply(body(stop_reason="stop_sequence", stop_sequence="END"), OLD)
    assert reply.stop_sequence == "END"
    assert parsed(ANTHROPIC.encode_reply(reply, head())).stop_sequence == "END"


def test_usage_goes_both_ways_without_a_difference():
    usage = Usage(input=3210, output=50, cached=3000, cache_write=200, reasoning=20)
    wire = parsed(ANTHROPIC.encode_reply(Reply(usage=usage), head())).usage
    assert (wire.input_tokens, wire.cache_read_input_tokens, wire.cache_creation_input_tokens) == (10, 3000, 200)
    assert (wire.output_tokens, wire.output_tokens_details.thinking_tokens) == (50, 20)
    again = ANTHROPIC.decode_reply(ANTHROPIC.encode_reply(Reply(usage=usage), head()), OLD)
    assert again.usage == usage


def test_the_sdk_reads_a_reply_of_any_provider():
    foreign = Signature("sig", "gemini", Origin("google", "g"))
    parts = (
        Reasoning(text="Hm.", signature=foreign),
        Text("Hello"),
        Refusal("No."),
        Text(""),
        Image(data="iVBO"),
        Opaque(dialect="gemini", kind="code", raw=Raw(b"{}")),
        ToolCall(id="c1", name="f", arguments='{"a": 1152921504606846976}'),
        ToolCall(id="c2", name="g", arguments=""),
        ToolCall(id="c3", name="patch", arguments="free text", custom=True),
        ToolCall(id="c4", name="g", arguments="{broken"),
    )
    message = parsed(ANTHROPIC.encode_reply(Reply(parts=parts, stop=Stop.TOOL_CALLS, model="gemini-x"), head()))
    assert (message.id, message.model, message.role, message.type) == (
        "msg_0123abcd",
        "gemini-x",
        "assistant",
        "message",
    )
    assert [block.type for block in message.content] == ["thinking", "text", "text", *["tool_use"] * 4]
    assert [block.input for block in message.content[3:]] == [
        {"a": 1152921504606846976},
        {},
        {"input": "free text"},
        {"input": "{broken"},
    ]


def test_a_reply_without_a_model_has_the_one_that_was_asked_for():
    assert parsed(ANTHROPIC.encode_reply(Reply(), head(model="alias"))).model == "alias"


def test_every_member_that_clients_know_is_there():
    message = json.loads(ANTHROPIC.encode_reply(Reply(parts=(Text("x"),)), head()))
    assert message.keys() >= {"stop_details", "container", "stop_sequence", "usage"}
    assert message["usage"].keys() >= {"cache_creation", "server_tool_use", "service_tier", "inference_geo"}


def test_own_replies_come_back_with_citations_and_their_own_signatures():
    cited = {
        "type": "char_location",
        "cited_text": "x",
        "document_index": 0,
        "start_char_index": 0,
        "end_char_index": 1,
    }
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "Sig"},
        {"type": "redacted_thinking", "data": "Data"},
        {"type": "text", "text": "Seen.", "citations": [{**cited, "document_title": None}]},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "x"}},
    ]
    reply = ANTHROPIC.decode_reply(body(content=content), OLD)
    assert json.loads(ANTHROPIC.encode_reply(reply, head()))["content"] == content
    assert [block.type for block in parsed(ANTHROPIC.encode_reply(reply, head())).content][-1] == "server_tool_use"


@pytest.mark.parametrize(
    "bad", [b"", b"<html>", b"[]", b'{"content":7}', b'{"content":[{"type":"text"}]}', b'{"content":[7]}', WHOLE[:-30]]
)
def test_a_reply_that_cannot_be_read_is_the_providers_fault(bad):
    with pytest.raises(UpstreamError) as caught:
        ANTHROPIC.decode_reply(bad, OLD)
    assert caught.value.kind is Kind.BAD_GATEWAY


def test_an_error_with_status_200_is_an_error():
    with pytest.raises(UpstreamError) as caught:
        ANTHROPIC.decode_reply(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', OLD)
    assert (caught.value.kind, caught.value.code) == (Kind.UNAVAILABLE, "overloaded_error")
