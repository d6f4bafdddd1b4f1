"""The filter that keeps token counts from a client that did not ask for them."""

from typing import Any

import msgspec
import pytest

from gateway.dialects import openai_chat as chat
from gateway.dialects.dialect import Request

COUNT = b'data: {"id":"x","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":1,"x":2}}\n\n'
SPACED = b'data: {"usage": {"prompt_tokens": 1}, "choices": [ ] }\n\n'
HEAD = b': hi\n\ndata: {"choices":[{"index":0,"delta":{"content":"\\"prompt_tokens\\" \xc3\xa9"}}],"usage":null}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\n'
FILTERED = b'data: {"choices":[],"prompt_filter_results":[{"x":"prompt_tokens"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def request_of(**members: Any) -> Request:
    return chat.open_request(msgspec.json.encode({"model": "m", "messages": [{}], **members}))


def filtered(*pieces: bytes) -> bytes:
    relay = chat.relay_filter(request_of(stream=True))
    assert relay is not None
    return b"".join(relay.feed(piece) for piece in pieces) + relay.close()


STREAM = FILTERED + HEAD + LAST + COUNT + SPACED + DONE
KEPT = FILTERED + HEAD + LAST + DONE


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_the_counts_are_taken_out_exactly_wherever_the_bytes_are_split(newline: bytes) -> None:
    stream, kept = STREAM.replace(b"\n", newline), KEPT.replace(b"\n", newline)
    assert filtered(stream) == kept
    assert filtered(*(stream[i : i + 1] for i in range(len(stream)))) == kept
    for cut in range(len(stream)):
        assert filtered(stream[:cut], stream[cut:]) == kept


def test_a_stream_that_ends_with_the_counts_ends_without_them() -> None:
    assert filtered(HEAD + COUNT.rstrip(b"\n")) == HEAD


def test_a_stream_that_is_cut_is_passed_on_to_its_last_byte() -> None:
    assert filtered(HEAD + LAST[:20]) == HEAD + LAST[:20]


def test_complete_events_are_not_held_back() -> None:
    relay = chat.relay_filter(request_of(stream=True))
    assert relay is not None
    assert relay.feed(HEAD + DONE[:5]) == HEAD
    assert relay.feed(DONE[5:]) == DONE


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[],"usage":{"prompt_tokens":1},"error":{"message":"x"}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1},"moderation":{}}\n\n',
        b'data: {"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens"\n\n',
        b': "prompt_tokens"\n\n',
    ],
)
def test_other_events_are_kept_even_if_they_speak_of_counts(event: bytes) -> None:
    assert filtered(HEAD + event + DONE) == HEAD + event + DONE


def test_nothing_is_taken_out_where_the_client_asked_or_nothing_is_streamed() -> None:
    assert chat.relay_filter(request_of(stream=True, stream_options={"include_usage": True})) is None
    assert chat.relay_filter(request_of()) is None
    assert chat.relay_filter(request_of(stream=True, stream_options={"include_usage": False})) is not None
