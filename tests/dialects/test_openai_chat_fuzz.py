"""Whatever comes in, only the errors of the tree come out."""

import contextlib
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.conversation import Origin
from gateway.dialects import openai_chat as chat
from gateway.dialects.dialect import ReplyHead
from gateway.errors import GatewayError, UpstreamError

ORIGIN = Origin("main", "gpt-5")
NAMES = st.sampled_from(
    [
        "role", "content", "type", "text", "image_url", "url", "input_audio", "file", "file_data", "tool_calls", "id",
        "function", "name", "arguments", "custom", "tool_call_id", "reasoning_content", "reasoning_details", "data",
        "signature", "index", "delta", "message", "choices", "usage", "prompt_tokens", "finish_reason", "error",
        "extra_content", "google", "thought_signature", "thinking", "function_call", "audio", "images", "refusal",
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    ["", "user", "assistant", "tool", "function", "text", "thinking", "file", "custom", "stop", "Z"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=6)
MESSAGES = st.lists(
    OBJECTS | st.builds(lambda o: {"role": "assistant", "content": None} | o, OBJECTS), min_size=1, max_size=3
)
MEMBERS = st.dictionaries(
    st.sampled_from(
        [
            "tools", "tool_choice", "functions", "function_call", "response_format", "reasoning", "thinking", "stop",
            "reasoning_effort", "max_tokens", "temperature", "stream_options", "stream", "user", "seed",
        ]
    ),
    JSON,
    max_size=4,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(MESSAGES, MEMBERS)
def test_no_request_breaks_the_decoder(messages: list[dict[str, Any]], members: dict[str, Any]) -> None:
    body = msgspec.json.encode({"model": "m", "messages": messages, **members})
    with contextlib.suppress(GatewayError):
        request = chat.open_request(body)
        with contextlib.suppress(GatewayError):
            chat.splice(request, model="n", messages=[])
        prompt = chat.decode_prompt(request)
        chat.decode_prompt(chat.open_request(chat.encode_prompt(prompt, ORIGIN, (b'{"role":"user"}',)).body))


@settings(max_examples=80, deadline=None)
@given(st.lists(OBJECTS | st.builds(lambda o: {"choices": [{"delta": o}]}, OBJECTS), max_size=4), st.integers(1, 50))
def test_no_stream_breaks_the_decoder(chunks: list[Any], size: int) -> None:
    stream = b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks)
    decoder = chat.reply_decoder(ORIGIN)
    encoder = chat.reply_encoder(ReplyHead("1", 0, chat.open_request(b'{"model":"m","messages":[{}]}')))
    for i in range(0, len(stream), size):
        for event in decoder.feed(stream[i : i + size]):
            encoder.encode(event)
    with contextlib.suppress(UpstreamError):
        decoder.close()


@settings(max_examples=80, deadline=None)
@given(st.builds(lambda o: {"choices": [{"message": o}]}, OBJECTS) | OBJECTS)
def test_no_reply_breaks_the_decoder(body: dict[str, Any]) -> None:
    raw = msgspec.json.encode(body)
    with contextlib.suppress(UpstreamError):
        chat.decode_reply(raw, ORIGIN)
    assert isinstance(chat.decode_error(500, raw), UpstreamError)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_break_anything(body: bytes) -> None:
    with contextlib.suppress(GatewayError):
        chat.open_request(body)
    with contextlib.suppress(UpstreamError):
        chat.decode_reply(body, ORIGIN)
    chat.encode_error(chat.decode_error(500, body), "")
    decoder = chat.reply_decoder(ORIGIN)
    decoder.feed(b"data: " + body + b"\n\n")
    with contextlib.suppress(UpstreamError):
        decoder.close()
