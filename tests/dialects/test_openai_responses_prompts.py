"""Requests of the Responses dialect: opened, spliced, decoded, encoded; checked against the SDK's own types."""

import json
from collections.abc import Iterator

import pytest
from msgspec import Raw
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import TypeAdapter

from gateway.conversation import (
    Audio,
    Effort,
    File,
    Format,
    Image,
    Message,
    Opaque,
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
from gateway.dialects import openai_responses
from gateway.dialects.dialect import Dialect, Request
from gateway.dialects.openai_responses.names import flat
from gateway.errors import GatewayError, Kind

dialect: Dialect = openai_responses

WHOLE = TypeAdapter(ResponseCreateParamsNonStreaming)
STREAMED = TypeAdapter(ResponseCreateParamsStreaming)
HERE = Origin("azure", "gpt-5")
ELSEWHERE = Origin("claude", "claude-sonnet-4-5")


def opened(**members) -> Request:
    return dialect.open_request(json.dumps({"model": "gpt-5", "input": "Hello", **members}).encode())


def decoded(**members) -> Prompt:
    return dialect.decode_prompt(opened(**members))


def spliced(request: Request, model: str = "gpt-5", **given) -> dict:
    return json.loads(dialect.splice(request, model=model, **given))


def walked(value: object) -> object:
    """Reads what pydantic checks only when it is read."""
    if isinstance(value, dict):
        return {name: walked(item) for name, item in value.items()}
    return [walked(item) for item in value] if isinstance(value, list | tuple | Iterator) else value


def accepted(body: bytes) -> dict:
    wire = json.loads(body)
    walked((STREAMED if wire.get("stream") else WHOLE).validate_python(wire))
    return wire


def encoded(*, target: Origin = HERE, history: tuple[bytes, ...] = (), **members) -> tuple[dict, tuple[str, ...]]:
    messages = members.pop("messages", (Message("user", (Text("Hello"),)),))
    result = dialect.encode_prompt(Prompt(model="smart", messages=messages, **members), target, history)
    return accepted(result.body), result.dropped


def test_every_verb_exists() -> None:
    verbs = [name for name in dir(Dialect) if not name.startswith("_")]
    assert verbs
    assert [name for name in verbs if not callable(getattr(openai_responses, name))] == []
    assert dialect.NAME == "openai_responses"
    assert isinstance(dialect.FORWARDED_HEADERS, frozenset)


def test_it_is_reached_where_the_sdk_goes() -> None:
    assert dialect.path("gpt-5", stream=True) == "/responses"
    assert dialect.auth("secret", {}) == {"authorization": "Bearer secret"}
    assert dialect.auth("", {}) == {}
    assert dialect.relay_filter(opened()) is None


# ---------------------------------------------------------------- opening


def test_opening_reads_model_and_stream() -> None:
    request = opened(stream=True)
    assert (request.dialect, request.model, request.stream) == ("openai_responses", "gpt-5", True)
    assert opened(stream=None).stream is False


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"model":"m","input":"x"', None),
        (b'{"input":"x"}', "model"),
        (b'{"model":7,"input":"x"}', "model"),
        (b'{"model":"","input":"x"}', "model"),
        (b'{"model":"m"}', "input"),
        (b'{"model":"m","input":null}', "input"),
        (b'{"model":"m","input":{}}', "input"),
        (b'{"model":"m","input":"x","stream":"yes"}', "stream"),
        (b'{"model":"m\xff","input":"x"}', None),
        (b'{"model":"m","input":[{"role":"user","content":"\xff"}]}', None),
        (b'{"model":"m","input":' + b"[" * 100000 + b"]" * 100000 + b"}", None),
    ],
)
def test_a_bad_body_is_refused_with_the_name_of_the_member(body: bytes, param: str | None) -> None:
    with pytest.raises(GatewayError) as caught:
        dialect.open_request(body)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.param == param


