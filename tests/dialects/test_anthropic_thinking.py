import json

import pytest
from msgspec import Raw

from gateway.conversation import (
    SIGNATURE_MARK,
    Format,
    Message,
    Origin,
    Prompt,
    Reasoning,
    Reply,
    Signature,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    wrap_signature,
)
from tests.dialects.anthropic_sdk import ANTHROPIC, NEW, OLD, checked, head, opened

UNKNOWN = Origin("p", "someone-elses-model")
OTHER = Origin("claude", "claude-opus-4-5")
ALWAYS = Origin("p", "claude-opus-5-5")


def at(model: str) -> Origin:
    return Origin("p", model)


def encoded(target=OLD, **members):
    prompt = Prompt(model="m", messages=(Message("user", (Text("Hi"),)),), **members)
    done = ANTHROPIC.encode_prompt(prompt, target)
    return checked(done.body), done.dropped


def thinks(target=OLD, thinking=None, **members):
    tree, dropped = encoded(target, thinking=thinking, **members)
    return tree.get("thinking"), tree.get("output_config", {}).get("effort"), dropped


# ---------------------------------------------------------------- how to think


@pytest.mark.parametrize(
    ("wire", "effort", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 5000}, None, Thinking(budget=5000)),
        ({"type": "adaptive"}, "max", Thinking(adaptive=True, effort="max")),
        ({"type": "adaptive", "display": "summarized"}, None, Thinking(adaptive=True, visible=True)),
        ({"type": "disabled"}, None, Thinking(effort="none")),
        ({"type": "between_tools"}, None, Thinking(effort="minimal")),
        (None, "low", Thinking(effort="low")),
        (None, None, None),
    ],
)
def test_every_way_to_ask_for_thinking_is_decoded(wire, effort, expected):
    assert ANTHROPIC.decode_prompt(opened(thinking=wire, output_config={"effort": effort})).thinking == expected


def test_an_effort_that_is_not_known_is_reported():
    prompt = ANTHROPIC.decode_prompt(opened(output_config={"effort": "heroic"}))
    assert (prompt.thinking, prompt.extras) == (None, ("output_config.effort",))


@pytest.mark.parametrize(
    ("thinking", "max_tokens", "budget"),
    [
        (Thinking(budget=5000), 10_000, 5000),
        (Thinking(budget=10), 10_000, 1024),
        (Thinking(budget=10_000), 10_000, 5000),
        (Thinking(budget=10_000), 1500, 1024),
        (Thinking(effort="low"), 10_000, 2048),
        (Thinking(effort="max"), None, 32_000),
        (Thinking(adaptive=True), None, 8192),
    ],
)
def test_a_budget_is_at_least_1024_and_less_than_max_tokens(thinking, max_tokens, budget):
    said, effort, dropped = thinks(OLD, thinking, max_tokens=max_tokens)
    assert said == {"type": "enabled", "budget_tokens": budget}
    assert (effort, dropped) == (None, ())


def test_where_there_is_no_room_to_think_the_model_does_not_and_it_is_reported():
    assert thinks(OLD, Thinking(effort="high"), max_tokens=1024) == (None, None, ("thinking",))


def test_a_model_that_never_thought_is_not_asked_to():
    assert thinks(at("claude-3-5-sonnet-20241022"), Thinking(effort="high")) == (None, None, ("thinking",))


def test_a_foreign_model_is_given_a_budget():
    assert thinks(UNKNOWN, Thinking(effort="low"))[0] == {"type": "enabled", "budget_tokens": 2048}


@pytest.mark.parametrize(
    ("model", "thinking", "effort"),
    [
        ("claude-opus-5", Thinking(effort="xhigh"), "xhigh"),
        ("claude-opus-4-6", Thinking(effort="xhigh"), "high"),
        ("claude-opus-5", Thinking(effort="minimal"), "low"),
        ("claude-opus-5", Thinking(budget=8192), "medium"),
        ("claude-opus-5", Thinking(adaptive=True), None),
    ],
)
def test_a_newer_model_thinks_adaptively_with_an_effort(model, thinking, effort):
    assert thinks(at(model), thinking) == ({"type": "adaptive"}, effort, ())


@pytest.mark.parametrize(("visible", "display"), [(True, "summarized"), (False, "omitted")])
def test_whether_thinking_is_shown_goes_along(visible, display):
    said, _, _ = thinks(NEW, Thinking(adaptive=True, visible=visible))
    assert said == {"type": "adaptive", "display": display}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-sonnet-4-5", (None, None, ())),
        ("claude-opus-4-7", (None, None, ())),
        ("claude-opus-5", ({"type": "disabled"}, None, ())),
        ("claude-sonnet-5-5", ({"type": "between_tools"}, None, ())),
        ("claude-opus-5-5", (None, "low", ("thinking",))),
        ("claude-fable-5-1", (None, "low", ("thinking",))),
    ],
)
def test_thinking_is_turned_off_as_far_as_the_model_lets_it(model, expected):
    assert thinks(at(model), Thinking(effort="none")) == expected
    assert thinks(at(model), Thinking(budget=0)) == expected


