"""Contents, parts, tools and schemas: what is read, what is matched, and that writing and reading agree."""

import json
from base64 import b64encode
from itertools import pairwise

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from gateway.conversation import (
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Origin,
    Reasoning,
    Signature,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    merged,
    wrap_signature,
)
from gateway.dialects import gemini

NEW = Origin("google", "gemini-3.1-pro")


def read(*contents: dict, origin: Origin | None = None) -> tuple[Message, ...]:
    return gemini.decode_messages([json.dumps(content).encode() for content in contents], origin)


def part(given: dict, origin: Origin | None = None, role: str = "model"):
    return read({"role": role, "parts": [given]}, origin=origin)[0].parts[0]


def call(name: str, args: dict | None = None, **more) -> dict:
    return {"functionCall": {"name": name, "args": args or {}, **more}}


def result(name: str, output: str = "ok", **more) -> dict:
    return {"functionResponse": {"name": name, "response": {"output": output}, **more}}


def model(*parts: dict) -> dict:
    return {"role": "model", "parts": list(parts)}


def user(*parts: dict) -> dict:
    return {"role": "user", "parts": list(parts)}


def ids(messages: tuple[Message, ...]) -> list[str]:
    return [each.call_id for message in messages for each in message.parts if isinstance(each, ToolResult)]


def call_ids(messages: tuple[Message, ...]) -> list[str]:
    return [each.id for message in messages for each in message.parts if isinstance(each, ToolCall)]


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"text": "Hi"}, Text("Hi")),
        ({"text": "Hi", "thought": None, "thoughtSignature": "c2ln"}, Text("Hi", Signature("c2ln", "gemini", NEW))),
        ({"text": "hm", "thought": True}, Reasoning("hm", summary=True)),
        ({"thoughtSignature": "c2ln"}, Text("", Signature("c2ln", "gemini", NEW))),
        ({"inlineData": {"mimeType": "image/png", "data": "aGk="}}, Image(media_type="image/png", data="aGk=")),
        ({"inlineData": {"mimeType": "audio/wav", "data": "aGk="}}, Audio(media_type="audio/wav", data="aGk=")),
        (
            {"inlineData": {"mimeType": "application/pdf", "data": "aGk=", "displayName": "a.pdf"}},
            File(media_type="application/pdf", data="aGk=", name="a.pdf"),
        ),
        ({"fileData": {"fileUri": "https://x/y.png", "mimeType": "image/png"}}, Image(media_type="image/png", url="https://x/y.png")),
        ({"fileData": {"fileUri": "gs://b/v.mp4", "mimeType": "video/mp4"}}, File(media_type="video/mp4", file_id="gs://b/v.mp4")),
    ],
)  # fmt: skip
def test_a_part_is_read(given: dict, read: object) -> None:
    assert part(given, NEW) == read


def test_a_part_that_only_gemini_knows_is_kept() -> None:
    code = part({"executableCode": {"language": "PYTHON", "code": "1\n+1"}})
    assert isinstance(code, Opaque)
    assert (code.dialect, code.kind) == ("gemini", "executableCode")
    assert json.loads(bytes(code.raw)) == {"executableCode": {"language": "PYTHON", "code": "1\n+1"}}


def test_the_signature_of_an_opaque_part_goes_back_to_its_maker_only() -> None:
    code = part({"executableCode": {"code": "1"}, "thoughtSignature": "c2ln"}, NEW)
    said = [Message("assistant", (code,))]
    assert json.loads(gemini.encode_messages(said, NEW).messages[0])["parts"][0]["thoughtSignature"] == "c2ln"
    elsewhere = gemini.encode_messages(said, Origin("google", "gemini-4-argon")).messages[0]
    assert json.loads(elsewhere)["parts"] == [{"executableCode": {"code": "1"}}]


def test_arguments_keep_their_numbers_and_order() -> None:
    raw = b'{"role":"model","parts":[{"functionCall":{"name":"f","args":{\n "z": 1152921504606846977,\n "a": 1.0 }}}]}'
    (message,) = gemini.decode_messages([raw])
    assert message.parts[0].arguments == '{"z":1152921504606846977,"a":1.0}'