def test_input_may_be_missing_where_something_else_stands_for_it() -> None:
    request = dialect.open_request(b'{"model":"m","previous_response_id":"resp_1"}')
    assert dialect.spoken(request).messages == ()


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": ["text"]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]}, "input[0].text"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{}]}, "input[0]"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"instructions": ["x"]}, "instructions"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ],
)
def test_a_bad_member_is_named_when_it_is_translated(members: dict, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decoded(**members)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.param == param


# ---------------------------------------------------------------- what is spoken, and splicing


def test_a_string_is_spoken_as_one_item_of_the_users() -> None:
    said = dialect.spoken(opened(input="Grüße \u20ac", instructions="Be brief."))
    assert [json.loads(item) for item in said.messages] == [{"type": "message", "role": "user", "content": "Grüße €"}]
    assert said.system == (b'"Be brief."',)
    assert said.tools == b""


def test_items_are_spoken_byte_for_byte() -> None:
    body = b'{"model":"m","input":[ {"role":"user", "content":"a", "x":1152921504606846977} ],"tools":[ {"type":"x"} ]}'
    said = dialect.spoken(dialect.open_request(body))
    assert said.messages == (b'{"role":"user", "content":"a", "x":1152921504606846977}',)
    assert said.tools == b'[ {"type":"x"} ]'


def test_splicing_keeps_everything_that_the_gateway_has_no_reason_to_change() -> None:
    body = b'{"zebra":{"b":1152921504606846977,"a":[ 1.50 ]},"model":"smart","input":[{"role":"user","content":"x"}]}'
    spliced_body = dialect.splice(dialect.open_request(body), model="gpt-4.1")
    assert spliced_body == (
        b'{"zebra":{"b":1152921504606846977,"a":[ 1.50 ]},"model":"gpt-4.1",'
        b'"input":[{"role":"user","content":"x"}],"store":false}'
    )


def test_splicing_takes_out_the_state_that_the_gateway_keeps() -> None:
    request = opened(
        previous_response_id="resp_1", conversation={"id": "conv_1"}, store=True, background=True, background_options={}
    )
    wire = spliced(request, "gpt-4.1")
    assert wire == {"model": "gpt-4.1", "input": "Hello", "store": False}


def test_splicing_puts_history_system_and_tools_in() -> None:
    history = [b'{"role":"user","content":"one"}', b'{"role":"assistant","content":"two"}']
    wire = spliced(opened(instructions="old"), system=[b'"new"'], messages=history, tools=b'[{"type":"web_search"}]')
    assert wire["instructions"] == "new"
    assert wire["input"] == [json.loads(item) for item in history]
    assert wire["tools"] == [{"type": "web_search"}]
    assert "instructions" not in spliced(opened(instructions="old"), system=[])
    assert spliced(opened(), system=[b'"a"', b'"b"'])["instructions"] == "a\n\nb"
    assert spliced(opened(tools=[]), tools=None)["tools"] == []


@pytest.mark.parametrize(
    ("model", "members", "included"),
    [
        ("gpt-5", {}, ["reasoning.encrypted_content"]),
        ("openai/o3-mini", {"include": ["x"]}, ["x", "reasoning.encrypted_content"]),
        ("gpt-5.1-codex", {"include": ["reasoning.encrypted_content"]}, ["reasoning.encrypted_content"]),
        ("gpt-4o", {"reasoning": {"effort": "low"}}, None),
        ("gpt-5-chat-latest", {}, None),
        ("qwen3", {}, None),
        ("qwen3", {"reasoning": {"effort": "low"}}, ["reasoning.encrypted_content"]),
    ],
)
def test_encrypted_reasoning_is_asked_of_models_that_reason(model: str, members: dict, included: list | None) -> None:
    assert spliced(opened(**members), model).get("include") == included


def test_reasoning_that_only_a_store_could_resolve_is_taken_out() -> None:
    kept = [
        {"role": "user", "content": 'the word "reasoning"'},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"},
        {"type": "reasoning", "id": "rs_3", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
    ]
    lost = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}]}
    assert spliced(opened(input=[lost, *kept]))["input"] == kept
    assert spliced(opened(), messages=[json.dumps(item).encode() for item in [lost, *kept]])["input"] == kept


