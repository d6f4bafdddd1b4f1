"""Whatever comes in: a client's nonsense is a 400, a provider's nonsense a 502, and nothing else is raised."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.conversation import Message, Origin, Text
from gateway.dialects import gemini
from gateway.errors import GatewayError, Kind, UpstreamError

NEW = Origin("google", "gemini-3.1-pro")

NAMES = [
    "contents", "parts", "role", "text", "thought", "thoughtSignature", "functionCall", "function_call",
    "functionResponse", "response", "name", "id", "args", "inlineData", "fileData", "mimeType", "data",
    "fileUri", "partMetadata", "gateway", "redacted", "systemInstruction", "tools", "parameters", "items",
    "functionDeclarations", "parametersJsonSchema", "properties", "type", "anyOf", "any_of", "$ref", "$defs",
    "definitions", "nullable", "enum", "required", "propertyOrdering", "toolConfig", "functionCallingConfig",
    "mode", "allowedFunctionNames", "generationConfig", "thinkingConfig", "thinkingBudget", "thinkingLevel",
    "responseSchema", "responseJsonSchema", "responseMimeType", "stopSequences", "topK", "seed",
    "candidates", "content", "finishReason", "index", "promptFeedback", "blockReason", "usageMetadata",
    "promptTokenCount", "error", "code", "message", "details", "executableCode",
]  # fmt: skip

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = scalars | st.sampled_from(["user", "model", "OBJECT", "ANY", "STOP", "#/$defs/a", "", "aGk=", "[", "\x00"])
anything = st.recursive(
    values,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=5),
    max_leaves=8,
)
parts = st.dictionaries(st.sampled_from(NAMES[3:20]), anything, max_size=4)
contents = st.fixed_dictionaries({"role": st.sampled_from(["user", "model"]), "parts": st.lists(parts, max_size=4)})
bodies = st.fixed_dictionaries(
    {"contents": st.lists(contents, max_size=4) | anything},
    optional=dict.fromkeys(("systemInstruction", "tools", "toolConfig", "generationConfig", "other"), anything),
)
chunks = st.fixed_dictionaries(
    {
        "candidates": st.lists(
            st.fixed_dictionaries({"content": contents}, optional={"finishReason": values}), max_size=2
        )
    },
    optional=dict.fromkeys(("error", "usageMetadata", "promptFeedback", "responseId"), anything),
)


@settings(max_examples=60, deadline=None)
@given(bodies)
def test_a_clients_nonsense_is_a_bad_request(body: dict) -> None:
    refused: list[Kind] = []
    try:
        request = gemini.open_request(json.dumps(body).encode(), model="m")
        spoken = gemini.spoken(request)
        prompt = gemini.decode_prompt(request)
    except GatewayError as error:
        refused.append(error.kind)
    if refused:
        assert refused == [Kind.INVALID]
        return
    assert gemini.decode_messages(spoken.messages) == prompt.messages
    assert gemini.decode_system(spoken.system) == prompt.system
    assert gemini.decode_tools(spoken.tools) == prompt.tools
    json.loads(gemini.encode_prompt(prompt, NEW).body)
    json.loads(gemini.splice(request, model="m"))


@settings(max_examples=60, deadline=None)
@given(st.lists(chunks | anything, max_size=3))
def test_a_providers_nonsense_is_a_bad_gateway(stream: list) -> None:
    with suppress(UpstreamError):
        decoder = gemini.reply_decoder(NEW)
        for each in stream:
            decoder.feed(b"data: " + json.dumps(each).encode() + b"\n\n")
        decoder.close()
    for each in stream:
        with suppress(UpstreamError):
            reply = gemini.decode_reply(json.dumps(each).encode(), NEW)
            gemini.encode_messages([Message("assistant", reply.parts)], NEW)
            assert gemini.decode_messages(reply.said) is not None


@settings(max_examples=50, deadline=None)
@given(
    st.integers(100, 599), st.binary(max_size=60) | anything.map(lambda value: json.dumps({"error": value}).encode())
)
def test_any_error_answer_can_be_passed_on(status: int, body: bytes) -> None:
    error = gemini.decode_error(status, body)
    assert error.message
    json.loads(gemini.encode_error(error, "r"))


def test_bad_utf_8_is_found_where_it_is_read() -> None:
    content = b'{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":"\xff"}}}]}'
    with pytest.raises(GatewayError) as caught:
        gemini.decode_prompt(gemini.open_request(b'{"contents":[' + content + b"]}", model="m"))
    assert (caught.value.kind, caught.value.param) == (Kind.INVALID, "contents[0].parts[0].functionCall.args")
    with pytest.raises(UpstreamError):
        gemini.decode_reply(b'{"candidates":[{"content":' + content + b"}]}", NEW)
    with pytest.raises(UpstreamError):
        gemini.reply_decoder(NEW).feed(b'data: {"candidates":[{"content":' + content + b"}]}\n\n")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_survives(first: str, second: str) -> None:
    with suppress(UnicodeEncodeError):
        said = gemini.encode_messages([Message("user", (Text(first), Text(second)))], NEW).messages
        expected = tuple(Text(text) for text in (first, second) if text)
        assert gemini.decode_messages(said) == ((Message("user", expected),) if expected else ())
