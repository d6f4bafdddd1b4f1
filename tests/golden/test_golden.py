"""The golden tables: every client dialect with every provider dialect, in every case."""

import json
from typing import Any

import pytest

from gateway.conversation import Origin, Reasoning, Refusal, Reply, ReplyBuilder, Text, ToolCall
from gateway.dialects.custom import custom_input
from gateway.dialects.registry import DIALECTS
from tests.golden import generate
from tests.golden.cells import (
    HERE,
    MODELS,
    NAMES,
    OTHERS,
    answered,
    cells,
    expected_file,
    make,
    reply_cases,
    reply_file,
    request_cases,
    request_file,
    written,
)
from tests.golden.judges import check_request, read

CELLS = list(cells())
REPLIES = [cell[1:] for cell in CELLS if cell[0] == "replies"]
STREAMS = [cell for cell in REPLIES if reply_file(cell[0], cell[2]).suffix == ".sse"]
CANNOT = {
    ("requests", "json_object", "anthropic"): "its output format is always a schema",
    ("replies", "stop_sequence", "openai_responses"): "a response has no stop sequences",
    ("replies", "stop_sequence", "gemini"): "it says STOP",
    ("replies", "stop_filtered", "anthropic"): "it says refusal",
    ("replies", "stop_refused", "gemini"): "it says SAFETY",
    ("replies", "stop_blocked", "openai_chat"): "a refused prompt is an error",
    ("replies", "stop_blocked", "openai_responses"): "a refused prompt is an error",
    ("replies", "stop_blocked", "anthropic"): "it says refusal",
    ("replies", "stop_paused", "openai_chat"): "only Anthropic pauses",
    ("replies", "stop_paused", "openai_responses"): "only Anthropic pauses",
    ("replies", "stop_paused", "gemini"): "only Anthropic pauses",
    ("replies", "stop_context", "openai_responses"): "it is an error there",
    ("replies", "stop_context", "gemini"): "it is an error there",
}
"""What a vendor has no way to say, and why there is no input for it."""


def test_every_cell_is_there() -> None:
    """A case without an input for one of the dialects is named above, with a reason."""
    for kind, cases in (("requests", request_cases()), ("replies", reply_cases())):
        for case in cases:
            for name in NAMES:
                there = request_file(case, name).exists() if kind == "requests" else reply_file(case, name) is not None
                assert there != ((kind, case.removesuffix("_streamed"), name) in CANNOT), (kind, case, name)
    assert (HERE / "TABLE.md").read_text() == generate.table()


def test_no_file_is_left_over() -> None:
    inputs = {request_file(case, name) for case in request_cases() for name in NAMES}
    inputs |= {reply_file(case, name) for case in reply_cases() for name in NAMES}
    outputs = {expected_file(*cell) for cell in CELLS}
    there = {path for kind in ("requests", "replies") for path in (HERE / kind).glob("*/*")}
    assert not there - inputs - outputs


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_a_cell_is_as_it_was_reviewed(cell: tuple[str, str, str, str]) -> None:
    made, file = make(*cell), expected_file(*cell)
    if file.exists():
        assert written(made, file.suffix).decode() == file.read_bytes().decode()
    else:
        assert made.unchanged


@pytest.mark.parametrize("cell", [cell[1:] for cell in CELLS if cell[0] == "requests"], ids="-".join)
def test_a_request_is_one_that_the_vendors_sdk_could_send(cell: tuple[str, str, str]) -> None:
    case, client, provider = cell
    check_request(provider, make("requests", case, client, provider).body)


@pytest.mark.parametrize("cell", REPLIES, ids="-".join)
def test_a_reply_reads_as_the_provider_meant_it(cell: tuple[str, str, str]) -> None:
    case, client, provider = cell
    made, meant = answered(case, client, provider), neutral(case, provider)
    got = read(client, made.body, status=made.status, stream=reply_file(case, provider).suffix == ".sse")
    if meant is None:
        assert got.error
        return
    assert not got.error
    calls = [(part.name, loaded(part, custom=case.startswith("custom") and client.startswith("openai")))
             for part in meant.parts if isinstance(part, ToolCall)]  # fmt: skip
    assert got.calls == calls
    assert got.text == "".join(part.text for part in meant.parts if isinstance(part, Text | Refusal))
    assert got.stop or case == "stop_blocked"
    assert got.thinking == "".join(part.text for part in meant.parts if isinstance(part, Reasoning))
    if meant.usage is not None and case != "stop_blocked":
        assert got.usage == (meant.usage.input, meant.usage.output, meant.usage.cached)


def loaded(call: ToolCall, *, custom: bool) -> Any:
    if custom:
        return call.arguments if call.custom else custom_input(call.arguments)
    return {"input": call.arguments} if call.custom else json.loads(call.arguments)


def neutral(case: str, provider: str) -> Reply | None:
    """What the provider said; None where that is an error, or was cut off."""
    file, dialect, origin = reply_file(case, provider), DIALECTS[provider], Origin("up", MODELS[provider])
    if case.startswith(("error", "cut")):
        return None
    if file.suffix == ".json":
        return dialect.decode_reply(file.read_bytes(), origin)
    builder, decoder = ReplyBuilder(), dialect.reply_decoder(origin)
    for event in [*decoder.feed(file.read_bytes()), *decoder.close()]:
        builder.add(event)
    return builder.reply()


@pytest.mark.parametrize("cell", STREAMS, ids="-".join)
def test_a_stream_may_be_split_anywhere(cell: tuple[str, str, str]) -> None:
    case, client, provider = cell
    data, whole = reply_file(case, provider).read_bytes(), answered(*cell).body
    for place in [*range(1, len(data), len(data) // 8), len(data) - 1]:
        assert answered(case, client, provider, [data[:place], data[place:]]).body == whole, place
    single = [data[place : place + 1] for place in range(len(data))]
    assert answered(case, client, provider, single).body == whole


def test_other_models_are_asked_where_their_requests_differ() -> None:
    for case in OTHERS.keys() - {"sampling"}:
        assert (HERE / "requests" / case.rpartition("_")[0]).is_dir()