def test_a_reference_to_an_item_that_is_there_is_taken_out() -> None:
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": "x", "status": "completed"}
    items = [message, {"type": "item_reference", "id": "msg_1"}, {"type": "item_reference", "id": "msg_2"}]
    assert spliced(opened(input=items))["input"] == [message, {"type": "item_reference", "id": "msg_2"}]


def test_wrapped_signatures_go_up_only_to_their_maker_and_only_unwrapped() -> None:
    def item(signature: Signature) -> dict:
        return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": wrap_signature(signature)}

    foreign = item(Signature("sig", "anthropic", ELSEWHERE))
    other = item(Signature("gAAA", "openai_responses", Origin("azure", "o3")))
    own = item(Signature("gAAB", "openai_responses", HERE))
    assert spliced(opened(input=[foreign, other, own]))["input"] == [own | {"encrypted_content": "gAAB"}]


def test_a_custom_tools_result_follows_the_kind_of_its_call() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "patch", "arguments": '{"input":"x"}'}
    custom = {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "y"}
    results = [{"type": "custom_tool_call_output", "call_id": f"c{n}", "output": "ok"} for n in (1, 2)]
    items = [json.dumps(item).encode() for item in (call, custom, *results)]
    wire = spliced(opened(), messages=items)["input"]
    assert [item["type"] for item in wire[2:]] == ["function_call_output", "custom_tool_call_output"]


# ---------------------------------------------------------------- decoding


def test_a_request_is_decoded_whole() -> None:
    prompt = decoded(
        instructions="Be brief.",
        stream=True,
        max_output_tokens=500,
        temperature=0.5,
        top_p=0.9,
        parallel_tool_calls=False,
        reasoning={"effort": "high", "summary": "auto"},
        safety_identifier="u1",
        user="u2",
        prompt_cache_key="k",
        text={"format": {"type": "json_schema", "name": "n", "strict": True, "schema": {"b": 1, "a": 2**60}}},
    )
    assert prompt.system == (Text("Be brief."),)
    assert prompt.messages == (Message("user", (Text("Hello"),)),)
    assert (prompt.stream, prompt.max_tokens, prompt.temperature, prompt.top_p) == (True, 500, 0.5, 0.9)
    assert prompt.parallel_tool_calls is False
    assert prompt.thinking == Thinking(effort="high", visible=True)
    assert (prompt.user, prompt.cache_key) == ("u1", "k")
    schema = Raw(b'{"b": 1, "a": 1152921504606846976}')
    assert prompt.format == Format(kind="schema", name="n", strict=True, schema=schema)
    assert prompt.extras == ()


def test_a_json_object_is_a_format_and_plain_text_is_none() -> None:
    assert decoded(text={"format": {"type": "json_object"}}).format == Format(kind="json")
    assert decoded(text={"format": {"type": "text"}}).format is None


def test_members_that_only_this_dialect_knows_are_named() -> None:
    prompt = decoded(
        text={"verbosity": "low"},
        truncation="auto",
        service_tier="flex",
        metadata={"a": "b"},
        include=["message.output_text.logprobs"],
        max_tool_calls=3,
        store=True,
        previous_response_id="resp_1",
        tool_choice={"type": "web_search_preview"},
        client_metadata={"x": 1},
    )
    assert prompt.extras == (
        "client_metadata", "include.message.output_text.logprobs",
            "max_tool_calls", "metadata", "service_tier", "text.verbosity", "tool_choice",
        "truncation",
    )  # fmt: skip