def test_a_forced_tool_goes_before_thinking():
    forced = {"tools": (Tool(name="f"),), "tool_choice": ToolChoice("required")}
    assert thinks(OLD, Thinking(effort="low"), **forced) == (None, None, ("thinking",))
    assert thinks(NEW, Thinking(effort="low"), **forced) == (None, "low", ("thinking",))


def test_thinking_with_a_budget_pauses_in_a_loop_that_began_without_it():
    call = Message("assistant", (ToolCall(id="a", name="f", arguments="{}"),))
    result = Message("user", (ToolResult(call_id="a", content=(Text("1"),)),))
    prompt = Prompt(
        model="m",
        messages=(Message("user", (Text("x"),)), call, result),
        thinking=Thinking(budget=2000),
        tools=(Tool(name="f"),),
    )
    assert ANTHROPIC.encode_prompt(prompt, OLD).dropped == ("thinking",)
    assert checked(ANTHROPIC.encode_prompt(prompt, NEW).body)["thinking"] == {"type": "adaptive"}
    signed = Reasoning(text="hm", signature=Signature("S", "anthropic", OLD))
    thought = Message("assistant", (signed, *call.parts))
    again = Prompt(model="m", messages=(thought, result), thinking=prompt.thinking, tools=prompt.tools)
    assert checked(ANTHROPIC.encode_prompt(again, OLD).body)["thinking"]["type"] == "enabled"


def test_thinking_with_a_budget_gives_way_to_a_prefill():
    prompt = Prompt(
        model="m",
        messages=(Message("user", (Text("x"),)), Message("assistant", (Text("So"),))),
        thinking=Thinking(budget=2000),
    )
    assert ANTHROPIC.encode_prompt(prompt, OLD).dropped == ("thinking",)


# ---------------------------------------------------------------- sampling


def sampled(target=OLD, **members):
    tree, dropped = encoded(target, **members)
    return {name: tree[name] for name in ("temperature", "top_p", "top_k") if name in tree}, dropped


def test_sampling_goes_along_where_the_model_takes_it():
    assert sampled(temperature=0.3, top_k=5) == ({"temperature": 0.3, "top_k": 5}, ())
    assert sampled(top_p=0.3) == ({"top_p": 0.3}, ())


def test_temperature_ends_at_one():
    assert sampled(temperature=1.7) == ({"temperature": 1.0}, ("temperature",))


def test_temperature_and_top_p_do_not_go_together_on_newer_models():
    assert sampled(temperature=0.3, top_p=0.9) == ({"temperature": 0.3}, ("top_p",))
    assert sampled(at("claude-3-haiku-20240307"), temperature=0.3, top_p=0.9) == (
        {"temperature": 0.3, "top_p": 0.9},
        (),
    )


def test_thinking_refuses_sampling_but_for_its_defaults():
    thinking = Thinking(budget=2000)
    assert sampled(thinking=thinking, temperature=0.3, top_k=3) == ({}, ("temperature", "top_k"))
    assert sampled(thinking=thinking, temperature=1.0) == ({"temperature": 1.0}, ())
    assert sampled(thinking=thinking, top_p=0.95) == ({"top_p": 0.95}, ())
    assert sampled(thinking=thinking, top_p=0.5) == ({}, ("top_p",))


def test_the_newest_models_refuse_sampling_altogether():
    assert sampled(NEW, temperature=1.0, top_p=1.0, top_k=1) == ({}, ("temperature", "top_k", "top_p"))


# ---------------------------------------------------------------- structured output


def formatted(schema: object, target=OLD):
    tree, dropped = encoded(target, format=Format(kind="schema", name="n", schema=Raw(json.dumps(schema).encode())))
    wanted = tree.get("output_config", {}).get("format", {})
    return wanted.get("schema"), tree.get("system"), dropped


def test_a_schema_is_closed_and_its_limits_become_words():
    schema, system, dropped = formatted(
        {
            "$schema": "x",
            "type": "object",
            "properties": {
                "b": {"type": "integer", "minimum": 1, "description": "Count"},
                "a": {"oneOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
                "l": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": ["object", "null"], "properties": {"x": {"enum": [1]}}},
                },
            },
            "required": ["b"],
        }
    )
    assert (system, dropped) == (None, ())
    assert schema == {
        "type": "object",
        "properties": {
            "b": {"type": "integer", "description": "Count (minimum: 1)"},
            "a": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "l": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": ["object", "null"],
                    "properties": {"x": {"enum": [1]}},
                    "additionalProperties": False,
                },
            },
        },
        "required": ["b"],
        "additionalProperties": False,
    }
    assert list(schema["properties"]) == ["b", "a", "l"]


