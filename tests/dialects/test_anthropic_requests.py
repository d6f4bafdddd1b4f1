import json

import pytest
from msgspec import Raw

from gateway.conversation import (
    File,
    Format,
    Image,
    Message,
    Opaque,
    Prompt,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects import anthropic
from gateway.dialects.dialect import Dialect
from gateway.errors import GatewayError, Kind
from tests.dialects.anthropic_sdk import ANTHROPIC, NEW, OLD, checked, opened

VERBS = [name for name in vars(Dialect) if not name.startswith("_")]


def said(prompt: Prompt, target=OLD, history=()):
    return checked(ANTHROPIC.encode_prompt(prompt, target, history).body)


def user(*parts):
    return Message("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def hello(**members) -> Prompt:
    return Prompt(model="m", messages=(user("Hi"),), **members)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there(verb):
    assert callable(getattr(anthropic, verb))
    assert verb in anthropic.__all__


# ---------------------------------------------------------------- opening


def test_opening_reads_model_and_stream_alone():
    request = ANTHROPIC.open_request(b'{"model":"a","stream":true,"messages":[ 1 ],"odd":{"x":1152921504606846976}}')
    assert (request.dialect, request.model, request.stream) == ("anthropic", "a", True)
    assert bytes(request.fields["odd"]) == b'{"x":1152921504606846976}'


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b"\xff\xfe", None),
        (b'{"messages":' + b"[" * 100_000 + b"}", None),
        (b'{"messages":[]}', "model"),
        (b'{"model":"","messages":[]}', "model"),
        (b'{"model":7,"messages":[]}', "model"),
        (b'{"model":"a"}', "messages"),
        (b'{"model":"a","messages":"x"}', "messages"),
        (b'{"model":"a","messages":[],"stream":"yes"}', "stream"),
    ],
)
def test_a_bad_body_is_refused_and_the_field_is_named(body, param):
    with pytest.raises(GatewayError) as caught:
        ANTHROPIC.open_request(body)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [7]}, "messages.0"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"system": 7}, "system"),
        ({"tools": [{"name": 7}]}, "tools.0.name"),
        ({"tools": [{}]}, "tools.0.name"),
        ({"tool_choice": {"type": "sometimes"}}, "tool_choice"),
        ({"thinking": {"type": "deep"}}, "thinking.type"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        ({"metadata": 1}, "metadata"),
    ],
)
def test_a_bad_member_is_refused_and_named_when_it_is_decoded(members, param):
    with pytest.raises(GatewayError) as caught:
        ANTHROPIC.decode_prompt(opened(**members))
    assert caught.value.kind is Kind.INVALID
    assert caught.value.param == param


def test_bytes_that_are_no_unicode_are_refused_when_they_are_decoded():
    request = ANTHROPIC.open_request(b'{"model":"a","messages":[{"role":"user","content":"\xff"}]}')
    with pytest.raises(GatewayError):
        ANTHROPIC.decode_prompt(request)


# ---------------------------------------------------------------- the same dialect

BODY = (
    b'{"metadata":{"user_id":"u"},"model":"alias","max_tokens":128000,"unknown":{"z":1,"a":[1152921504606846976]},'
    b'"system":[{"type":"text","text":"S","cache_control":{"type":"ephemeral","ttl":"1h"}}],'
    b'"messages":[{"role":"user","content":"One"},{"role":"system","content":"Two","output_config":{"effort":"low"}}],'
    b'"tools":[{"type":"web_search_20250305","name":"web_search"}],"stream":true}'
)


def test_a_spliced_request_changes_nothing_but_the_model():
    request = ANTHROPIC.open_request(BODY)
    assert ANTHROPIC.splice(request, model="claude-x") == BODY.replace(b'"alias"', b'"claude-x"')


def test_what_was_spoken_is_given_byte_for_byte():
    spoken = ANTHROPIC.spoken(ANTHROPIC.open_request(BODY))
    assert spoken.system == (b'[{"type":"text","text":"S","cache_control":{"type":"ephemeral","ttl":"1h"}}]',)
    assert spoken.messages[1] == b'{"role":"system","content":"Two","output_config":{"effort":"low"}}'
    assert spoken.tools == b'[{"type":"web_search_20250305","name":"web_search"}]'


def test_nothing_spoken_is_nothing():
    spoken = ANTHROPIC.spoken(opened(system=None, tools=None))
    assert (spoken.system, spoken.tools) == ((), b"")


def test_history_system_and_tools_take_the_place_of_the_requests_own():
    request = ANTHROPIC.open_request(BODY)
    history = (b'{"role":"user","content":  "Old"}', b'{"role":"assistant","content":"Yes"}')
    body = ANTHROPIC.splice(
        request, model="m", system=(b'"New"',), messages=(*history, *ANTHROPIC.spoken(request).messages), tools=b"[]"
    )
    assert b'"messages":[{"role":"user","content":  "Old"},{"role":"assistant","content":"Yes"},{"role"' in body
    tree = json.loads(body)
    assert tree["system"] == "New"
    assert tree["tools"] == []
    assert len(tree["messages"]) == 4


