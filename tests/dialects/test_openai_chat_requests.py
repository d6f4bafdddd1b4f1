"""Requests of Chat clients, and requests to Chat providers."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace
from openai.types.chat.completion_create_params import CompletionCreateParams
from pydantic import TypeAdapter

from gateway.conversation import (
    Format,
    Image,
    Message,
    Origin,
    Prompt,
    Reasoning,
    Signature,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    wrap_signature,
)
from gateway.dialects import openai_chat as chat
from gateway.dialects.dialect import Request
from gateway.dialects.openai_chat import completions
from gateway.errors import GatewayError, Kind

PARAMS = TypeAdapter(CompletionCreateParams)
TARGET = Origin("main", "gpt-4.1")
HELLO = {"role": "user", "content": "Hello"}


def request_of(**members: Any) -> Request:
    return chat.open_request(msgspec.json.encode({"model": "smart", "messages": [HELLO], **members}))


def spliced(request: Request, **given: Any) -> dict[str, Any]:
    return msgspec.json.decode(chat.splice(request, model="gpt-4.1", **given))


def encoded(prompt: Prompt, model: str = "gpt-4.1", history: tuple[bytes, ...] = ()) -> dict[str, Any]:
    return msgspec.json.decode(chat.encode_prompt(prompt, Origin("main", model), history).body)


def dropped(prompt: Prompt, model: str = "gpt-4.1") -> tuple[str, ...]:
    return chat.encode_prompt(prompt, Origin("main", model)).dropped


# ---------------------------------------------------------------- opening


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'"text"', "body"),
        (b"[" * 100_000, "body"),
        (b'{"messages":[{}]}', "model"),
        (b'{"model":null,"messages":[{}]}', "model"),
        (b'{"model":7,"messages":[{}]}', "model"),
        (b'{"model":"","messages":[{}]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":null}', "messages"),
        (b'{"model":"m","messages":"hi"}', "messages"),
        (b'{"model":"m","messages":[ ]}', "messages"),
        (b'{"model":"m","messages":[{}],"stream":"yes"}', "stream"),
    ],
)
def test_a_request_that_cannot_be_routed_is_refused_with_the_member_at_fault(body: bytes, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        chat.open_request(body)
    assert (caught.value.kind, caught.value.param) == (Kind.INVALID, param)


def test_model_and_stream_are_read() -> None:
    request = request_of(stream=True)
    assert (request.dialect, request.model, request.stream) == ("openai_chat", "smart", True)
    assert request_of(stream=None).stream is False


def test_leading_system_and_developer_messages_are_the_system_prompt() -> None:
    body = b"""{"model":"m","messages":[{"role":"system","content":"a"}, {"content":"b", "role":"developer"},
        {"role":"user","content":"c"},{"role":"system","content":"d"}],"tools":[{"type":"function"}]}"""
    spoken = chat.spoken(chat.open_request(body))
    assert spoken.system == (b'{"role":"system","content":"a"}', b'{"content":"b", "role":"developer"}')
    assert spoken.messages == (b'{"role":"user","content":"c"}', b'{"role":"system","content":"d"}')
    assert spoken.tools == b'[{"type":"function"}]'


def test_legacy_functions_are_spoken_as_tools() -> None:
    spoken = chat.spoken(request_of(functions=[{"name": "f", "parameters": {}}]))
    assert [tool.name for tool in chat.decode_tools(spoken.tools)] == ["f"]
    assert chat.spoken(request_of()).tools == b""


# ---------------------------------------------------------------- the same dialect


def test_what_is_not_replaced_survives_byte_for_byte() -> None:
    body = (
        b'{"z":{"b":1152921504606846977,"a":[1.10, {"c": null}]},"model":"smart",'
        b'"messages":[{"role":"user","content":"\\u00e9 \xc3\xa9","x":1e2}],"top_k":4,"n":2}'
    )
    assert chat.splice(chat.open_request(body), model="gpt-4.1") == body.replace(b'"smart"', b'"gpt-4.1"')


def test_history_goes_between_the_system_prompt_and_the_new_messages() -> None:
    request = request_of(messages=[{"role": "system", "content": "S"}, HELLO])
    own = chat.spoken(request)
    old = b'{"role":"user","content":"old", "x":1152921504606846977}'
    body = chat.splice(request, model="m", messages=[old, *own.messages])
    assert old in body
    assert [m["role"] for m in msgspec.json.decode(body)["messages"]] == ["system", "user", "user"]


def test_a_given_system_prompt_replaces_the_requests_own() -> None:
    request = request_of(messages=[{"role": "developer", "content": "S"}, HELLO])
    body = spliced(request, system=[b'{"role":"system","content":"T"}'])
    assert body["messages"] == [{"role": "system", "content": "T"}, HELLO]


def test_given_tools_replace_the_requests_own_and_none_keeps_them() -> None:
    request = request_of(tools=[{"type": "function", "function": {"name": "f"}}])
    assert spliced(request)["tools"] == [{"type": "function", "function": {"name": "f"}}]
    assert spliced(request, tools=b'[{"type":"x"}]')["tools"] == [{"type": "x"}]
    assert "tools" not in spliced(request, tools=b"")


def test_a_streamed_request_asks_for_token_counts_and_keeps_its_other_options() -> None:
    assert spliced(request_of(stream=True))["stream_options"] == {"include_usage": True}
    asked = spliced(request_of(stream=True, stream_options={"include_obfuscation": False, "include_usage": False}))
    assert asked["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert "stream_options" not in spliced(request_of(stream=False))


def test_a_client_that_asked_for_counts_is_sent_up_as_it_is() -> None:
    body = b'{"model":"m","messages":[{}],"stream":true,"stream_options":{ "include_usage" : true}}'
    assert chat.splice(chat.open_request(body), model="m") == body


def test_signatures_that_were_wrapped_for_the_client_do_not_reach_a_provider_of_this_dialect() -> None:
    wrapped = wrap_signature(Signature("c2ln", "anthropic", Origin("claude", "sonnet")))
    said = {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "thought",
        "reasoning_details": [{"type": "reasoning.text", "text": "thought", "signature": wrapped, "index": 0}],
        "extra_content": {"google": {"thought_signature": wrapped}},
        "tool_calls": [
            {
                "id": "c",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": wrapped}},
            }
        ],
    }
    clean = {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    request = request_of(messages=[HELLO, said])
    assert spliced(request)["messages"] == [HELLO, clean]
    assert spliced(request, messages=[msgspec.json.encode(said)])["messages"] == [clean]


def test_a_providers_own_reasoning_details_stay_when_wrapped_ones_go() -> None:
    own = {"type": "reasoning.encrypted", "data": "abc", "index": 0}
    wrapped = {"type": "reasoning.encrypted", "data": wrap_signature(Signature("x", "anthropic")), "index": 1}
    said = {"role": "assistant", "content": "Hi", "reasoning_details": [own, wrapped]}
    assert spliced(request_of(messages=[said]))["messages"][0]["reasoning_details"] == [own]


# ---------------------------------------------------------------- to neutral


def test_every_member_with_a_neutral_name_is_read() -> None:
    prompt = chat.decode_prompt(
        request_of(
            messages=[{"role": "developer", "content": "Be brief"}, HELLO],
            max_completion_tokens=9, temperature=1, top_p=0.5, top_k=3, stop="X", seed=-4, presence_penalty=0.1,
            frequency_penalty=0.2, user="u", prompt_cache_key="k", parallel_tool_calls=False, stream=True,
            reasoning_effort="xhigh", response_format={"type": "json_object"},
        )
    )  # fmt: skip
    assert prompt == Prompt(
        model="smart", system=(Text("Be brief"),), messages=(Message("user", (Text("Hello"),)),), max_tokens=9,
        temperature=1.0, top_p=0.5, top_k=3, stop=("X",), seed=-4, presence_penalty=0.1, frequency_penalty=0.2,
        user="u", cache_key="k", parallel_tool_calls=False, stream=True, thinking=Thinking(effort="xhigh"),
        format=Format(kind="json"),
    )  # fmt: skip


def test_members_that_only_chat_knows_are_reported_unless_they_say_what_is_so_anyway() -> None:
    prompt = chat.decode_prompt(
        request_of(
            n=2, logprobs=True, top_logprobs=3, logit_bias={"1": 2}, metadata=None, store=False, modalities=["text"],
            web_search_options={}, stream_options={"include_usage": True}, reasoning_effort="default",
            messages=[HELLO | {"name": "Ann"}],
        )
    )  # fmt: skip
    assert prompt.extras == (
        "logit_bias",
        "logprobs",
        "messages.name",
        "n",
        "reasoning_effort",
        "top_logprobs",
        "web_search_options",
    )
    assert chat.decode_prompt(request_of(n=1, logprobs=False, store=None)).extras == ()


def test_max_tokens_counts_where_the_newer_name_is_absent() -> None:
    assert chat.decode_prompt(request_of(max_tokens=5)).max_tokens == 5
    assert chat.decode_prompt(request_of(max_tokens=5, max_completion_tokens=7)).max_tokens == 7


@pytest.mark.parametrize(
    ("members", "thinking"),
    [
        ({"reasoning": {"effort": "low", "exclude": True}}, Thinking(effort="low", visible=False)),
        ({"reasoning": {"max_tokens": 2000}}, Thinking(budget=2000)),
        ({"reasoning": {"enabled": False}}, Thinking(effort="none")),
        ({"thinking": {"type": "disabled"}}, Thinking(effort="none")),
        ({"thinking": {"type": "enabled", "budget_tokens": 99}}, Thinking(budget=99)),
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "max"}, Thinking(effort="max")),
        ({}, None),
    ],
)
def test_reasoning_is_read_as_openai_openrouter_and_deepseek_write_it(
    members: dict[str, Any], thinking: Thinking | None
) -> None:
    prompt = chat.decode_prompt(request_of(**members))
    assert (prompt.thinking, prompt.extras) == (thinking, ())


def test_a_schema_keeps_its_key_order_and_large_integers() -> None:
    body = (
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",'
        b'"json_schema":{"name":"R","strict":true,"schema":{"z":1152921504606846977,"a":0}}}}'
    )
    prompt = chat.decode_prompt(chat.open_request(body))
    assert prompt.format is not None
    assert bytes(prompt.format.schema) == b'{"z":1152921504606846977,"a":0}'
    assert (prompt.format.name, prompt.format.strict) == ("R", True)
    assert b'"schema":{"z":1152921504606846977,"a":0}' in chat.encode_prompt(prompt, TARGET).body


def test_tools_of_all_kinds_are_read() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}}
    tools = [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"b": 1}, "strict": True}},
        {"type": "function", "function": {"name": "g", "parameters": None}},
        {"type": "custom", "custom": {"name": "c", "format": grammar}},
        {"type": "web_search", "x": 1},
    ]
    assert chat.decode_prompt(request_of(tools=tools)).tools == (
        Tool(name="f", description="d", parameters=Raw(b'{"b":1}'), strict=True),
        Tool(name="g"),
        Tool(name="c", custom=True, format=Raw(b'{"type":"grammar","syntax":"lark","definition":"start: X"}')),
        Tool(name="web_search", dialect="openai_chat", raw=Raw(b'{"type":"web_search","x":1}')),
    )


@pytest.mark.parametrize(
    ("members", "choice"),
    [
        ({"tool_choice": "auto"}, ToolChoice("auto")),
        ({"tool_choice": "none"}, ToolChoice("none")),
        ({"tool_choice": "required"}, ToolChoice("required")),
        ({"tool_choice": "any"}, ToolChoice("required")),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, ToolChoice("tool", "f")),
        ({"tool_choice": {"type": "custom", "custom": {"name": "c"}}}, ToolChoice("tool", "c")),
        ({"function_call": "none"}, ToolChoice("none")),
        ({"function_call": {"name": "f"}}, ToolChoice("tool", "f")),
        ({}, None),
    ],
)
def test_the_choice_among_tools_is_read(members: dict[str, Any], choice: ToolChoice | None) -> None:
    assert chat.decode_prompt(request_of(**members)).tool_choice == choice


def test_allowed_tools_leave_the_others_out() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "abc"]
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "b"}}]}
    prompt = chat.decode_prompt(
        request_of(tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    )
    assert [tool.name for tool in prompt.tools] == ["b"]
    assert prompt.tool_choice == ToolChoice("required")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop": 3}, "stop"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"messages": [HELLO, "x"]}, "messages[1]"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0]"),
    ],
)
def test_a_bad_member_is_refused_by_name(members: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        chat.decode_prompt(request_of(**members))
    assert (caught.value.kind, caught.value.param) == (Kind.INVALID, param)


def test_the_pieces_for_sessions_agree_with_the_whole() -> None:
    request = request_of(
        messages=[
            {"role": "system", "content": "S"},
            HELLO,
            {"role": "assistant", "content": None, "tool_calls": [call("a")]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ]
    )
    spoken, prompt = chat.spoken(request), chat.decode_prompt(request)
    assert chat.decode_system(spoken.system) == prompt.system
    assert chat.decode_messages(spoken.messages) == prompt.messages


# ---------------------------------------------------------------- from neutral


def call(call_id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


FULL = Prompt(
    model="smart",
    system=(Text("Be brief"), Text("Be kind")),
    messages=(
        Message("user", (Text("Look"), Image(media_type="image/png", data="AAAA", detail="low"))),
        Message("assistant", (Text("Wait"), ToolCall(id="a", name="f", arguments='{"x":1}'))),
        Message("user", (ToolResult(call_id="a", content=(Text("1"),)), Text("and?"))),
        Message("system", (Text("Hurry"),)),
    ),
    tools=(
        Tool(name="f", description="d", parameters=Raw(b'{"type":"object"}'), strict=False),
        Tool(name="c", custom=True),
    ),
    tool_choice=ToolChoice("tool", "c"),
    parallel_tool_calls=True,
    max_tokens=100,
    temperature=0.5,
    top_p=0.9,
    stop=("X",),
    seed=1,
    presence_penalty=0.1,
    frequency_penalty=0.2,
    thinking=Thinking(effort="high"),
    format=Format(kind="schema", name="R", schema=Raw(b'{"type":"object"}'), strict=True),
    user="u",
    cache_key="k",
    stream=True,
)


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-5", "o3", "llama3.2", "gpt-oss-120b"])
def test_an_encoded_prompt_is_what_the_sdk_would_send(model: str) -> None:
    body = encoded(FULL, model)
    PARAMS.validate_python(body)
    assert body["model"] == model
    assert body["stream_options"] == {"include_usage": True}
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "c"}}
    assert [message["role"] for message in body["messages"]] == [
        "system", "user", "assistant", "tool", "user", "system",
    ]  # fmt: skip


def test_history_goes_between_system_and_the_prompts_own_messages() -> None:
    history = (b'{"role":"user","content":"old", "n":1152921504606846977}',)
    body = chat.encode_prompt(replace(FULL, messages=(Message("user", (Text("new"),)),)), TARGET, history).body
    assert history[0] in body
    assert [m["content"] for m in msgspec.json.decode(body)["messages"][1:]] == ["old", "new"]


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("o3", "max_completion_tokens"),
        ("o4-mini-2025-04-16", "max_completion_tokens"),
        ("openai/o1", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.4-nano", "max_completion_tokens"),
        ("gpt-6-astra", "max_completion_tokens"),
        ("openai/gpt-5.1", "max_completion_tokens"),
        ("my-azure-gpt5", "max_completion_tokens"),
        ("chat-latest", "max_completion_tokens"),
        ("gpt-4o", "max_tokens"),
        ("gpt-4.1-mini", "max_tokens"),
        ("gpt-35-turbo", "max_tokens"),
        ("gpt-oss-20b", "max_tokens"),
        ("mistral-large-latest", "max_tokens"),
        ("skywork-o1-open", "max_tokens"),
        ("deepseek-v4-pro", "max_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_model_takes(model: str, limit: str) -> None:
    body = encoded(Prompt(model="m", max_tokens=5), model)
    assert {name for name in body if name.startswith("max_")} == {limit}


def test_a_reasoning_model_is_not_sent_what_it_refuses() -> None:
    body = encoded(FULL, "gpt-5")
    assert not {"temperature", "top_p", "stop", "presence_penalty", "frequency_penalty"} & body.keys()
    assert dropped(FULL, "gpt-5") == ("frequency_penalty", "presence_penalty", "stop", "temperature", "top_p")
    assert dropped(Prompt(model="m", temperature=1.0), "o3") == ()
    plain = replace(FULL, thinking=Thinking(effort="none"))
    assert encoded(plain, "gpt-5.1")["temperature"] == 0.5


@pytest.mark.parametrize(
    ("model", "thinking", "effort"),
    [
        ("gpt-5.2", Thinking(effort="max"), "max"),
        ("gpt-5", Thinking(effort="none"), "minimal"),
        ("o3", Thinking(effort="xhigh"), "high"),
        ("o3", Thinking(budget=2000), "low"),
        ("llama", Thinking(effort="minimal"), "low"),
        ("llama", Thinking(adaptive=True), None),
        ("gpt-5-chat-latest", Thinking(effort="none"), None),
        ("gpt-4o", Thinking(effort="none"), None),
    ],
)
def test_effort_is_said_in_the_words_that_the_model_knows(model: str, thinking: Thinking, effort: str | None) -> None:
    prompt = Prompt(model="m", thinking=thinking)
    assert encoded(prompt, model).get("reasoning_effort") == effort
    assert dropped(prompt, model) == ()


@pytest.mark.parametrize(("model", "effort"), [("gpt-4o", "high"), ("llama", "none")])
def test_effort_that_cannot_be_said_is_reported(model: str, effort: Any) -> None:
    assert dropped(Prompt(model="m", thinking=Thinking(effort=effort)), model) == ("thinking",)


def test_what_chat_has_no_member_for_is_reported() -> None:
    prompt = Prompt(
        model="m",
        top_k=4,
        cache_key="k",
        extras=("cache_control", "top_k"),
        messages=(
            Message("user", (Image(file_id="file-1"), Text("x"))),
            Message("assistant", (Reasoning("hm"), Text("y"))),
        ),
        tools=(Tool(name="web", dialect="anthropic", raw=Raw(b'{"type":"web_search_20250305"}')),),
        tool_choice=ToolChoice("auto"),
    )
    assert dropped(prompt, "llama") == (
        "cache_control",
        "content.image.file_id",
        "prompt_cache_key",
        "reasoning",
        "tool:web_search_20250305",
        "top_k",
    )
    assert not {"tools", "tool_choice", "prompt_cache_key"} & encoded(prompt, "llama").keys()
    assert encoded(prompt, "gpt-4o")["prompt_cache_key"] == "k"


def test_a_grammar_as_responses_writes_it_is_written_as_chat_wants_it() -> None:
    tool = Tool(name="p", custom=True, format=Raw(b'{"type":"grammar","syntax":"lark","definition":"start: X"}'))
    assert msgspec.json.decode(chat.encode_tools([tool]).body)[0]["custom"]["format"] == {
        "type": "grammar",
        "grammar": {"syntax": "lark", "definition": "start: X"},
    }


def test_tools_come_back_as_they_were() -> None:
    tools = (*FULL.tools, Tool(name="x", dialect="openai_chat", raw=Raw(b'{"type":"x","n":1}')))
    assert chat.decode_tools(chat.encode_tools(tools).body) == tools
    assert chat.decode_tools(b"") == ()


def test_formats_and_choices_come_back_as_they_were() -> None:
    for form in (None, Format(kind="json"), FULL.format):
        for choice in (None, ToolChoice("required"), ToolChoice("tool", "f")):
            prompt = replace(FULL, format=form, tool_choice=choice)
            body = chat.encode_prompt(prompt, TARGET).body
            back = chat.decode_prompt(chat.open_request(body))
            assert (back.format, back.tool_choice) == (form, choice)


@pytest.mark.parametrize("opened", [chat.open_request, completions.open_request])
def test_stream_options_that_are_none_are_told_before_the_stream_begins(opened: Any) -> None:
    body = b'{"model": "m", "prompt": "x", "messages": [{}], "stream": true, "stream_options": 3}'
    with pytest.raises(GatewayError, match="stream_options"):
        opened(body)
