"""Bodies and headers that no client should send: well-formed requests, bent a little; anything at all."""

import json
import random
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

SEEDS = Path(__file__).parents[1] / "golden" / "requests"
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, 10**30, "", "x", "user", "assistant", "tool", "system", "text", "image_url",
    "\ud800", "\x00", "é" * 300, [], {}, [[]], [{}], [None], {"": None}, {"type": None}, {"type": "text"},
    {"type": "text", "text": None}, "data:image/png;base64,", "data:,", "base64", [[[[[[[[[[]]]]]]]]]],
)  # fmt: skip
WORDS = (
    "role", "content", "type", "text", "messages", "input", "contents", "parts", "tools", "model", "stream", "id", "n",
    "name", "arguments", "tool_calls", "tool_call_id", "call_id", "functionCall", "functionResponse", "inlineData",
    "source", "data", "system", "instructions", "metadata", "previous_response_id", "conversation", "store", "include",
    "max_tokens", "stream_options", "response_format", "reasoning", "thinking", "signature", "encrypted_content",
    "prompt", "items", "dimensions", "encoding_format", "cache_control", "generationConfig", "tool_choice",
)  # fmt: skip

JSON = st.recursive(
    st.sampled_from(ODD) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=15,
)
ANY_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-session-id": st.sampled_from(["s", "new", "t", "", "../x", "a" * 129, "ключ", "conv_1", "resp_x_1_s"]),
        "x-session-user": st.sampled_from(["", "u", "ключ", "x" * 4000]),
        "x-session-history": st.sampled_from(["delta", "resend", "off", "reset", "other", ""]),
        "x-session-turn": st.sampled_from(["1", "0", "-1", "2", "99999999999999999999", "x", "1.5", "²"]),
        "idempotency-key": st.sampled_from(["k", "", "k2", "x" * 300, "ключ"]),
        "x-stainless-retry-count": st.sampled_from(["0", "1", "x", "-1", "²"]),
        "content-encoding": st.sampled_from(["gzip", "zstd", "br", "identity", "x"]),
        "content-type": st.sampled_from(["application/json", "text/plain", "multipart/form-data", ""]),
        "accept-encoding": st.sampled_from(["gzip", "x"]),
        "anthropic-version": st.sampled_from(["2023-06-01", "2026-10-21", "x"]),
        "anthropic-beta": st.sampled_from(["a,b", ",,", "x" * 3000]),
        "x-claude-code-session-id": st.sampled_from(["c", ""]),
        "traceparent": st.sampled_from(["00-0-0-0", "x"]),
    },
)  # fmt: skip


HEADERS = st.sampled_from([{}, {"x-session-id": "s"}, {"x-session-id": "new"}]) | ANY_HEADERS
"""Mostly good ones, so that bodies are read."""


def seeds(dialect: str) -> list[Any]:
    """Well-formed requests of a dialect."""
    return [json.loads(path.read_bytes()) for path in sorted(SEEDS.glob(f"*/{dialect}.json"))]


def bodies(given: list[Any]) -> st.SearchStrategy[bytes]:
    """Bodies made from well-formed ones, and others."""
    bent = st.builds(bend, st.sampled_from(given), st.integers(0, 2**32))
    return st.one_of(
        bent,
        bent,
        st.builds(scratch, st.sampled_from(given), st.integers(0, 2**32)),
        JSON.map(lambda tree: json.dumps(tree).encode()),
        st.binary(max_size=40),
    )


def bend(seed: Any, number: int) -> bytes:
    """Some members left out, doubled, renamed, or of another kind."""
    chance = random.Random(number)
    tree = json.loads(json.dumps(seed))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        places = list(_places(tree))
        if not places:
            break
        holder, name = chance.choice(places)
        match chance.randrange(6):
            case 0:
                del holder[name]
            case 1 if isinstance(holder, list):
                holder.insert(name, holder[name])
            case 1 | 2 if isinstance(holder, dict):
                holder[chance.choice(WORDS)] = holder[name]
            case 3:
                other, key = chance.choice(places)
                holder[name] = json.loads(json.dumps(other[key])) if key in _keys(other) else None
            case _:
                holder[name] = json.loads(json.dumps(chance.choice(ODD)))
    return json.dumps(tree).encode()


def scratch(seed: Any, number: int) -> bytes:
    """Some bytes changed, or the end cut off."""
    chance = random.Random(number)
    data = bytearray(json.dumps(seed).encode())
    for _ in range(chance.choice((1, 2, 5))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)


def _places(tree: Any) -> Any:
    for key in _keys(tree):
        yield tree, key
        yield from _places(tree[key])


def _keys(tree: Any) -> Any:
    if isinstance(tree, dict):
        return list(tree)
    return range(len(tree)) if isinstance(tree, list) else ()
