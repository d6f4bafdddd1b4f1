"""Requests in Gemini's dialect: opened, spliced, translated in and out, and checked against Google's own types."""

import json

import pytest
from google.genai import types
from msgspec import Raw

from gateway.conversation import (
    Audio,
    File,
    Format,
    Image,
    Message,
    Opaque,
    Origin,
    Prompt,
    Reasoning,
    Refusal,
    Signature,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    wrap_signature,
)
from gateway.dialects import gemini
from gateway.dialects.dialect import Dialect, Request
from gateway.errors import GatewayError, Kind

DIALECT: Dialect = gemini
NEW = Origin("google", "gemini-3.1-pro")
OLD = Origin("google", "gemini-2.5-flash")


def opened(body: dict, **more) -> Request:
    return gemini.open_request(json.dumps(body).encode(), model="gemini-3.1-pro", **more)


def prompt(**members) -> Prompt:
    return gemini.decode_prompt(opened({"contents": [{"parts": [{"text": "Hi"}]}], **members}))


def built(target: Origin = NEW, **members) -> tuple[dict, tuple[str, ...]]:
    members = {"messages": (Message("user", (Text("Hi"),)),)} | members
    encoded = gemini.encode_prompt(Prompt(model="m", **members), target)
    body = json.loads(encoded.body)
    known_to_google(body)
    return body, encoded.dropped


def known_to_google(body: dict) -> None:
    """Google's types forbid unknown members, so parsing is the check."""
    given = dict(body)
    for content in given.pop("contents"):
        types.Content.model_validate(content)
    config = given.pop("generationConfig", {}) | given
    types.GenerateContentConfig.model_validate(config)


# ---------------------------------------------------------------- opening


def test_every_verb_is_there() -> None:
    verbs = [name for name in vars(Dialect) if not name.startswith("_")]
    assert all(hasattr(DIALECT, name) for name in [*verbs, "NAME", "FORWARDED_HEADERS"])
    assert all(name == name.lower() for name in gemini.FORWARDED_HEADERS)


def test_model_and_stream_come_from_the_path() -> None:
    request = gemini.open_request(
        b'{"contents":[],"model":"other","stream":false}', model="models/gemini-3.1-pro", stream=True, query="sse"
    )
    assert (request.model, request.stream, request.query) == ("gemini-3.1-pro", True, "sse")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"7", None),
        (b"[" * 100_000, None),
        (b"{}", "contents"),
        (b'{"contents":null}', "contents"),
        (b'{"contents":5}', "contents"),
    ],
)
def test_a_bad_body_is_refused_and_names_the_field(body: bytes, param: str | None) -> None:
    with pytest.raises(GatewayError) as caught:
        gemini.open_request(body, model="m")
    assert (caught.value.kind, caught.value.param) == (Kind.INVALID, param)


