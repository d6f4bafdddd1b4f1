import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from gateway.conversation import (
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Signature,
    Text,
    ToolCall,
    ToolResult,
)
from tests.dialects.anthropic_sdk import ANTHROPIC, OLD, checked, opened


def encoded(*messages: Message):
    return [json.loads(raw) for raw in ANTHROPIC.encode_messages(messages, OLD).messages]


def user(*parts) -> Message:
    return Message("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def model(*parts) -> Message:
    return Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def call(id: str, name: str = "f", arguments: str = "{}") -> ToolCall:
    return ToolCall(id=id, name=name, arguments=arguments)


def result(id: str, text: str = "ok", **members) -> ToolResult:
    return ToolResult(call_id=id, content=(Text(text),), **members)


def text_of(block):
    return block["text"]


# ---------------------------------------------------------------- there and back

words = st.text(min_size=1, max_size=12).filter(lambda text: text.strip())
texts = st.builds(Text, words)
signatures = st.builds(
    Signature, st.text("abcdefXYZ123+/=", min_size=1, max_size=20), st.just("anthropic"), st.just(OLD)
)
thoughts = st.one_of(
    st.builds(Reasoning, text=st.text(max_size=12), signature=signatures),
    st.builds(Reasoning, signature=signatures, redacted=st.sampled_from([True])),
)
images = st.one_of(
    st.builds(Image, media_type=st.sampled_from(["image/png", "image/webp"]), data=st.just("aGk=")),
    st.builds(Image, url=st.just("https://x.test/a.png")),
    st.builds(Image, file_id=st.just("file_abc")),
)
files = st.one_of(
    st.builds(File, media_type=st.just("application/pdf"), data=st.just("JVBE"), name=st.text(max_size=5)),
    st.builds(File, media_type=st.just("text/plain"), data=st.just("bmHDr3Zl")),
)
opaque = st.builds(
    Opaque,
    dialect=st.just("anthropic"),
    kind=st.just("search_result"),
    raw=st.just(Raw(b'{"type":"search_result","source":"s","title":"t","content":[],"n":1152921504606846976}')),
)
results_content = st.lists(st.one_of(texts, images, files, opaque), max_size=2).map(tuple)
arguments = st.sampled_from(["{}", '{"b":1,"a":[1152921504606846976]}', '{ "x" : "\\u00e9" }'])


@st.composite
def conversations(draw) -> tuple[Message, ...]:
    """Merged and canonical: roles alternate, results stand first and behind their calls, with their tools' names."""
    messages, answers = [], ()
    for turn in range(draw(st.integers(1, 3))):
        said = draw(st.lists(st.one_of(texts, images, files, opaque), min_size=1, max_size=3))
        messages.append(Message("user", (*answers, *said)))
        calls = [
            ToolCall(id=f"call_{turn}_{number}", name=draw(st.sampled_from("fg")), arguments=draw(arguments))
            for number in range(draw(st.integers(0, 2)))
        ]
        parts = (*draw(st.lists(thoughts, max_size=1)), *draw(st.lists(texts, min_size=1, max_size=2)), *calls)
        messages.append(Message("assistant", parts))
        answers = tuple(
            ToolResult(call_id=one.id, name=one.name, content=draw(results_content), is_error=draw(st.booleans()))
            for one in calls
        )
    return (*messages, *((Message("user", answers),) if answers else ()))


@given(conversations())
@settings(max_examples=60, deadline=None)
def test_a_canonical_conversation_comes_back_as_it_was(conversation):
    coded = ANTHROPIC.encode_messages(conversation, OLD)
    assert coded.dropped == ()
    assert ANTHROPIC.decode_messages(coded.messages, OLD) == conversation


@given(conversations())
@settings(max_examples=30, deadline=None)
def test_every_canonical_conversation_fits_the_sdks_types(conversation):
    raws = ANTHROPIC.encode_messages(conversation, OLD).messages
    checked(b'{"model":"m","max_tokens":1,"messages":[' + b",".join(raws) + b"]}")


def test_the_pieces_of_a_request_are_decoded_as_the_whole_of_it():
    request = opened(
        system=[{"type": "text", "text": "S"}],
        tools=[{"name": "f", "input_schema": {"type": "object"}}],
        messages=[
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]},
        ],
    )
    prompt, spoken = ANTHROPIC.decode_prompt(request), ANTHROPIC.spoken(request)
    assert ANTHROPIC.decode_messages(spoken.messages) == prompt.messages
    assert ANTHROPIC.decode_system(spoken.system) == prompt.system
    assert ANTHROPIC.decode_tools(spoken.tools) == prompt.tools
    assert prompt.messages[-1].parts == (result("a", "1", name="f"),)