@pytest.mark.parametrize(
    ("schema", "target"),
    [
        ({"type": "object", "additionalProperties": {"type": "string"}}, OLD),
        ({"type": "object", "properties": {"a": True}}, OLD),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, at("claude-3-opus-20240229")),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, UNKNOWN),
    ],
)
def test_a_schema_that_cannot_be_enforced_is_asked_for_in_words_and_reported(schema, target):
    enforced, system, dropped = formatted(schema, target)
    assert enforced is None
    assert json.dumps(schema) in system[-1]["text"]
    assert dropped == ("format.schema",)


def test_any_json_is_asked_for_in_words_behind_the_system_prompt():
    tree, dropped = encoded(format=Format(kind="json"), system=(Text("S"),))
    assert [block["text"] for block in tree["system"]] == ["S", "Answer with one JSON object and nothing else."]
    assert dropped == ("format.json",)


def test_effort_and_format_share_their_member():
    tree, _ = encoded(
        NEW, thinking=Thinking(effort="low"), format=Format(kind="schema", schema=Raw(b'{"type":"string"}'))
    )
    assert tree["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "string"}}, "effort": "low"}


# ---------------------------------------------------------------- signatures

SIGNED = b'{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"S"}]}'


def test_signed_thinking_goes_back_to_its_maker_and_to_nobody_else():
    messages = ANTHROPIC.decode_messages([SIGNED], OLD)
    assert messages[0].parts == (Reasoning(text="hm", signature=Signature("S", "anthropic", OLD)),)
    assert ANTHROPIC.encode_messages(messages, OLD).messages == (SIGNED,)
    elsewhere = ANTHROPIC.encode_messages(messages, OTHER)
    assert (elsewhere.messages, elsewhere.dropped) == ((), ("content.reasoning",))


def test_thinking_of_nobody_knows_whom_or_without_a_signature_is_not_sent():
    unsigned = Message("assistant", (Reasoning(text="hm"), Text("x")))
    for messages in (ANTHROPIC.decode_messages([SIGNED]), (unsigned,)):
        assert b"thinking" not in b"".join(ANTHROPIC.encode_messages(messages, OLD).messages)


def shown(*parts):
    """What a client is given, and sends back."""
    content = json.loads(ANTHROPIC.encode_reply(Reply(parts=parts), head()))["content"]
    return json.dumps({"role": "assistant", "content": content}).encode()


GEMINI = Signature("thought", "gemini", Origin("google", "g"))


@pytest.mark.parametrize(
    "parts",
    [
        (Reasoning(text="hm", signature=GEMINI), Text("x")),
        (Reasoning(signature=GEMINI, redacted=True), Text("x")),
        (ToolCall(id="a", name="f", arguments="{}", signature=GEMINI), ToolCall(id="b", name="f", arguments="{}")),
        (ToolCall(id="a", name="f", arguments="{}"), ToolCall(id="x:y", name="f", arguments="{}", signature=GEMINI)),
        (Text("x", signature=GEMINI), ToolCall(id="a", name="f", arguments="{}")),
    ],
)
def test_a_foreign_signature_travels_through_a_client_of_this_dialect(parts):
    (message,) = ANTHROPIC.decode_messages([shown(*parts)], OLD)
    assert message.parts == parts


def test_unsigned_thinking_travels_too():
    (message,) = ANTHROPIC.decode_messages([shown(Reasoning(text="hm"), Text("x"))], OLD)
    assert message.parts == (Reasoning(text="hm"), Text("x"))


def test_what_carries_a_foreign_signature_is_not_sent_to_the_vendor():
    """Where the same client goes on with this vendor, its request passes verbatim but for these blocks."""
    raws = [
        shown(Reasoning(text="hm", signature=GEMINI), Text("x", signature=GEMINI)),
        shown(Reasoning(text="unsigned")),
        b'{"role":"user","content":  "' + SIGNATURE_MARK + b'"}',
        SIGNED,
    ]
    request = ANTHROPIC.open_request(b'{"model":"m","messages":[' + b",".join(raws) + b"]}")
    cleaned = json.loads(ANTHROPIC.splice(request, model="m"))["messages"]
    assert cleaned[0]["content"] == [{"type": "text", "text": "x", "citations": None}]
    assert [message["role"] for message in cleaned] == ["assistant", "user", "assistant"]
    assert ANTHROPIC.splice(request, model="m").endswith(raws[2] + b"," + SIGNED + b"]}")


def test_a_signature_that_was_wrapped_for_a_client_is_not_taken_for_the_vendors():
    wrapped = wrap_signature(GEMINI)
    raw = json.dumps({"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": wrapped}]})
    (message,) = ANTHROPIC.decode_messages([raw.encode()], OLD)
    assert message.parts == (Reasoning(text="hm", signature=GEMINI),)