def test_a_missing_model_is_refused() -> None:
    with pytest.raises(GatewayError) as caught:
        gemini.open_request(b'{"contents":[]}')
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("member", "value", "param"),
    [
        ("contents", [5], "contents[0]"),
        ("contents", [{"role": "wizard", "parts": [{"text": "x"}]}], "contents[0].role"),
        ("contents", [{"parts": [{"text": "x"}, {"inlineData": {}}]}], "contents[0].parts[1].inlineData.data"),
        ("contents", [{"parts": [{"functionCall": {"args": {}}}]}], "contents[0].parts[0].functionCall.name"),
        ("tools", [{"functionDeclarations": [{}]}], "tools[0].functionDeclarations[0].name"),
        ("tools", 5, "tools[0]"),
        ("toolConfig", {"functionCallingConfig": {"mode": "OFTEN"}}, "toolConfig.functionCallingConfig.mode"),
        ("generationConfig", {"temperature": "hot"}, "generationConfig.temperature"),
        ("generationConfig", {"stopSequences": [1, {}]}, "generationConfig.stopSequences"),
        ("generationConfig", [], "generationConfig"),
    ],
)
def test_a_member_of_the_wrong_shape_is_named(member: str, value: object, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        prompt(**{member: value})
    assert (caught.value.kind, caught.value.param) == (Kind.INVALID, param)


# ---------------------------------------------------------------- the same dialect


def test_splicing_keeps_what_nobody_knows() -> None:
    body = b'{"zeta":{"b":1152921504606846977,"a":1.0},"contents":[{"parts":[{"text":"Hi","n":[1]}]}],"labels":{}}'
    request = gemini.open_request(body, model="m")
    assert gemini.splice(request, model="other") == body


def test_splicing_puts_history_system_and_tools_under_the_clients_spelling() -> None:
    request = opened({"system_instruction": {"parts": [{"text": "old"}]}, "contents": [{"parts": [{"text": "Hi"}]}]})
    body = gemini.splice(
        request, model="m", system=[b'{"parts":[{"text":"new"}]}'], messages=[b'{"parts":[]}'], tools=b"[]"
    )
    assert json.loads(body) == {
        "system_instruction": {"parts": [{"text": "new"}]},
        "contents": [{"parts": []}],
        "tools": [],
    }


def test_splicing_takes_system_and_tools_away_where_nothing_is_given() -> None:
    request = opened({"contents": [], "systemInstruction": {"parts": [{"text": "x"}]}, "tools": [{}]})
    assert json.loads(gemini.splice(request, model="m", system=[], tools=b"")) == {"contents": []}


def test_a_model_in_the_body_does_not_go_up() -> None:
    request = opened({"model": "models/alias", "contents": []})
    assert gemini.splice(request, model="gemini-3.1-pro") == b'{"contents":[]}'


def test_signatures_of_other_dialects_do_not_go_up() -> None:
    foreign = wrap_signature(Signature("sig", "anthropic", Origin("claude", "c")))
    said = [
        {"text": "hm", "thought": True, "thoughtSignature": foreign},
        {"text": "Well.", "thoughtSignature": "b3du"},
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": foreign},
    ]
    request = opened({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": said}]})
    body = json.loads(gemini.splice(request, model="gemini-3.1-pro"))
    assert body["contents"][1]["parts"] == [
        {"text": "Well.", "thoughtSignature": "b3du"},
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "skip_thought_signature_validator"},
    ]
    old = json.loads(gemini.splice(request, model="gemini-2.5-pro"))
    assert "thoughtSignature" not in old["contents"][1]["parts"][1]


def test_spoken_is_what_the_client_sent() -> None:
    request = opened({"contents": [{"parts": [{"text": "Hi"}]}], "systemInstruction": {"parts": []}, "tools": [{}]})
    spoken = gemini.spoken(request)
    assert spoken.system == (b'{"parts": []}',)
    assert spoken.messages == (b'{"parts": [{"text": "Hi"}]}',)
    assert spoken.tools == b"[{}]"


def test_the_pieces_of_a_streamed_reply_are_one_message() -> None:
    pieces = [{"role": "model", "parts": [{"text": text}]} for text in ("Hel", "lo")]
    request = opened({"contents": [{"parts": [{"text": "Hi"}]}, *pieces, {"parts": [{"text": "Bye"}]}]})
    spoken = gemini.spoken(request)
    assert len(spoken.messages) == 3
    assert gemini.decode_messages(spoken.messages[1:2]) == (Message("assistant", (Text("Hello"),)),)
    assert gemini.decode_messages(spoken.messages) == gemini.decode_prompt(request).messages


@pytest.mark.parametrize(
    "contents",
    ["Hi", ["Hi"], {"parts": [{"text": "Hi"}]}, {"parts": {"text": "Hi"}}, [{"role": "user", "parts": {"text": "Hi"}}]],
)
def test_contents_may_be_as_short_as_the_api_takes_them(contents: object) -> None:
    request = opened({"contents": contents})
    assert gemini.decode_prompt(request).messages == (Message("user", (Text("Hi"),)),)
    assert gemini.decode_messages(gemini.spoken(request).messages) == gemini.decode_prompt(request).messages
    assert isinstance(json.loads(gemini.splice(request, model="m"))["contents"], list | dict)


@pytest.mark.parametrize(
    "system", ["Be brief.", {"text": "Be brief."}, {"parts": {"text": "Be brief."}}, {"parts": [{"text": "Be brief."}]}]
)
def test_a_system_instruction_has_four_forms(system: object) -> None:
    request = opened({"contents": [], "systemInstruction": system})
    assert gemini.decode_prompt(request).system == (Text("Be brief."),)
    assert gemini.decode_system(gemini.spoken(request).system) == (Text("Be brief."),)
    assert gemini.decode_system(gemini.encode_system((Text("Be brief."),))) == (Text("Be brief."),)


# ---------------------------------------------------------------- decoding


def test_both_spellings_may_be_mixed() -> None:
    body = {
        "contents": [
            {"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "aGk="}}]},
            {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"a_b": 1}, "id": "1"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x"}, "id": "1"}}]},
        ],
        "system_instruction": {"parts": [{"text": "S"}]},
        "generationConfig": {"max_output_tokens": 5, "thinking_config": {"include_thoughts": True}},
        "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]}],
        "safety_settings": [],
    }
    decoded = gemini.decode_prompt(opened(body))
    assert decoded.messages == (
        Message("user", (Image(media_type="image/png", data="aGk="),)),
        Message("assistant", (ToolCall("1", "f", '{"a_b":1}'),)),
        Message("user", (ToolResult("1", (Text("x"),), "f"),)),
    )
    assert decoded.system == (Text("S"),)
    assert decoded.max_tokens == 5
    assert decoded.thinking == Thinking(visible=True)
    assert decoded.tool_choice == ToolChoice("tool", "f")
    assert [tool.name for tool in decoded.tools] == ["f"]
    assert decoded.extras == ("safety_settings",)


def test_settings_are_read_as_leniently_as_proto_json() -> None:
    decoded = prompt(
        generationConfig={
            "temperature": 1,
            "topP": 0.5,
            "topK": 40.0,
            "maxOutputTokens": "100",
            "seed": 7,
            "presencePenalty": 0.25,
            "frequencyPenalty": None,
            "stopSequences": ["a", "b"],
            "candidateCount": 2,
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
        },
        cachedContent="cachedContents/1",
    )
    assert (decoded.temperature, decoded.top_p, decoded.top_k, decoded.max_tokens) == (1.0, 0.5, 40, 100)
    assert (decoded.seed, decoded.presence_penalty, decoded.frequency_penalty) == (7, 0.25, None)
    assert decoded.stop == ("a", "b")
    assert decoded.extras == ("cachedContent", "generationConfig.candidateCount", "generationConfig.mediaResolution")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"thinkingBudget": 0}, Thinking(budget=0)),
        ({"thinkingBudget": -1, "includeThoughts": True}, Thinking(adaptive=True, visible=True)),
        ({"thinkingBudget": 4096}, Thinking(budget=4096)),
        ({"thinkingLevel": "high"}, Thinking(effort="high")),
        ({"thinkingLevel": "MINIMAL", "includeThoughts": False}, Thinking(effort="minimal", visible=False)),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, Thinking()),
    ],
)
def test_thinking_is_read(given: dict, read: Thinking) -> None:
    assert prompt(generationConfig={"thinkingConfig": given}).thinking == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"responseMimeType": "application/json"}, Format(kind="json")),
        ({"responseMimeType": "text/plain"}, None),
        ({"responseJsonSchema": {"type": "object"}}, Format(kind="schema", schema=Raw(b'{"type": "object"}'))),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "STRING", "nullable": True}},
            Format(kind="schema", schema=Raw(b'{"type":["string","null"]}')),
        ),
    ],
)
def test_structured_output_is_read(given: dict, read: Format | None) -> None:
    found = prompt(generationConfig=given).format
    assert (found and (found.kind, bytes(found.schema))) == (read and (read.kind, bytes(read.schema)))


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({"mode": "validated"}, ToolChoice("auto")),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("tool", "f")),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, ToolChoice("required")),
        ({}, None),
    ],
)
def test_the_choice_of_tools_is_read(given: dict, read: ToolChoice | None) -> None:
    decoded = prompt(toolConfig={"functionCallingConfig": given})
    assert decoded.tool_choice == read
    several = len(given.get("allowedFunctionNames", [])) > 1
    assert bool(decoded.extras) is several