@pytest.mark.parametrize("text", ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go", ""])
def test_a_stand_in_is_no_signature(text: str) -> None:
    assert part({**call("f"), "thoughtSignature": text}).signature is None


@pytest.mark.parametrize("urlsafe", [False, True])
def test_a_wrapped_signature_is_its_makers_again(*, urlsafe: bool) -> None:
    mine = Signature("\u00ff\u00fe?>" * 9, "anthropic", Origin("claude", "c"))
    wrapped = wrap_signature(mine)
    text = wrapped.replace("+", "-").replace("/", "_") if urlsafe else wrapped
    assert part({"text": "hm", "thought": True, "thoughtSignature": text}) == Reasoning("hm", mine)


def test_pieces_of_a_reply_are_put_together() -> None:
    pieces = [
        model({"text": "th", "thought": True}),
        model({"text": "ink", "thought": True}),
        model({"text": "", "thought": True, "thoughtSignature": "c2ln"}),
        model({"text": "Hel"}),
        model({"text": "lo"}, call("f", id="1")),
        model({"text": ""}),
    ]
    assert read(*pieces, origin=NEW) == (
        Message(
            "assistant",
            (
                Reasoning("think", Signature("c2ln", "gemini", NEW), summary=True),
                Text("Hello"),
                ToolCall("1", "f", "{}"),
            ),
        ),
    )


def test_texts_of_the_user_stay_apart() -> None:
    assert read(user({"text": "a"}, {"text": "b"}), user({"text": "c"})) == (
        Message("user", (Text("a"), Text("b"))),
        Message("user", (Text("c"),)),
    )


@pytest.mark.parametrize(
    ("response", "words", "failed"),
    [
        ({"output": "x"}, "x", False),
        ({"result": "x"}, "x", False),
        ({"error": "x"}, "x", True),
        ({"output": {"a": 1}}, '{"output":{"a":1}}', False),
        ({"a": 1, "output": "x"}, '{"a":1,"output":"x"}', False),
        ({}, "{}", False),
    ],
)
def test_the_response_of_a_function_is_text(response: dict, words: str, *, failed: bool) -> None:
    found = part({"functionResponse": {"id": "1", "name": "f", "response": response}}, role="user")
    assert found == ToolResult("1", (Text(words),), "f", is_error=failed)


def test_a_response_may_hold_media() -> None:
    media = [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]
    found = part(result("f", id="1", parts=media), role="user")
    assert found.content == (Text("ok"), Image(media_type="image/png", data="aGk="))


# ---------------------------------------------------------------- calls and results


def test_calls_without_ids_get_ids_that_stay() -> None:
    turns = [user({"text": "x"}), model(call("f"), call("f"), call("f", {"a": 1}), call("g", id="own"))]
    first = call_ids(read(*turns))
    assert len(set(first)) == 4
    assert first[3] == "own"
    assert all(each.startswith("call_") for each in first[:3])
    longer = read(*turns, user(result("f"), result("f")), model(call("f")))
    assert call_ids(longer)[:4] == first
    assert len(set(call_ids(longer))) == 5


def test_results_answer_calls_by_name_and_order() -> None:
    messages = read(
        model(call("f", {"a": 1}), call("g"), call("f", {"a": 2})),
        user(result("g"), result("f", "1"), result("f", "2")),
    )
    first, second, third = call_ids(messages)
    assert ids(messages) == [second, first, third]


def test_results_are_matched_by_id_where_they_have_one() -> None:
    messages = read(
        model(call("f", id="1"), call("f", id="2")),
        user({"text": "see"}, {"functionResponse": {"id": "2", "response": {}}}, result("f")),
    )
    assert ids(messages) == ["2", "1"]
    assert [each.name for each in messages[1].parts[:2]] == ["f", "f"]


@pytest.mark.parametrize("with_id", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_a_result_that_comes_twice_is_kept_once(*, with_id: bool, apart: bool) -> None:
    given = {"id": "1"} if with_id else {}
    twice = (
        [user(result("f", **given)), user(result("f", **given))]
        if apart
        else [user(result("f", **given), result("f", **given))]
    )
    messages = read(model(call("f", **given)), *twice, model({"text": "done"}), user({"text": "next"}))
    assert ids(messages) == call_ids(messages)
    assert [message.role for message in messages] == ["assistant", "user", "assistant", "user"]


def test_parallel_calls_answered_twice_keep_one_answer_each() -> None:
    messages = read(
        model(call("f", {"a": 1}), call("f", {"a": 2})),
        user(result("f", "1"), result("f", "1"), result("f", "2"), result("f", "2")),
    )
    assert ids(messages) == call_ids(messages)
    assert [each.content for each in messages[1].parts] == [(Text("1"),), (Text("2"),)]


def test_two_calls_may_have_the_same_answer() -> None:
    messages = read(model(call("f", {"a": 1}), call("f", {"a": 2})), user(result("f"), result("f")))
    assert ids(messages) == call_ids(messages)


def test_an_answer_repeated_after_the_turn_is_left_out() -> None:
    messages = read(model(call("f")), user(result("f")), model({"text": "done"}), user(result("f"), {"text": "next"}))
    assert ids(messages) == call_ids(messages)
    assert messages[3] == Message("user", (Text("next"),))


def test_a_result_whose_call_is_not_there_keeps_what_it_has() -> None:
    (message,) = read(user(result("f"), result("g", id="9")))
    assert [(each.call_id, each.name) for each in message.parts] == [("", "f"), ("9", "g")]


def test_results_in_several_contents_become_one_message() -> None:
    messages = read(model(call("f"), call("g")), user(result("f")), {"role": "function", "parts": [result("g")]})
    assert len(messages) == 2
    assert ids(messages) == call_ids(messages)


# ---------------------------------------------------------------- tools and schemas


def declared(schema: dict, member: str = "parameters") -> dict:
    tools = [{"functionDeclarations": [{"name": "f", "description": "d", member: schema}]}]
    (tool,) = gemini.decode_tools(json.dumps(tools).encode())
    assert (tool.name, tool.description) == ("f", "d")
    return json.loads(bytes(tool.parameters))


@pytest.mark.parametrize("upper", [True, False])
def test_googles_schema_becomes_json_schema(*, upper: bool) -> None:
    kind = str.upper if upper else str.lower
    schema = {
        "type": kind("object"),
        "properties": {
            "any_of": {"type": kind("string"), "format": "enum", "enum": ["a"], "nullable": True},
            "list": {"type": kind("array"), "items": {"type": kind("integer"), "format": "int64"}, "min_items": "1"},
            "either": {"any_of": [{"type": kind("number")}, {"type": kind("boolean")}], "nullable": True},
            "pet": {"ref": "#/defs/Pet"},
        },
        "property_ordering": ["list", "pet"],
        "defs": {"Pet": {"type": kind("string")}},
    }
    changed = declared(schema)
    assert changed == {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "integer", "format": "int64"}, "minItems": 1},
            "pet": {"$ref": "#/$defs/Pet"},
            "any_of": {"type": ["string", "null"], "enum": ["a", None]},
            "either": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
        },
        "$defs": {"Pet": {"type": "string"}},
    }
    assert list(changed["properties"]) == ["list", "pet", "any_of", "either"]


