"""Messages of Chat, both ways: results behind calls, content of all kinds, thinking with its signatures."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from gateway.conversation import (
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Origin,
    Reasoning,
    Refusal,
    Reply,
    Signature,
    Text,
    ToolCall,
    ToolResult,
    merged,
    wrap_signature,
)
from gateway.dialects import openai_chat as chat
from gateway.dialects.dialect import ReplyHead
from gateway.dialects.openai_chat.messages import short_id

PARAM = TypeAdapter(ChatCompletionMessageParam)
DEEPSEEK = Origin("deepseek", "deepseek-v4")
OPENROUTER = Origin("openrouter", "anthropic/claude")
CLAUDE = Origin("claude", "sonnet")


def decoded(*messages: dict[str, Any], origin: Origin | None = None) -> tuple[Message, ...]:
    return chat.decode_messages([msgspec.json.encode(message) for message in messages], origin)


def encoded(*messages: Message, target: Origin = DEEPSEEK) -> list[dict[str, Any]]:
    return [msgspec.json.decode(raw) for raw in chat.encode_messages(messages, target).messages]


def dropped(*messages: Message, target: Origin = DEEPSEEK) -> tuple[str, ...]:
    return chat.encode_messages(messages, target).dropped


def user(*parts: Any) -> Message:
    return Message("user", parts)


def assistant(*parts: Any) -> Message:
    return Message("assistant", parts)


def call(call_id: str, name: str = "f", arguments: str = "{}") -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=arguments)


def result(call_id: str, text: str = "1") -> ToolResult:
    return ToolResult(call_id=call_id, content=(Text(text),))


# ---------------------------------------------------------------- tools


def test_two_parallel_calls_and_their_results_are_read() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"n":1152921504606846977}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": {"z": 1152921504606846977, "a": 1}}},
    ]
    assert decoded(
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}], "name": "g"},
        {"role": "user", "content": "Well?"},
        {"role": "user", "content": "Go on"},
    ) == (
        assistant(call("a", arguments='{"n":1152921504606846977}'), call("b", "g", '{"z":1152921504606846977,"a":1}')),
        user(result("a"), ToolResult(call_id="b", content=(Text("2"),), name="g"), Text("Well?")),
        user(Text("Go on")),
    )


def test_results_are_written_directly_behind_their_calls_wherever_they_were_said() -> None:
    messages = encoded(
        user(Text("Ask")),
        assistant(Text("One moment"), call("a"), call("b")),
        Message("system", (Text("Hurry"),)),
        user(Text("Here"), result("b", "2")),
        user(result("a", "1"), Text("done")),
    )
    assert [(m["role"], m.get("tool_call_id"), m["content"]) for m in messages] == [
        ("user", None, "Ask"),
        ("assistant", None, "One moment"),
        ("tool", "a", "1"),
        ("tool", "b", "2"),
        ("system", None, "Hurry"),
        ("user", None, [{"type": "text", "text": "Here"}, {"type": "text", "text": "done"}]),
    ]


def test_results_for_calls_in_the_history_come_first() -> None:
    messages = encoded(user(Text("and?"), result("old", "1")))
    assert [m["role"] for m in messages] == ["tool", "user"]


def test_one_id_used_by_two_turns_gets_each_its_own_result() -> None:
    messages = encoded(
        user(result("a", "0")),
        assistant(call("a")),
        user(result("a", "1")),
        assistant(call("a")),
        user(result("a", "2")),
    )
    assert [m["content"] for m in messages if m["role"] == "tool"] == ["0", "1", "2"]


def test_a_call_without_words_has_a_content_that_is_null() -> None:
    raw = chat.encode_messages([assistant(call("a"))], DEEPSEEK).messages[0]
    assert b'"content":null' in raw


def test_empty_arguments_become_an_empty_object() -> None:
    assert encoded(assistant(call("a", arguments=" ")))[0]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_arguments_go_out_as_the_model_wrote_them() -> None:
    text = '{"b": 1152921504606846977, "a": "not {json'
    assert encoded(assistant(call("a", arguments=text)))[0]["tool_calls"][0]["function"]["arguments"] == text


def test_an_id_longer_than_openai_takes_is_shortened_alike_in_call_and_result() -> None:
    messages = encoded(assistant(call("x" * 41)), user(result("x" * 41)))
    assert messages[0]["tool_calls"][0]["id"] == messages[1]["tool_call_id"] == short_id("x" * 41)
    assert len(short_id("x" * 41)) <= 40
    assert short_id("x" * 41) != short_id("x" * 42)
    assert short_id("x" * 40) == "x" * 40


def test_a_custom_call_and_its_result_are_read_and_written() -> None:
    wire = [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "p", "input": "raw"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ]
    messages = decoded(*wire)
    assert messages == (
        assistant(ToolCall(id="c", name="p", arguments="raw", custom=True)),
        user(ToolResult(call_id="c", content=(Text("ok"),), custom=True)),
    )
    assert encoded(*messages) == wire


def test_legacy_function_calls_get_ids_that_their_results_find() -> None:
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x":1}'}}
    answer = {"role": "function", "name": "f", "content": "1"}
    messages = decoded(legacy, answer, legacy, answer)
    calls = [part.id for m in messages for part in m.parts if isinstance(part, ToolCall)]
    results = [part.call_id for m in messages for part in m.parts if isinstance(part, ToolResult)]
    assert calls == results
    assert len(set(calls)) == 2
    assert decoded(answer)[0].parts == (ToolResult(call_id=calls[0], content=(Text("1"),), name="f"),)


def test_what_a_tool_showed_follows_its_result_as_a_users_message() -> None:
    shot = Image(media_type="image/png", data="AAAA")
    messages = encoded(
        assistant(call("a"), call("b")),
        user(ToolResult(call_id="a", content=(shot,)), result("b"), Text("See?")),
    )
    assert [m["role"] for m in messages] == ["assistant", "tool", "tool", "user"]
    assert messages[1]["content"] == "The result is in the next message of the user."
    assert messages[3]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "See?"},
    ]


def test_that_a_result_is_an_error_has_no_member_and_is_reported() -> None:
    assert dropped(user(ToolResult(call_id="a", content=(Text("x"),), is_error=True))) == ("tool_result.is_error",)


# ---------------------------------------------------------------- content

VIDEO = {"type": "video_url", "video_url": {"url": "https://x.test/a.mp4"}}
CONTENT = [
    ({"type": "text", "text": "x"}, Text("x")),
    (
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA", "detail": "high"}},
        Image(media_type="image/jpeg", data="AAAA", detail="high"),
    ),
    ({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}, Image(url="https://x.test/a.png")),
    (
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        Audio(media_type="audio/wav", data="AAAA"),
    ),
    (
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        Audio(media_type="audio/mp3", data="AAAA"),
    ),
    ({"type": "file", "file": {"file_id": "file-1"}}, File(file_id="file-1")),
    (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        File(media_type="application/pdf", data="AAAA", name="a.pdf"),
    ),
    (
        VIDEO,
        Opaque(dialect="openai_chat", kind="video_url", raw=Raw(msgspec.json.encode(VIDEO))),
    ),
]


@pytest.mark.parametrize(("item", "part"), CONTENT)
def test_each_kind_of_content_is_read_and_written(item: dict[str, Any], part: Any) -> None:
    wire = {"role": "user", "content": [{"type": "text", "text": "Look"}, item]}
    assert decoded(wire) == (user(Text("Look"), part),)
    assert encoded(user(Text("Look"), part)) == [wire]


@pytest.mark.parametrize(
    ("item", "part"),
    [
        ({"type": "image_url", "image_url": "https://x.test/a.png"}, Image(url="https://x.test/a.png")),
        ({"type": "image_url", "image_url": {"url": "data:text/plain,hi"}}, Image(url="data:text/plain,hi")),
        (
            {"type": "file", "file": {"filename": "A.PDF", "file_data": "AAAA"}},
            File(media_type="application/pdf", data="AAAA", name="A.PDF"),
        ),
        ({"type": "file", "file": {"file_data": "https://x.test/a.pdf"}}, File(url="https://x.test/a.pdf")),
    ],
)
def test_loose_ways_of_writing_content_are_understood(item: dict[str, Any], part: Any) -> None:
    assert decoded({"role": "user", "content": [item]}) == (user(part),)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Image(file_id="x"), "content.image.file_id"),
        (File(url="https://x.test"), "content.file.url"),
        (Audio(url="https://x.test"), "content.audio.url"),
        (Opaque(dialect="gemini", kind="executable_code", raw=Raw(b"{}")), "content.opaque:executable_code"),
    ],
)
def test_content_that_chat_cannot_say_is_left_out_and_reported(part: Any, name: str) -> None:
    assert encoded(user(Text("x"), part)) == [{"role": "user", "content": "x"}]
    assert dropped(user(Text("x"), part)) == (name,)


def test_images_of_an_assistant_are_left_out_and_reported() -> None:
    said = assistant(Text("x"), Image(data="AAAA"))
    assert encoded(said) == [{"role": "assistant", "content": "x"}]
    assert dropped(said) == ("content.image",)


def test_an_assistant_of_whom_nothing_can_be_said_is_left_out() -> None:
    assert encoded(user(Text("a")), assistant(Reasoning("hm")), user(Text("b"))) == [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
    ]


def test_audio_of_the_model_is_referred_to_by_its_id() -> None:
    said = {"role": "assistant", "content": None, "audio": {"id": "audio_1", "data": "AAAA", "transcript": "Hi"}}
    assert encoded(*decoded(said)) == [{"role": "assistant", "content": None, "audio": {"id": "audio_1"}}]


def test_a_system_prompt_of_one_text_is_a_string_and_of_several_a_list() -> None:
    one, two = (Text("a"),), (Text("a"), Text("b"))
    assert chat.encode_system(one) == (b'{"role":"system","content":"a"}',)
    for parts in ((), one, two):
        assert chat.decode_system(chat.encode_system(parts)) == parts


# ---------------------------------------------------------------- thinking


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning"])
def test_plain_thinking_goes_back_to_its_maker_alone_in_the_member_it_came_in(member: str) -> None:
    said = {"role": "assistant", "content": "Hi", member: "hm"}
    messages = decoded(said, origin=DEEPSEEK)
    assert messages == (assistant(Reasoning("hm", signature=Signature(member, "openai_chat", DEEPSEEK)), Text("Hi")),)
    assert encoded(*messages) == [said]
    assert encoded(*messages, target=OPENROUTER) == [{"role": "assistant", "content": "Hi"}]
    assert dropped(*messages, target=OPENROUTER) == ("reasoning",)


DETAILS = [
    {"type": "reasoning.summary", "format": "x", "index": 0, "summary": "short"},
    {"type": "reasoning.encrypted", "data": "abc", "id": "rs_1", "format": "x", "index": 1},
    {"type": "reasoning.text", "signature": "sig", "index": 2, "format": None, "text": "hm"},
]


def test_reasoning_details_go_back_to_their_maker_as_they_came() -> None:
    said = {"role": "assistant", "content": "Hi", "reasoning": "hm", "reasoning_details": DETAILS}
    messages = decoded(said, origin=OPENROUTER)
    kinds = [(p.text, p.summary, p.redacted, p.id) for p in messages[0].parts if isinstance(p, Reasoning)]
    assert kinds == [("short", True, False, ""), ("", False, True, "rs_1"), ("hm", False, False, "")]
    assert encoded(*messages, target=OPENROUTER)[0]["reasoning_details"] == DETAILS
    assert encoded(*messages, target=DEEPSEEK) == [{"role": "assistant", "content": "Hi"}]


@pytest.mark.parametrize(
    "part",
    [
        Reasoning("hm", signature=Signature("c2ln", "anthropic", CLAUDE)),
        Reasoning("", signature=Signature("c2ln", "anthropic", CLAUDE), redacted=True),
        Reasoning("short", signature=Signature("c2ln", "openai_responses", CLAUDE), summary=True, id="rs_1"),
        Reasoning("", signature=Signature("c2ln", "openai_responses", CLAUDE), id="rs_1"),
    ],
)
def test_thinking_of_another_dialect_survives_a_client_that_sends_messages_back_unchanged(part: Reasoning) -> None:
    message = shown(part, Text("Hi"))
    assert message.get("reasoning_content") == (part.text or None)
    assert decoded(message) == (assistant(part, Text("Hi")),)


def test_signatures_of_calls_and_texts_survive_such_a_client_too() -> None:
    signature = Signature("c2ln", "gemini", Origin("google", "gemini-3"))
    parts = (
        Text("Hi", signature=signature),
        ToolCall(id="a", name="f", arguments="{}", signature=signature),
        ToolCall(id="b", name="f", arguments="{}"),
    )
    assert decoded(shown(*parts)) == (assistant(*parts),)


def test_a_thought_signature_of_this_dialect_goes_back_to_its_maker_alone() -> None:
    extra = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    wire = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, **extra}],
    }
    messages = decoded(wire, origin=OPENROUTER)
    assert encoded(*messages, target=OPENROUTER) == [wire]
    assert "extra_content" not in encoded(*messages, target=DEEPSEEK)[0]["tool_calls"][0]


def test_a_wrapped_signature_that_was_damaged_is_no_error() -> None:
    mark = wrap_signature(Signature("x", "anthropic"))[:20]
    message = {"role": "assistant", "reasoning_details": [{"type": "reasoning.text", "text": "x", "signature": mark}]}
    (part,) = decoded(message)[0].parts
    assert isinstance(part, Reasoning)
    assert encoded(assistant(part, Text("y"))) == [{"role": "assistant", "content": "y"}]


def shown(*parts: Any) -> dict[str, Any]:
    """The message as a client of ours is given it."""
    request = chat.open_request(b'{"model":"m","messages":[{}]}')
    body = chat.encode_reply(Reply(parts=parts), ReplyHead("1", 0, request))
    message: dict[str, Any] = msgspec.json.decode(body)["choices"][0]["message"]
    return message


# ---------------------------------------------------------------- there and back

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
data = st.sampled_from(["AAAA", "c2ln"])
blobs = st.one_of(
    st.builds(
        Image, media_type=st.sampled_from(["image/png", "image/webp"]), data=data, detail=st.sampled_from(["", "low"])
    ),
    st.builds(Image, url=words.map("https://x.test/{}".format)),
    st.builds(Audio, media_type=st.sampled_from(["audio/wav", "audio/mp3"]), data=data),
    st.builds(File, media_type=st.just("application/pdf"), data=data, name=words),
    st.builds(File, file_id=words),
)
own_signatures = st.sampled_from(["reasoning_content", '{"type":"reasoning.text","signature":"s","index":0}']).map(
    lambda value: Signature(value, "openai_chat", DEEPSEEK)
)


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """One exchange in canonical form; its tool calls have ids of this turn alone."""
    number = draw(st.integers(0, 10**6))
    signature = draw(st.none() | own_signatures)
    thinking = [Reasoning(draw(words), signature=signature)] if signature else []
    text = draw(st.just([]) | st.tuples(st.builds(Text, words)).map(list))
    calls = [
        ToolCall(
            id=f"c{number}_{i}", name=draw(words), arguments=draw(words.filter(str.strip)), custom=draw(st.booleans())
        )
        for i in range(draw(st.integers(0 if text else 1, 3)))
    ]
    results = [
        ToolResult(call_id=c.id, content=tuple(draw(st.lists(st.builds(Text, words), max_size=2))), custom=c.custom)
        for c in calls
    ]
    question = draw(st.lists(st.builds(Text, words) | blobs, min_size=1, max_size=3))
    said = [user(*question), assistant(*thinking, *text, *calls)]
    return [*said, user(*results)] if results else said


@settings(max_examples=60, deadline=None)
@given(st.lists(turns(), min_size=1, max_size=3))
def test_what_is_encoded_is_decoded_to_the_same(conversation: list[list[Message]]) -> None:
    renamed = [message for turn in conversation for message in turn]
    ids = [p.id for m in renamed for p in m.parts if isinstance(p, ToolCall)]
    if len(set(ids)) < len(ids):
        return
    whole = merged(renamed)
    wire = chat.encode_messages(whole, DEEPSEEK)
    assert wire.dropped == ()
    assert chat.decode_messages(wire.messages, DEEPSEEK) == whole
    for raw in wire.messages:
        PARAM.validate_python(msgspec.json.decode(raw))


def test_a_refusal_comes_back_as_one() -> None:
    said = assistant(Refusal("No."))
    assert chat.decode_messages(chat.encode_messages([said], DEEPSEEK).messages) == (said,)