# ---------------------------------------------------------------- encoding


def test_a_plain_prompt_is_all_that_google_knows() -> None:
    body, dropped = built(
        system=(Text("Be brief."), Image(url="https://x/y.png")),
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        stop=("x",),
        seed=1,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        user="u",
        cache_key="k",
        parallel_tool_calls=False,
        extras=("logprobs",),
    )
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 3,
            "maxOutputTokens": 9,
            "seed": 1,
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "stopSequences": ["x"],
        },
    }
    assert dropped == ("cache_key", "logprobs", "parallel_tool_calls", "system.image", "user")


def test_what_google_limits_is_cut_and_reported() -> None:
    body, dropped = built(seed=2**40, stop=tuple("abcdefg"))
    assert body["generationConfig"] == {"stopSequences": list("abcde")}
    assert dropped == ("seed", "stop")


@pytest.mark.parametrize(
    ("model", "thinking", "config"),
    [
        ("gemini-2.5-flash", Thinking(budget=0), {"thinkingBudget": 0}),
        ("gemini-2.5-flash", Thinking(budget=99999), {"thinkingBudget": 24576}),
        ("gemini-2.5-pro", Thinking(budget=0), {"thinkingBudget": 128}),
        ("gemini-2.5-flash-lite", Thinking(budget=5), {"thinkingBudget": 512}),
        (
            "gemini-2.5-flash",
            Thinking(effort="medium", visible=True),
            {"thinkingBudget": 8192, "includeThoughts": True},
        ),
        ("gemini-2.5-flash", Thinking(adaptive=True), {"thinkingBudget": -1}),
        ("gemini-3.1-pro", Thinking(effort="max"), {"thinkingLevel": "HIGH"}),
        ("gemini-3.1-pro", Thinking(effort="none"), {"thinkingLevel": "LOW"}),
        ("gemini-3-flash-preview", Thinking(effort="minimal"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.8-flash", Thinking(budget=2000), {"thinkingLevel": "LOW"}),
        ("gemini-flash-latest", Thinking(adaptive=True, visible=False), {"includeThoughts": False}),
    ],
)
def test_thinking_is_asked_for_as_the_model_takes_it(model: str, thinking: Thinking, config: dict) -> None:
    body, dropped = built(Origin("google", model), thinking=thinking)
    assert body["generationConfig"]["thinkingConfig"] == config
    assert dropped == ()


def test_a_model_that_cannot_think_is_not_asked_to() -> None:
    body, dropped = built(Origin("google", "gemini-2.0-flash"), thinking=Thinking(effort="high"))
    assert "generationConfig" not in body
    assert dropped == ("thinking",)


def test_structured_output_keeps_the_schema_as_it_came() -> None:
    schema = Raw(b'{"type":"object","properties":{"z":{"maximum":1152921504606846977},"a":{"const":1}}}')
    encoded = gemini.encode_prompt(Prompt(model="m", format=Format(kind="schema", schema=schema)), NEW)
    assert bytes(schema) in encoded.body
    assert json.loads(encoded.body)["generationConfig"]["responseMimeType"] == "application/json"
    assert built(format=Format(kind="json"))[0]["generationConfig"] == {"responseMimeType": "application/json"}


def test_older_models_take_no_structured_output_beside_functions() -> None:
    body, dropped = built(OLD, format=Format(kind="json"), tools=(Tool(name="f"),))
    assert "generationConfig" not in body
    assert dropped == ("format",)


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("tool", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_the_choice_of_tools_is_written(choice: ToolChoice, config: dict) -> None:
    body, _ = built(tools=(Tool(name="f"),), tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": config}
    assert gemini.decode_prompt(opened(body)).tool_choice == choice


def test_history_stands_between_system_and_the_new_messages() -> None:
    history = (b'{"role":"user","parts":[{"text":"1"}]}', b'{"role":"model","parts":[{"text":"2"}]}')
    asked = Prompt(model="m", messages=(Message("user", (Text("3"),)),))
    body = gemini.encode_prompt(asked, NEW, history).body
    assert body.startswith(b'{"contents":[' + b",".join(history) + b",")
    assert [content["parts"][0]["text"] for content in json.loads(body)["contents"]] == ["1", "2", "3"]


def test_a_loop_of_parallel_calls_is_written_in_googles_order() -> None:
    messages = (
        Message("user", (Text("Weather?"),)),
        Message("assistant", (Text("Let me see."), ToolCall("a", "f", '{"n":1152921504606846977,"b":1}'))),
        Message("assistant", (ToolCall("b", "g", ""),)),
        Message("user", (Text("and?"), ToolResult("b", (Text("B"),), is_error=True))),
        Message("user", (ToolResult("a", (Text("A1"), Text("A2"))), ToolResult("a", (Text("again"),)))),
    )
    encoded = gemini.encode_prompt(Prompt(model="m", messages=messages), NEW)
    assert b'"args":{"n":1152921504606846977,"b":1}' in encoded.body
    body = json.loads(encoded.body)
    known_to_google(body)
    assert body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Let me see."},
                {
                    "functionCall": {"id": "a", "name": "f", "args": {"n": 1152921504606846977, "b": 1}},
                    "thoughtSignature": "skip_thought_signature_validator",
                },
                {"functionCall": {"id": "b", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "a", "name": "f", "response": {"output": "A1\nA2"}}},
                {"functionResponse": {"id": "b", "name": "g", "response": {"error": "B"}}},
                {"text": "and?"},
            ],
        },
    ]


def test_arguments_that_are_no_object_do_not_break_the_request() -> None:
    calls = (ToolCall("1", "f", "[1]"), ToolCall("2", "f", '{"a":'), ToolCall("3", "patch", "*** Begin", custom=True))
    body, _ = built(messages=(Message("assistant", calls),))
    given = [part["functionCall"]["args"] for part in body["contents"][0]["parts"]]
    assert given == [{"input": "[1]"}, {"input": '{"a":'}, {"input": "*** Begin"}]


def test_a_result_whose_call_is_in_the_history_uses_the_name_it_has() -> None:
    body, _ = built(messages=(Message("user", (ToolResult("x", (Text("A"),), "f"), Text("?"))),))
    assert body["contents"][0]["parts"][0]["functionResponse"]["name"] == "f"


def test_media_of_a_result_goes_inside_it_where_the_model_takes_that() -> None:
    seen = (Text("a shot"), Image(media_type="image/png", data="aGk="))
    messages = (
        Message("assistant", (ToolCall("a", "f", "{}"),)),
        Message("user", (ToolResult("a", seen), Text("?"))),
    )
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    inside = built(NEW, messages=messages)[0]["contents"][1]["parts"]
    assert inside[0]["functionResponse"]["parts"] == [image]
    beside = built(OLD, messages=messages)[0]["contents"][1]["parts"]
    assert beside[1:] == [image, {"text": "?"}]
    assert "parts" not in beside[0]["functionResponse"]


def test_media_is_written_with_its_type() -> None:
    parts = (
        Image(data="iVBORw0", detail="high"),
        Image(url="https://x.org/cat.webp?size=1"),
        Image(url="https://x.org/cat"),
        File(data="JVBERi0", name="a.pdf"),
        File(file_id="https://generativelanguage.googleapis.com/v1beta/files/abc"),
        Audio(data="AAAA", media_type="audio/wav"),
        File(file_id="file-123"),
    )
    body, dropped = built(messages=(Message("user", parts),))
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://x.org/cat.webp?size=1"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.org/cat"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
    ]
    assert dropped == ("content.file.name", "content.file_id", "content.image.detail")