def test_json_schema_is_read_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"nullable": True, "const": 1}}}
    assert declared(schema, "parametersJsonSchema") == schema
    assert declared(schema, "parameters_json_schema") == schema


def test_a_schema_of_any_depth_is_survived() -> None:
    deep: dict = {"type": "STRING"}
    for _ in range(300):
        deep = {"type": "OBJECT", "properties": {"a": deep}}
    assert declared(deep)["properties"]["a"]["type"] == "object"


def encoded(*tools: Tool) -> list[dict]:
    found = json.loads(gemini.encode_tools(tools).body)
    types.GenerateContentConfig.model_validate({"tools": found})
    return found


def test_a_schema_goes_up_as_it_came() -> None:
    schema = (
        b'{"type":"object","properties":{"z":{"exclusiveMinimum":1152921504606846977},'
        b'"a":{"const":1,"$comment":"x"}},"additionalProperties":false}'
    )
    body = gemini.encode_tools((Tool(name="f", description="d", parameters=Raw(schema)),)).body
    assert body == b'[{"functionDeclarations":[{"name":"f","description":"d","parametersJsonSchema":' + schema + b"}]}]"


@pytest.mark.parametrize("schema", [b"", b"null", b"true", b"{}", b"nonsense"])
def test_a_function_without_parameters_has_none(schema: bytes) -> None:
    assert encoded(Tool(name="f", parameters=Raw(schema))) == [{"functionDeclarations": [{"name": "f"}]}]


def test_what_gemini_refuses_in_a_schema_is_removed() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {
            "pet": {"$ref": "#/definitions/Pet", "description": "mine"},
            "other": {"$ref": "#/definitions/Pet"},
            "tree": {"$ref": "#/definitions/Tree", "description": "grows"},
            "lost": {"$ref": "#/definitions/Nobody", "description": "gone"},
            "$ref": {"type": "string"},
        },
        "definitions": {
            "Pet": {"type": "string"},
            "Tree": {"type": "object", "properties": {"kid": {"$ref": "#/definitions/Tree", "description": "small"}}},
        },
    }
    found = encoded(Tool(name="f", parameters=Raw(json.dumps(schema).encode())))
    changed = found[0]["functionDeclarations"][0]["parametersJsonSchema"]
    small_tree = {"type": "object", "properties": {"kid": {"$ref": "#/$defs/Tree"}}, "description": "small"}
    assert changed == {
        "type": "object",
        "properties": {
            "pet": {"type": "string", "description": "mine"},
            "other": {"$ref": "#/$defs/Pet"},
            "tree": {"type": "object", "properties": {"kid": {"$ref": "#/$defs/Tree"}}, "description": "grows"},
            "lost": {"$ref": "#/$defs/Nobody"},
            "$ref": {"type": "string"},
        },
        "$defs": {"Pet": {"type": "string"}, "Tree": {"type": "object", "properties": {"kid": small_tree}}},
    }


