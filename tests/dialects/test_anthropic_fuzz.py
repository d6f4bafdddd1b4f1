"""Nothing but the errors that are promised, whatever the bytes."""

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.conversation import End, Failed, ReplyBuilder, events_of
from gateway.errors import GatewayError, UpstreamError
from tests.dialects.anthropic_sdk import ANTHROPIC, NEW, OLD, head
from tests.dialects.test_anthropic_replies import WHOLE
from tests.dialects.test_anthropic_streams import SEARCH, TEXT, TOOLS

REQUEST: dict[str, Any] = {
    "model": "m",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "S"}],
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image", "source": {"type": "base64", "media_type": "x", "data": "eA=="}}],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "t"}]}],
        },
        {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": "d"}, "title": "n"}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}],
    "tool_choice": {"type": "tool", "name": "f"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "string"}}},
    "stop_sequences": ["x"],
    "temperature": 1,
    "metadata": {"user_id": "u"},
}
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
)


@st.composite
def mutated(draw, tree: Any = REQUEST) -> Any:
    """The request with one place changed."""
    if isinstance(tree, dict | list) and tree and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(list(tree) if isinstance(tree, dict) else range(len(tree))))
        copy = tree.copy()
        copy[key] = draw(mutated(tree[key]))
        return copy
    return draw(LEAVES)


@given(mutated())
@settings(max_examples=400, deadline=None)
def test_a_request_with_anything_in_any_place_is_taken_or_refused(tree):
    with contextlib.suppress(GatewayError):
        request = ANTHROPIC.open_request(json.dumps(tree).encode())
        ANTHROPIC.splice(request, model="x")
        prompt = ANTHROPIC.decode_prompt(request)
        for target in (OLD, NEW):
            json.loads(ANTHROPIC.encode_prompt(prompt, target).body)


@given(st.integers(0, len(json.dumps(REQUEST)) - 1), st.binary(max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_request_with_wrong_bytes_is_taken_or_refused(at, noise):
    body = json.dumps(REQUEST).encode()
    with contextlib.suppress(GatewayError):
        request = ANTHROPIC.open_request(body[:at] + noise + body[at + 1 :])
        ANTHROPIC.encode_prompt(ANTHROPIC.decode_prompt(request), OLD)


@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_reply_with_wrong_bytes_is_read_or_the_providers_fault(at, noise):
    with contextlib.suppress(UpstreamError):
        ANTHROPIC.encode_reply(ANTHROPIC.decode_reply(WHOLE[:at] + noise + WHOLE[at + 1 :], OLD), head())


@given(st.sampled_from([TEXT, TOOLS, SEARCH]), st.data(), st.binary(max_size=3))
@settings(max_examples=300, deadline=None)
def test_a_stream_with_wrong_bytes_gives_events_that_can_be_collected_and_sent_on(stream, data, noise):
    at = data.draw(st.integers(0, len(stream) - 1))
    decoder = ANTHROPIC.reply_decoder(OLD)
    events = decoder.feed(stream[:at] + noise + stream[at + 1 :])
    with contextlib.suppress(UpstreamError):
        events += decoder.close()
        assert isinstance(events[-1], End | Failed)
    builder = ReplyBuilder()
    encoder = ANTHROPIC.reply_encoder(head())
    for event in events:
        builder.add(event)
        encoder.encode(event)
    for event in events_of(builder.cut()):
        encoder.encode(event)