def test_a_signature_goes_back_to_its_maker_only() -> None:
    mine, other = Signature("bWluZQ==", "gemini", NEW), Signature("b3RoZXI=", "gemini", OLD)
    said = (
        Reasoning("hm", mine, summary=True),
        Reasoning("unsigned"),
        Reasoning("foreign", Signature("x", "anthropic", NEW)),
        Text("a", mine),
        Text("b", other),
        ToolCall("1", "f", "{}", signature=mine),
        ToolCall("2", "f", "{}", signature=other),
    )
    body, _ = built(messages=(Message("assistant", said),))
    assert body["contents"][0]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": "bWluZQ=="},
        {"text": "a", "thoughtSignature": "bWluZQ=="},
        {"text": "b"},
        {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "bWluZQ=="},
        {"functionCall": {"id": "2", "name": "f", "args": {}}},
    ]


def test_older_models_get_no_signature_in_place_of_another() -> None:
    body, _ = built(OLD, messages=(Message("assistant", (ToolCall("1", "f", "{}"),)),))
    assert "thoughtSignature" not in body["contents"][0]["parts"][0]


def test_messages_of_the_system_and_what_says_nothing() -> None:
    messages = (
        Message("user", (Text("1"),)),
        Message("system", (Text("Be kind."),)),
        Message("assistant", (Reasoning("gone"), Text(""))),
        Message("assistant", (Refusal("No."), Opaque("anthropic", "server_tool_use", Raw(b"{}")))),
    )
    body, dropped = built(messages=messages)
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "1"}, {"text": "<system>\nBe kind.\n</system>"}]},
        {"role": "model", "parts": [{"text": "No."}]},
    ]
    assert dropped == ("content.opaque:server_tool_use",)


def test_the_path_and_the_key_are_the_sdks() -> None:
    assert gemini.path("gemini-3.1-pro", stream=False) == "/v1beta/models/gemini-3.1-pro:generateContent"
    assert gemini.path("a b", stream=True) == "/v1beta/models/a%20b:streamGenerateContent?alt=sse"
    assert gemini.path("tunedModels/x", stream=False) == "/v1beta/tunedModels/x:generateContent"
    assert gemini.auth("secret", {}) == {"x-goog-api-key": "secret"}