def test_system_prompts_of_several_values_become_one_and_an_empty_one_is_left_out():
    request = ANTHROPIC.open_request(BODY)
    both = json.loads(ANTHROPIC.splice(request, model="m", system=(b'"A"', b'[{"type":"text","text":"B","x":1}]')))
    assert both["system"] == [{"type": "text", "text": "A"}, {"type": "text", "text": "B", "x": 1}]
    assert "system" not in json.loads(ANTHROPIC.splice(request, model="m", system=()))


# ---------------------------------------------------------------- to neutral form


def test_a_whole_request_is_decoded():
    prompt = ANTHROPIC.decode_prompt(
        opened(
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            stop_sequences=["END"],
            stream=True,
            tools=[{"name": "f", "description": "d", "input_schema": {"type": "object"}, "defer_loading": True}],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            thinking={"type": "enabled", "budget_tokens": 2048},
            output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"a": 1}}, "task_budget": {}},
            metadata={"user_id": "u1", "other": 1},
            service_tier="auto",
        )
    )
    assert prompt.system == (Text("Be brief."),)
    assert (prompt.temperature, prompt.top_p, prompt.top_k, prompt.stop) == (0.5, 0.9, 40, ("END",))
    assert prompt.tools == (Tool(name="f", description="d", parameters=Raw(b'{"type": "object"}')),)
    assert (prompt.tool_choice, prompt.parallel_tool_calls) == (ToolChoice("required"), False)
    assert prompt.thinking == Thinking(effort="low", budget=2048)
    assert prompt.format == Format(kind="schema", schema=Raw(b'{"a": 1}'))
    assert (prompt.user, prompt.stream, prompt.max_tokens) == ("u1", True, 100)
    assert prompt.extras == (
        "cache_control",
        "metadata.other",
        "output_config.task_budget",
        "service_tier",
        "tools.defer_loading",
    )