def test_members_at_their_defaults_are_not_named() -> None:
    prompt = decoded(
        truncation="disabled",
        service_tier="auto",
        metadata=None,
        include=["reasoning.encrypted_content"],
        top_logprobs=0,
        text={"verbosity": "medium"},
        background=False,
    )
    assert prompt.extras == ()


def test_parts_agree_with_the_whole() -> None:
    request = opened(
        instructions="Be brief.",
        input=[{"role": "developer", "content": "d"}, {"role": "user", "content": "u"}],
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
    )
    prompt, said = dialect.decode_prompt(request), dialect.spoken(request)
    assert dialect.decode_messages(said.messages) == prompt.messages
    assert dialect.decode_system(said.system) == prompt.system
    assert dialect.decode_tools(said.tools) == prompt.tools
    assert dialect.encode_system(prompt.system) == said.system
    assert [message.role for message in prompt.messages] == ["system", "user"]


def test_tool_choices_are_decoded() -> None:
    tools = [{"type": "function", "name": name, "parameters": {}} for name in ("f", "g")]
    assert decoded(tools=tools, tool_choice="required").tool_choice == ToolChoice("required")
    assert decoded(tools=tools, tool_choice="none").tool_choice == ToolChoice("none")
    one = decoded(tools=tools, tool_choice={"type": "function", "name": "g"})
    assert one.tool_choice == ToolChoice("tool", "g")
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    some = decoded(tools=tools, tool_choice=allowed)
    assert some.tool_choice == ToolChoice("required")
    assert [tool.name for tool in some.tools] == ["g"]


# ---------------------------------------------------------------- encoding


def test_a_plain_prompt_is_encoded_for_a_provider_that_keeps_nothing() -> None:
    wire, dropped = encoded(target=Origin("main", "gpt-4.1"), system=(Text("Be"), Text("brief.")), stream=True)
    assert wire == {
        "model": "gpt-4.1",
        "instructions": "Be\n\nbrief.",
        "input": [{"type": "message", "role": "user", "content": "Hello"}],
        "store": False,
        "stream": True,
    }
    assert dropped == ()


def test_history_goes_in_front_byte_for_byte() -> None:
    history = (b'{"role":"user","content":"one", "x":1152921504606846977}', b'{"role":"assistant","content":"two"}')
    prompt = Prompt(model="m", messages=(Message("user", (Text("three"),)),))
    body = dialect.encode_prompt(prompt, HERE, history).body
    assert b'"input":[' + history[0] + b"," + history[1] + b"," in body


def test_settings_are_encoded() -> None:
    wire, dropped = encoded(
        target=Origin("main", "my-model"),
        max_tokens=500,
        temperature=0.0,
        top_p=0.9,
        thinking=Thinking(budget=9000, visible=True),
        format=Format(kind="schema", schema=Raw(b'{"type":"object"}'), description="d"),
        user="u1",
        cache_key="k",
    )
    assert wire["max_output_tokens"] == 500
    assert (wire["temperature"], wire["top_p"]) == (0.0, 0.9)
    assert wire["reasoning"] == {"effort": "high", "summary": "auto"}
    form = {"type": "json_schema", "name": "response", "description": "d", "schema": {"type": "object"}}
    assert wire["text"] == {"format": form}
    assert (wire["safety_identifier"], wire["prompt_cache_key"]) == ("u1", "k")
    assert wire["include"] == ["reasoning.encrypted_content"]
    assert dropped == ()