def test_a_system_prompt_goes_both_ways():
    assert ANTHROPIC.decode_system((b'"S"',)) == (Text("S"),)
    assert ANTHROPIC.encode_system((Text("A"), Text("B"))) == (
        b'[{"type":"text","text":"A"},{"type":"text","text":"B"}]',
    )
    assert ANTHROPIC.encode_system(()) == ()
    assert ANTHROPIC.decode_system(()) == ()


# ---------------------------------------------------------------- order


def test_neighbours_of_one_role_are_merged():
    assert [m["role"] for m in encoded(user("a"), user("b"), model("c"), model("d"))] == ["user", "assistant"]


def test_parallel_results_stand_in_one_message_directly_behind_their_calls():
    messages = encoded(
        user("go"),
        model(call("a"), call("b")),
        user("wait"),
        user(result("b", "2")),
        model("hm"),
        user(result("a", "1"), "done"),
    )
    assert [m["role"] for m in messages] == ["user", "assistant", "user", "assistant", "user"]
    answers = messages[2]["content"]
    assert [block.get("tool_use_id", block.get("text")) for block in answers] == ["a", "b", "wait"]
    assert [text_of(block) for block in messages[4]["content"]] == ["done"]


def test_calls_that_came_in_two_messages_are_answered_together():
    messages = encoded(model(call("a")), model(call("b")), user(result("b")), user(result("a")))
    assert [[block["type"] for block in m["content"]] for m in messages] == [
        ["tool_use", "tool_use"],
        ["tool_result", "tool_result"],
    ]


def test_an_id_that_is_used_again_is_answered_each_time():
    messages = encoded(model(call("a")), user(result("a", "1")), model(call("a")), user(result("a", "2")))
    assert [m["content"][0].get("content") for m in messages] == [None, "1", None, "2"]


def test_a_second_result_of_one_call_is_left_out_and_reported():
    coded = ANTHROPIC.encode_messages([model(call("a")), user(result("a", "1"), result("a", "1"))], OLD)
    assert len(json.loads(coded.messages[1])["content"]) == 1
    assert coded.dropped == ("content.tool_result",)


def test_a_result_whose_call_is_in_the_history_stays_in_front():
    (message,) = encoded(user("and", result("a")))
    assert [block["type"] for block in message["content"]] == ["tool_result", "text"]


def test_results_are_put_in_front_when_a_client_did_not():
    raw = b'{"role":"user","content":[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"a"}]}'
    (message,) = ANTHROPIC.decode_messages([raw])
    assert message.parts == (ToolResult(call_id="a", content=()), Text("x"))


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_empty_text_is_left_out_and_so_is_a_message_of_nothing_else(blank):
    assert encoded(user("a"), model(blank), user(blank, "b")) == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ]


def test_a_system_message_in_mid_conversation_is_the_users_and_marked():
    messages = encoded(user("a"), model("b"), Message("system", (Text("Be kind."),)), user("c"))
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert text_of(messages[2]["content"][0]) == "<system-message>\nBe kind.\n</system-message>"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "{}"),
        (" \n", "{}"),
        ('{"b":1152921504606846976,"a":1}', '{"b":1152921504606846976,"a":1}'),
        ("[1]", '{"input":"[1]"}'),
        ('{"a":', '{"input":"{\\"a\\":"}'),
        ("null", '{"input":"null"}'),
    ],
)
def test_arguments_are_an_object_whatever_the_model_wrote(arguments, expected):
    (raw,) = ANTHROPIC.encode_messages([model(call("a", arguments=arguments))], OLD).messages
    assert f'"input":{expected}}}'.encode() in raw


def test_a_custom_tools_text_is_its_input():
    (message,) = encoded(model(ToolCall(id="a", name="patch", arguments="*** Begin", custom=True)))
    assert message["content"][0]["input"] == {"input": "*** Begin"}