def test_the_request_of_a_coding_agent_is_decoded():
    """Beside its oddities: settings on a system message in mid-conversation, an image in a tool's result."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
    prompt = ANTHROPIC.decode_prompt(
        opened(
            thinking={"type": "adaptive", "display": "omitted"},
            output_config={"effort": "xhigh"},
            context_management={"edits": [{"type": "clear_thinking_20251015"}]},
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "Look"}]},
                {"role": "system", "content": "Mind the time.", "output_config": {"effort": "low"}},
                {"role": "system", "output_config": {"effort": "low"}},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {"p": 1}}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "and?"},
                        {"type": "tool_result", "tool_use_id": "t1", "content": [picture], "is_error": True},
                    ],
                },
            ],
        )
    )
    assert prompt.thinking == Thinking(effort="xhigh", adaptive=True, visible=False)
    assert prompt.messages == (
        user("Look"),
        Message("system", (Text("Mind the time."),)),
        Message("assistant", (ToolCall(id="t1", name="Read", arguments='{"p": 1}'),)),
        user(
            ToolResult(call_id="t1", name="Read", content=(Image(media_type="image/png", data="iVBO"),), is_error=True),
            "and?",
        ),
    )
    assert prompt.extras == ("context_management", "messages.output_config")


def test_the_vendors_own_tools_and_blocks_are_kept_as_they_are():
    prompt = ANTHROPIC.decode_prompt(
        opened(
            tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
            messages=[{"role": "user", "content": [{"type": "container_upload", "file_id": "file_1"}]}],
        )
    )
    (tool,) = prompt.tools
    assert (tool.name, tool.dialect) == ("web_search", "anthropic")
    assert json.loads(bytes(tool.raw)) == {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    (part,) = prompt.messages[0].parts
    assert isinstance(part, Opaque)
    assert (part.kind, bytes(part.raw)) == ("container_upload", b'{"type": "container_upload", "file_id": "file_1"}')


def test_documents_and_images_from_every_source_are_decoded():
    def source(**members):
        return {"type": "document", "title": "T", "source": members}

    prompt = ANTHROPIC.decode_prompt(
        opened(
            messages=[
                {
                    "role": "user",
                    "content": [
                        source(type="base64", media_type="application/pdf", data="JVBE"),
                        source(type="url", url="https://x.test/a.pdf"),
                        source(type="file", file_id="file_9"),
                        source(type="text", media_type="text/plain", data="naïve"),
                        source(type="content", content="c"),
                        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
                    ],
                }
            ]
        )
    )
    pdf, url, file, text, content, image = prompt.messages[0].parts
    assert pdf == File(media_type="application/pdf", data="JVBE", name="T")
    assert url == File(url="https://x.test/a.pdf", name="T")
    assert file == File(file_id="file_9", name="T")
    assert text == File(media_type="text/plain", data="bmHDr3Zl", name="T")
    assert isinstance(content, Opaque)
    assert image == Image(url="https://x.test/a.png")


# ---------------------------------------------------------------- from neutral form


def test_the_smallest_prompt_gets_the_members_that_the_vendor_demands():
    assert said(hello()) == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 64_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


def test_a_full_prompt_is_encoded():
    tree = said(
        hello(
            system=(Text("A"), Text(" "), Text("B")),
            tools=(Tool(name="f", description="d", parameters=Raw(b'{"type":"object","x":1152921504606846976}')),),
            tool_choice=ToolChoice("tool", "f"),
            parallel_tool_calls=False,
            max_tokens=50,
            temperature=0.5,
            stop=("END", "\n"),
            user="u",
            stream=True,
        )
    )
    assert tree["system"] == [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
    assert tree["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "x": 1152921504606846976}}
    ]
    assert tree["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    assert (tree["max_tokens"], tree["temperature"], tree["stop_sequences"]) == (50, 0.5, ["END"])
    assert (tree["metadata"], tree["stream"]) == ({"user_id": "u"}, True)


def test_what_cannot_be_carried_is_reported_once_and_in_order():
    encoded = ANTHROPIC.encode_prompt(
        hello(
            seed=1,
            presence_penalty=0.1,
            frequency_penalty=0.1,
            cache_key="k",
            user="me@example.org",
            stop=(" ",),
            extras=("logit_bias", "seed"),
            tools=(Tool(name="web", dialect="openai-responses", raw=Raw(b'{"type":"web_search"}')),),
            format=Format(kind="json"),
        ),
        OLD,
    )
    assert encoded.dropped == (
        "cache_key",
        "format.json",
        "frequency_penalty",
        "logit_bias",
        "presence_penalty",
        "seed",
        "stop",
        "tool:web_search",
        "user",
    )
    assert checked(encoded.body).keys() == {"model", "max_tokens", "messages", "system"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-5-5", 128_000),
        ("claude-mythos-preview", 128_000),
        ("claude-sonnet-4-6", 128_000),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 64_000),
        ("claude-opus-4-1@20250805", 32_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-3-5-haiku-20241022", 8192),
        ("claude-3-haiku-20240307", 4096),
        ("some-other-model", 8192),
    ],
)
def test_max_tokens_has_a_default_for_each_model(model, expected):
    target = type(OLD)("p", model)
    assert said(hello(), target)["max_tokens"] == expected


def test_more_tokens_than_a_model_writes_are_cut_and_reported():
    encoded = ANTHROPIC.encode_prompt(hello(max_tokens=1_000_000), OLD)
    assert json.loads(encoded.body)["max_tokens"] == 64_000
    assert encoded.dropped == ("max_tokens",)


def test_history_goes_in_front_of_the_prompts_own_messages_byte_for_byte():
    history = (b'{"role":"user","content": "Old" }', b'{"role":"assistant","content":[{"type":"text","text":"Yes"}]}')
    body = ANTHROPIC.encode_prompt(hello(), OLD, history).body
    assert b'"messages":[' + b",".join(history) + b',{"role":"user"' in body


def test_a_conversation_that_begins_with_the_assistant_gets_a_user_in_front():
    prompt = Prompt(model="m", messages=(Message("assistant", (Text("Hello!"),)), user("Hi")))
    assert [message["role"] for message in said(prompt)["messages"]] == ["user", "assistant", "user"]


def test_a_call_that_the_user_is_said_to_have_made_breaks_nothing():
    prompt = Prompt(model="m", messages=(Message("user", (ToolCall("c", "f", "{}"), ToolResult("c", (Text("r"),)))),))
    anthropic.encode_prompt(prompt, OLD)


def test_a_prompt_without_messages_still_has_one():
    assert [message["role"] for message in said(Prompt(model="m", system=(Text("S"),)))["messages"]] == ["user"]


def test_a_prefill_loses_its_white_space_and_where_it_is_refused_the_user_speaks_last():
    prompt = Prompt(model="m", messages=(user("Count"), Message("assistant", (Text("One, two, \n"),))))
    assert said(prompt)["messages"][-1]["content"][0]["text"] == "One, two,"
    encoded = ANTHROPIC.encode_prompt(prompt, NEW)
    assert checked(encoded.body)["messages"][-1]["role"] == "user"
    assert encoded.dropped == ("messages.prefill",)


def test_tools_that_were_called_but_are_not_offered_any_more_are_named_and_forbidden():
    call = b'{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}'
    result = user(ToolResult(call_id="a", content=(Text("1"),)))
    tree = said(Prompt(model="m", messages=(result,)), OLD, (b'{"role":"user","content":"x"}', call))
    assert tree["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert tree["tool_choice"] == {"type": "none"}


# ---------------------------------------------------------------- tools


@pytest.mark.parametrize(
    ("parameters", "schema", "dropped"),
    [
        (b"", {"type": "object", "properties": {}}, ()),
        (b"{}", {"type": "object", "properties": {}}, ()),
        (b'{"properties":{"a":{}}}', {"type": "object", "properties": {"a": {}}}, ()),
        (b'{"type":"object","anyOf":[{}],"x":1}', {"type": "object", "x": 1}, ("tools.parameters.anyOf",)),
    ],
)
def test_a_tools_schema_becomes_an_objects(parameters, schema, dropped):
    encoded = ANTHROPIC.encode_tools([Tool(name="f", parameters=Raw(parameters))])
    assert json.loads(encoded.body)[0]["input_schema"] == schema
    assert encoded.dropped == dropped


def test_a_schema_that_is_right_keeps_its_bytes():
    schema = b'{ "b": 1, "type":"object", "a": 1152921504606846976 }'
    assert schema in ANTHROPIC.encode_tools([Tool(name="f", parameters=Raw(schema))]).body


def test_a_custom_tool_is_a_function_with_one_string():
    encoded = ANTHROPIC.encode_tools([Tool(name="patch", custom=True, format=Raw(b'{"type":"grammar"}'), strict=True)])
    assert json.loads(encoded.body)[0]["input_schema"]["required"] == ["input"]
    assert encoded.dropped == ("tools.format", "tools.strict")


def test_own_tools_come_back_as_they_were():
    tools = b'[{"type":"bash_20250124","name":"bash"},{"name":"f","input_schema":{"type":"object"}}]'
    assert ANTHROPIC.encode_tools(ANTHROPIC.decode_tools(tools)).body == tools


@pytest.mark.parametrize(
    ("wire", "choice", "parallel"),
    [
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "none"}, ToolChoice("none"), None),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice("required"), True),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": True}, ToolChoice("tool", "f"), False),
    ],
)
def test_tool_choices_go_both_ways(wire, choice, parallel):
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    prompt = ANTHROPIC.decode_prompt(opened(tools=tools, tool_choice=wire))
    assert (prompt.tool_choice, prompt.parallel_tool_calls) == (choice, parallel)
    assert said(prompt)["tool_choice"] == wire


def test_one_call_at_a_time_needs_a_choice():
    prompt = hello(tools=(Tool(name="f"),), parallel_tool_calls=False)
    assert said(prompt)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert "tool_choice" not in said(hello(tools=(Tool(name="f"),), parallel_tool_calls=True))


@pytest.mark.parametrize(
    ("choice", "target"),
    [(ToolChoice("required"), type(OLD)("p", "claude-opus-5-5")), (ToolChoice("tool", "gone"), OLD)],
)
def test_a_choice_that_cannot_be_forced_is_left_to_the_model_and_reported(choice, target):
    encoded = ANTHROPIC.encode_prompt(hello(tools=(Tool(name="f"),), tool_choice=choice), target)
    assert json.loads(encoded.body)["tool_choice"] == {"type": "auto"}
    assert encoded.dropped == ("tool_choice",)


def test_a_choice_without_tools_is_left_out():
    assert "tool_choice" not in said(hello(tool_choice=ToolChoice("auto")))


# ---------------------------------------------------------------- where and how


def test_the_path_is_the_vendors():
    assert ANTHROPIC.path("claude%2Fx", stream=True) == "/v1/messages"


@pytest.mark.parametrize(
    ("key", "headers", "expected"),
    [
        ("k", {}, {"x-api-key": "k", "anthropic-version": "2023-06-01"}),
        ("k", {"anthropic-version": "2023-06-01"}, {"x-api-key": "k", "anthropic-version": "2023-06-01"}),
        ("k", {"anthropic-version": "2026-10-21"}, {"authorization": "Bearer k", "anthropic-version": "2026-10-21"}),
        ("sk-ant-oat01", {}, {"authorization": "Bearer sk-ant-oat01", "anthropic-version": "2023-06-01"}),
    ],
)
def test_the_key_goes_as_the_version_has_it(key, headers, expected):
    assert ANTHROPIC.auth(key, headers) == expected


def test_headers_that_change_the_answer_are_forwarded_and_credentials_are_not():
    assert {"anthropic-version", "anthropic-beta"} <= ANTHROPIC.FORWARDED_HEADERS
    assert not ANTHROPIC.FORWARDED_HEADERS & {"x-api-key", "authorization", "anthropic-workspace-id", "host"}


def test_nothing_is_filtered_from_a_stream():
    assert ANTHROPIC.relay_filter(opened(stream=True)) is None