def test_what_the_dialect_cannot_say_is_named() -> None:
    messages = (
        Message("user", (Audio(media_type="audio/wav", data="AA=="), Opaque("anthropic", "document", Raw(b"{}")))),
        Message("user", (Text("x"),)),
    )
    tools = (Tool(name="web_search_20250305", dialect="anthropic", raw=Raw(b"{}")),)
    _, dropped = encoded(
        messages=messages, tools=tools, tool_choice=ToolChoice("auto"), extras=("cache_control",),
        top_k=5, seed=1, stop=("END",), presence_penalty=0.1, frequency_penalty=0.1,
        system=(Image(url="https://example.com/a.png"), Text("s")),
    )  # fmt: skip
    assert dropped == (
        "cache_control", "content.audio", "content.opaque:document", "frequency_penalty", "presence_penalty", "seed",
        "stop", "system.image", "tool:web_search_20250305", "top_k",
    )  # fmt: skip


def test_a_model_that_reasons_is_not_sent_sampling_settings() -> None:
    wire, dropped = encoded(temperature=0.5, top_p=0.5)
    assert "temperature" not in wire
    assert dropped == ("temperature", "top_p")
    wire, dropped = encoded(target=Origin("main", "gpt-5.1"), temperature=0.5, thinking=Thinking(effort="none"))
    assert wire["temperature"] == 0.5
    assert dropped == ()


def test_a_model_that_does_not_reason_is_not_asked_to() -> None:
    wire, dropped = encoded(target=Origin("main", "gpt-4o"), thinking=Thinking(effort="low"))
    assert "reasoning" not in wire
    assert "include" not in wire
    assert dropped == ("thinking",)


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        ("gpt-5", "none", "minimal"),
        ("gpt-5-mini", "max", "high"),
        ("gpt-5-codex", "minimal", "low"),
        ("gpt-5-pro", "low", "high"),
        ("gpt-5.1", "minimal", "none"),
        ("gpt-5.1-codex-max", "max", "xhigh"),
        ("gpt-5.2-pro", "low", "medium"),
        ("openai/gpt-5.4", "max", "xhigh"),
        ("gpt-5.6-terra", "max", "max"),
        ("o3-mini", "minimal", "low"),
        ("qwen3", "minimal", "minimal"),
    ],
)
def test_the_effort_is_the_nearest_that_the_model_accepts(model: str, asked: Effort, sent: str) -> None:
    wire, _ = encoded(target=Origin("main", model), thinking=Thinking(effort=asked))
    assert wire["reasoning"] == {"effort": sent}


def test_a_choice_of_a_tool_that_is_not_sent_is_dropped() -> None:
    tools = (Tool(name="f"), Tool(name="web_search", dialect="anthropic", raw=Raw(b"{}")))
    wire, dropped = encoded(tools=tools, tool_choice=ToolChoice("tool", "web_search"))
    assert "tool_choice" not in wire
    assert dropped == ("tool:web_search", "tool_choice")


def test_limits_of_the_vendor_are_kept() -> None:
    wire, _ = encoded(max_tokens=1, user="u" * 300, cache_key="k" * 65)
    assert wire["max_output_tokens"] == 16
    assert len(wire["safety_identifier"]) == len(wire["prompt_cache_key"]) == 64