def test_an_id_in_foreign_letters_is_changed_alike_in_call_and_result():
    messages = encoded(model(call("functions.f:0")), user(result("functions.f:0")))
    assert messages[0]["content"][0]["id"] == messages[1]["content"][0]["tool_use_id"] == "functions_f_0"


def test_a_result_may_have_an_image_and_be_an_error_and_be_empty():
    shown = ToolResult(call_id="a", content=(Text("see"), Image(data="iVBO")), is_error=True)
    (message,) = encoded(user(shown, ToolResult(call_id="b", content=())))
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
    assert message["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": [{"type": "text", "text": "see"}, picture],
            "is_error": True,
        },
        {"type": "tool_result", "tool_use_id": "b"},
    ]


@pytest.mark.parametrize(
    ("part", "media_type"),
    [
        (Image(data="/9j/4AAQ"), "image/jpeg"),
        (Image(data="R0lGODdh"), "image/gif"),
        (Image(data="UklGRg=="), "image/webp"),
        (Image(data="iVBORw0K"), "image/png"),
        (Image(data="iVBO", media_type="image/JPG; q=1"), "image/jpeg"),
    ],
)
def test_an_images_type_is_named_even_where_the_client_did_not(part, media_type):
    (message,) = encoded(user(part))
    assert message["content"][0]["source"]["media_type"] == media_type


@pytest.mark.parametrize(
    ("part", "dropped"),
    [
        (Audio(data="x", media_type="audio/wav"), "content.audio"),
        (Image(file_id="file-openai"), "content.file_id"),
        (Image(url="https://x.test", detail="high"), "content.image.detail"),
        (File(data="UEs=", media_type="application/zip"), "content.file:application/zip"),
        (File(data="a", media_type="text/plain"), "content.file:not base64"),
        (Opaque(dialect="gemini", kind="executableCode", raw=Raw(b"{}")), "content.opaque:executableCode"),
    ],
)
def test_what_the_vendor_cannot_take_is_reported(part, dropped):
    assert ANTHROPIC.encode_messages([user("x", part)], OLD).dropped == (dropped,)


def test_what_only_a_user_may_show_is_left_out_of_the_assistants_words():
    coded = ANTHROPIC.encode_messages([model("x", Image(data="iVBO"), File(url="https://x.test"))], OLD)
    assert json.loads(coded.messages[0])["content"] == [{"type": "text", "text": "x"}]
    assert coded.dropped == ("assistant.file", "assistant.image")


def test_a_refusal_is_said_as_text():
    assert encoded(model(Refusal("No.")))[0]["content"] == [{"type": "text", "text": "No."}]


def test_citations_come_back_in_their_text_but_never_in_a_users():
    raw = (
        b'{"role":"assistant","content":[{"type":"text","text":"Seen.","citations":'
        b'[{"type":"web_search_result_location","encrypted_index":"E"}]}]}'
    )
    (message,) = ANTHROPIC.decode_messages([raw])
    assert message.parts[0] == Text("Seen.")
    assert ANTHROPIC.encode_messages([message], OLD).messages == (raw,)
    (other,) = encoded(Message("user", message.parts))
    assert other["content"] == [{"type": "text", "text": "Seen."}]


def test_a_call_by_the_vendors_own_tool_keeps_its_caller():
    raw = (
        b'{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{},'
        b'"caller":{"type":"code_execution_20250825","tool_id":"srvtoolu_1"},"toolset_name":"computer"}]}'
    )
    assert ANTHROPIC.encode_messages(ANTHROPIC.decode_messages([raw]), OLD).messages == (raw,)


def test_blocks_of_the_vendors_own_tools_come_back_byte_for_byte():
    raw = (
        b'{"role":"assistant","content":[{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"q":1}},'
        b'{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"encrypted_content":"E"}]}]}'
    )
    assert ANTHROPIC.encode_messages(ANTHROPIC.decode_messages([raw]), OLD).messages == (raw,)


def test_the_same_messages_always_give_the_same_bytes():
    messages = [user("a"), model(call("x", arguments='{"z":1,"a":2}')), user(result("x"))]
    assert len({ANTHROPIC.encode_messages(messages, OLD).messages for _ in range(3)}) == 1