def test_built_in_tools_are_kept_for_gemini_and_reported_elsewhere() -> None:
    given = b'[{"google_search":{"x":1}},{"functionDeclarations":[{"name":"f"}],"codeExecution":{}}]'
    tools = gemini.decode_tools(given)
    assert [(tool.name, tool.dialect, bytes(tool.raw)) for tool in tools] == [
        ("googleSearch", "gemini", b'{"googleSearch":{"x":1}}'),
        ("f", "", b""),
        ("codeExecution", "gemini", b'{"codeExecution":{}}'),
    ]
    foreign = Tool(name="web_search", dialect="anthropic", raw=Raw(b"{}"))
    again = gemini.encode_tools((*tools, foreign))
    assert json.loads(again.body) == [
        {"functionDeclarations": [{"name": "f"}]},
        {"googleSearch": {"x": 1}},
        {"codeExecution": {}},
    ]
    assert again.dropped == ("tool:web_search",)


def test_a_custom_tool_is_a_function_with_one_input() -> None:
    tool = Tool(name="patch", description="Applies.", custom=True, format=Raw(b'{"syntax":"lark"}'))
    ((declaration,),) = [each["functionDeclarations"] for each in encoded(tool)]
    assert declaration["parametersJsonSchema"]["required"] == ["input"]
    assert declaration["description"] == 'Applies.\n\nFormat of `input`: {"syntax":"lark"}'


def test_no_tools_are_no_tools() -> None:
    assert gemini.decode_tools(b"") == ()
    assert gemini.encode_tools(()).body == b"[]"


# ---------------------------------------------------------------- writing and reading agree

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=9)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
signatures = st.none() | st.binary(min_size=3, max_size=9).map(
    lambda data: Signature(b64encode(data).decode(), "gemini", NEW)
)
objects = st.dictionaries(names, st.integers(-(2**63), 2**63) | words | st.booleans(), max_size=3).map(
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
)
images = st.binary(min_size=1, max_size=9).map(
    lambda data: Image(media_type="image/png", data=b64encode(data).decode())
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    messages: list[Message] = []
    for turn in range(draw(st.integers(0, 3))):
        messages.append(Message("user", tuple(draw(st.lists(words.map(Text) | images, min_size=1, max_size=3)))))
        signed = signatures.filter(lambda signature: signature is not None)
        thought = draw(st.none() | st.builds(Reasoning, words, signed, summary=st.sampled_from([True])))
        said = st.builds(Text, words, signed) if draw(st.booleans()) else st.builds(Text, words)
        parts = [*([thought] if thought else []), draw(said)]
        count = draw(st.integers(0, 2))
        calls = [ToolCall(f"{turn}-{i}", draw(names), draw(objects), signature=draw(signatures)) for i in range(count)]
        messages.append(Message("assistant", (*parts, *calls)))
        if calls:
            answers = st.builds(lambda text, more: (Text(text), *more), words, st.lists(images, max_size=1))
            results = [ToolResult(each.id, draw(answers), each.name, is_error=draw(st.booleans())) for each in calls]
            messages += [Message("user", tuple(results)), Message("assistant", (Text("so"),))]
    return merged(messages)


@settings(max_examples=50, deadline=None)
@given(conversations())
def test_what_was_written_is_read_again(messages: tuple[Message, ...]) -> None:
    encoded = gemini.encode_messages(messages, NEW)
    assert encoded.dropped == ()
    assert gemini.decode_messages(encoded.messages, NEW) == messages
    assert gemini.encode_messages(gemini.decode_messages(encoded.messages, NEW), NEW) == encoded
    for content in encoded.messages:
        types.Content.model_validate_json(content)


@settings(max_examples=40, deadline=None)
@given(conversations(), st.randoms())
def test_any_order_of_messages_is_written_with_results_behind_their_calls(
    messages: tuple[Message, ...], random
) -> None:
    shuffled = list(messages)
    random.shuffle(shuffled)
    contents = [json.loads(each) for each in gemini.encode_messages(shuffled, NEW).messages]
    roles = [content["role"] for content in contents]
    assert all(a != b for a, b in pairwise(roles))
    for before, after in pairwise([*contents, {"parts": []}]):
        calls = [part["functionCall"]["id"] for part in before["parts"] if "functionCall" in part]
        answers = [part["functionResponse"]["id"] for part in after["parts"] if "functionResponse" in part]
        assert answers == calls


@pytest.mark.parametrize("data", ["_-8", "/+8=", "_-8="])
def test_base64_in_any_form_is_read_as_the_one_that_every_vendor_reads(data: str) -> None:
    content = {"parts": [{"inlineData": {"mimeType": "image/png", "data": data}}]}
    (message,) = gemini.decode_messages([json.dumps(content).encode()])
    assert message.parts == (Image(media_type="image/png", data="/+8="),)