def test_a_tool_loop_with_two_parallel_calls_is_encoded() -> None:
    calls = (ToolCall("c1", "w", '{"b":1152921504606846977,"a":1}'), ToolCall("c2", "w", ""))
    picture = Image(media_type="image/png", data="AA==")
    messages = (
        Message("user", (Text("Weather?"),)),
        Message("assistant", (Text("Looking."), *calls)),
        Message("user", (ToolResult("c1", (Text("sun"),)), ToolResult("c2", (picture,)))),
    )
    tool = Tool(name="w", description="d", parameters=Raw(b'{"type":"object","z":1,"a":2}'))
    wire, dropped = encoded(
        messages=messages, tools=(tool,), tool_choice=ToolChoice("tool", "w"), parallel_tool_calls=True
    )
    assert dropped == ()
    image = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AA=="}
    assert wire["input"][1:] == [
        {"type": "message", "role": "assistant", "content": "Looking."},
        {"type": "function_call", "call_id": "c1", "name": "w", "arguments": '{"b":1152921504606846977,"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "w", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
        {"type": "function_call_output", "call_id": "c2", "output": [image]},
    ]
    parameters = {"type": "object", "z": 1, "a": 2}
    assert wire["tools"] == [
        {"type": "function", "name": "w", "description": "d", "parameters": parameters, "strict": False}
    ]
    assert wire["tool_choice"] == {"type": "function", "name": "w"}
    assert wire["parallel_tool_calls"] is True


def test_results_are_of_the_kind_of_their_calls_in_the_history() -> None:
    history = (b'{"type":"custom_tool_call","call_id":"c1","name":"patch","input":"x"}',)
    messages = (Message("user", (ToolResult("c1", (Text("ok"),)),)),)
    wire, _ = encoded(messages=messages, history=history)
    assert wire["input"][1]["type"] == "custom_tool_call_output"


def test_images_files_and_reasoning_are_encoded() -> None:
    parts = (
        Text("See"),
        Image(url="https://example.com/a.png", detail="high"),
        Image(file_id="file-1"),
        File(media_type="application/pdf", data="AA==", name="a.pdf"),
        File(url="https://example.com/a.pdf"),
        File(file_id="file-2"),
    )
    own = Reasoning("thought", Signature("gAAA", "openai_responses", HERE), summary=True, id="rs_1")
    foreign = Reasoning("secret", Signature("sig", "anthropic", ELSEWHERE))
    messages = (Message("user", parts), Message("assistant", (own, foreign, Reasoning("bare"), Text("Yes."))))
    wire, dropped = encoded(messages=messages)
    assert dropped == ()
    assert wire["input"][0]["content"] == [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "detail": "high", "image_url": "https://example.com/a.png"},
        {"type": "input_image", "detail": "auto", "file_id": "file-1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_file", "file_id": "file-2"},
    ]
    summary = [{"type": "summary_text", "text": "thought"}]
    assert wire["input"][1:] == [
        {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "gAAA"},
        {"type": "message", "role": "assistant", "content": "Yes."},
    ]


def test_a_custom_tool_is_encoded_and_chosen() -> None:
    form = Raw(b'{"type":"grammar","syntax":"lark","definition":"start: /x/"}')
    tool = Tool(name="patch", custom=True, format=form)
    wire, _ = encoded(tools=(tool,), tool_choice=ToolChoice("tool", "patch"))
    assert wire["tools"] == [{"type": "custom", "name": "patch", "format": json.loads(bytes(form))}]
    assert wire["tool_choice"] == {"type": "custom", "name": "patch"}


def test_namespaces_become_flat_names_and_come_back() -> None:
    inner = {"type": "function", "name": "search", "description": "d", "parameters": {"type": "object"}, "strict": True}
    custom = {"type": "custom", "name": "run"}
    space = {"type": "namespace", "name": "mcp__mail", "description": "Mail", "tools": [inner, custom]}
    plain = {"type": "function", "name": "mcp__mail__search", "parameters": {}, "strict": False}
    prompt = decoded(tools=[space, plain], tool_choice={"type": "function", "name": "search"})
    name = flat("mcp__mail", "search")
    assert [tool.name for tool in prompt.tools] == [name, flat("mcp__mail", "run"), "mcp__mail__search"]
    assert not any(tool.dialect for tool in prompt.tools)
    assert prompt.tool_choice == ToolChoice("tool", name)
    assert prompt.extras == ()
    back = json.loads(dialect.encode_tools(prompt.tools).body)
    assert back == [space | {"description": "Tools of mcp__mail."}, plain]


def test_built_in_tools_go_back_as_they_came() -> None:
    raw = b'[{"type":"web_search","filters":{"z":1,"a":1152921504606846977}}]'
    tools = dialect.decode_tools(raw)
    assert [(tool.name, tool.dialect) for tool in tools] == [("web_search", "openai_responses")]
    assert dialect.encode_tools(tools).body == raw
