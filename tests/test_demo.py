"""The built-in provider, asked by the vendors' own SDKs over loopback."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
import uvicorn
from google import genai
from google.genai import types

from gateway.demo import demo_app
from gateway.demo.mind import Ask, Heard, Offered, answer, fitting, words

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    config = uvicorn.Config(demo_app(pause=0.0), host="127.0.0.1", port=0, log_config=None, lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def chat(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="demo", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="demo", max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(url: str) -> Iterator[Any]:
    with genai.Client(api_key="demo", http_options=types.HttpOptions(base_url=url)) as client:
        yield client


def say(*texts: str, **members: Any) -> str:
    """What the provider answers to these messages of a user and an assistant in turn."""
    heard = tuple(Heard("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts))
    return answer(Ask(model="demo", stream=False, heard=heard, **members)).text


# ---------------------------------------------------------------- memory


def test_it_knows_a_name_that_it_was_told_earlier():
    assert say("My name is Ada", "Nice to meet you.", "What is my name?") == "Your name is Ada."


def test_it_does_not_know_a_name_that_it_was_not_told():
    assert say("What is my name?") == "You have not told me your name."


def test_the_newest_name_counts():
    texts = ("My name is Ada", "Hello", "My name is Grace", "Hello", "what's my name?")
    assert say(*texts) == "Your name is Grace."


def test_a_name_that_the_assistant_said_is_not_mine():
    assert say("Hello", "My name is Demo", "What is my name?") == "You have not told me your name."


def test_it_quotes_the_first_message():
    assert say("I like tea", "Good", "What did I say first?") == 'You said first: "I like tea"'


def test_it_counts_the_messages_of_the_user():
    assert say("a", "b", "c", "d", "How many messages have I sent?") == "You have sent 3 messages."


def test_otherwise_it_echoes_and_says_how_much_it_sees():
    assert say("Hello") == 'You said: "Hello". I see no earlier messages.'
    assert say("Hello", "Hi", "And now?") == 'You said: "And now?". I see 2 earlier messages.'


def test_the_same_request_gets_the_same_answer():
    ask = Ask(model="demo", stream=False, heard=(Heard("user", "Hello"),))
    assert answer(ask) == answer(ask)


# ---------------------------------------------------------------- tools, schemas, counts


def test_a_place_in_the_question_is_the_tools_argument():
    assert fitting(WEATHER, "What is the weather in New York today?") == {"city": "New York"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "number", "maximum": 0.5}, 0.5),
        ({"enum": ["celsius", "fahrenheit"]}, "celsius"),
        ({"type": ["string", "null"]}, "example"),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"$defs": {"unit": {"const": "m"}}, "properties": {"unit": {"$ref": "#/$defs/unit"}}}, {"unit": "m"}),
        ({"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}, {"n": 1}),
    ],
)
def test_arguments_fit_the_schema(schema: dict[str, Any], value: object):
    assert fitting(schema) == value


def test_a_schema_that_contains_itself_ends():
    schema = {"$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"}
    assert json.dumps(fitting(schema))


def test_a_tool_is_called_for_the_weather_or_by_its_name_and_not_when_forbidden():
    tools = (Offered("get_weather", WEATHER), Offered("roll_dice", {}))
    called = [
        answer(Ask(model="m", stream=False, heard=(Heard("user", text),), tools=tools, choice=choice)).tool
        for text, choice in (
            ("How is the weather?", "auto"),
            ("Please roll dice", "auto"),
            ("Hello", "auto"),
            ("Hello", "required"),
            ("Hello", "roll_dice"),
            ("How is the weather?", "none"),
        )
    ]
    assert called == ["get_weather", "roll_dice", "", "get_weather", "roll_dice", ""]


def test_more_conversation_costs_more_tokens_and_the_old_part_is_cached():
    short = answer(Ask(model="m", stream=False, heard=(Heard("user", "Hello"),)))
    heard = (Heard("user", "word " * 2000), Heard("assistant", "Yes."), Heard("user", "Hello"))
    long = answer(Ask(model="m", stream=False, heard=heard))
    assert short.cached == 0
    assert short.input < long.cached < long.input


def test_the_pieces_of_a_stream_are_the_text():
    text = "  Your name\nis   Ada. "
    assert "".join(words(text)) == text
    assert len(words(text)) == 4


# ---------------------------------------------------------------- OpenAI Chat


def test_the_openai_sdk_gets_a_whole_reply_with_usage(chat: openai.OpenAI):
    reply = chat.chat.completions.create(model="demo", messages=[{"role": "user", "content": "My name is Ada"}])
    assert reply.choices[0].message.content == "Nice to meet you, Ada. I see no earlier messages."
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


def test_two_answers_have_two_ids(chat: openai.OpenAI):
    ask = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    assert chat.chat.completions.create(**ask).id != chat.chat.completions.create(**ask).id


def test_the_openai_sdk_gets_a_stream_word_by_word_and_usage_if_it_asks(chat: openai.OpenAI):
    ask = {"model": "demo", "messages": [{"role": "user", "content": "Hello there"}], "stream": True}
    chunks = list(chat.chat.completions.create(**ask, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == 'You said: "Hello there". I see no earlier messages.'
    assert len([piece for piece in pieces if piece]) == 9
    assert chunks[-1].usage is not None
    assert all(chunk.usage is None for chunk in chat.chat.completions.create(**ask))


@pytest.mark.parametrize("stream", [False, True])
def test_the_openai_sdk_gets_a_tool_call_and_tells_the_result(chat: openai.OpenAI, *, stream: bool):
    messages: list[Any] = [{"role": "user", "content": "How is the weather in Paris?"}]
    tools: list[Any] = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    if stream:
        with chat.chat.completions.stream(model="demo", messages=messages, tools=tools) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = chat.chat.completions.create(model="demo", messages=messages, tools=tools).choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Paris"}')
    assistant = {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})]}
    messages += [assistant, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    reply = chat.chat.completions.create(model="demo", messages=messages, tools=tools)
    assert reply.choices[0].message.content == "The tool says: 18 degrees"


def test_an_image_is_acknowledged(chat: openai.OpenAI):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    content: Any = [{"type": "text", "text": "Look"}, image]
    reply = chat.chat.completions.create(model="demo", messages=[{"role": "user", "content": content}])
    assert (
        reply.choices[0].message.content
        == 'I see 1 image in your message. You said: "Look". I see no earlier messages.'
    )


def test_structured_output_fits_its_schema(chat: openai.OpenAI):
    form: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": WEATHER}}
    messages: Any = [{"role": "user", "content": "I live in Oslo"}]
    reply = chat.chat.completions.create(model="demo", messages=messages, response_format=form)
    assert json.loads(reply.choices[0].message.content or "") == {"city": "Oslo"}


def test_a_bad_request_is_an_error_that_the_openai_sdk_knows(chat: openai.OpenAI):
    with pytest.raises(openai.BadRequestError, match="at least one message"):
        chat.chat.completions.create(model="demo", messages=[])


# ---------------------------------------------------------------- Anthropic


def test_the_anthropic_sdk_gets_a_whole_reply_with_usage(claude: anthropic.Anthropic):
    messages: Any = [
        {"role": "user", "content": "My name is Ada"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": "What is my name?"}]},
    ]
    reply = claude.messages.create(model="demo", max_tokens=100, messages=messages)
    assert reply.content[0].text == "Your name is Ada."
    assert reply.stop_reason == "end_turn"
    assert reply.usage.input_tokens > 10
    assert reply.usage.output_tokens > 1


def test_the_anthropic_sdk_gets_a_stream(claude: anthropic.Anthropic):
    with claude.messages.stream(model="demo", max_tokens=100, messages=[{"role": "user", "content": "Hi"}]) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == 'You said: "Hi". I see no earlier messages.' == final.content[0].text
    assert len(pieces) == 8
    assert final.usage.output_tokens > 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_anthropic_sdk_gets_a_tool_call_and_tells_the_result(claude: anthropic.Anthropic, *, stream: bool):
    messages: list[Any] = [{"role": "user", "content": "How is the weather in Paris?"}]
    ask: Any = {"model": "demo", "max_tokens": 100, "tools": [{"name": "get_weather", "input_schema": WEATHER}]}
    if stream:
        with claude.messages.stream(messages=messages, **ask) as events:
            reply = events.get_final_message()
    else:
        reply = claude.messages.create(messages=messages, **ask)
    call = reply.content[0]
    assert (reply.stop_reason, call.name, call.input) == ("tool_use", "get_weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees"}
    messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": [result]}]
    assert claude.messages.create(messages=messages, **ask).content[0].text == "The tool says: 18 degrees"


def test_anthropic_tokens_are_counted_as_they_are_spent(claude: anthropic.Anthropic):
    messages: Any = [{"role": "user", "content": "Hello there"}]
    counted = claude.messages.count_tokens(model="demo", messages=messages).input_tokens
    assert counted == claude.messages.create(model="demo", max_tokens=9, messages=messages).usage.input_tokens


def test_anthropic_needs_max_tokens(url: str):
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
    reply = httpx.post(f"{url}/v1/messages", json=body)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


# ---------------------------------------------------------------- Responses


@pytest.mark.parametrize("stream", [False, True])
def test_the_responses_api_answers_and_calls_tools(chat: openai.OpenAI, *, stream: bool):
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}]
    asked: list[Any] = [{"role": "user", "content": "How is the weather in Paris?"}]
    first = respond(chat, asked, tools, stream=stream)
    call = first.output[0]
    assert (call.type, call.name, call.arguments) == ("function_call", "get_weather", '{"city": "Paris"}')
    asked += [call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}]
    second = respond(chat, asked, tools, stream=stream)
    assert second.output_text == "The tool says: 18 degrees"
    assert second.usage is not None
    assert second.usage.output_tokens > 1


def respond(chat: openai.OpenAI, asked: list[Any], tools: Any, *, stream: bool):
    if not stream:
        return chat.responses.create(model="demo", input=asked, tools=tools)
    with chat.responses.stream(model="demo", input=asked, tools=tools) as events:
        numbers = [event.sequence_number for event in events]
        assert numbers == list(range(len(numbers)))
        return events.get_final_response()


# ---------------------------------------------------------------- Gemini


def test_the_gemini_sdk_gets_an_answer_from_memory(gemini: Any):
    contents = [
        {"role": "user", "parts": [{"text": "My name is Ada"}]},
        {"role": "model", "parts": [{"text": "Hello"}]},
        {"role": "user", "parts": [{"text": "What is my name?"}]},
    ]
    reply = gemini.models.generate_content(model="demo", contents=contents)
    assert reply.text == "Your name is Ada."
    assert reply.usage_metadata.total_token_count > 10
    streamed = [chunk.text for chunk in gemini.models.generate_content_stream(model="demo", contents=contents)]
    assert streamed == ["Your ", "name ", "is ", "Ada."]
    counted = gemini.models.count_tokens(model="demo", contents=contents)
    assert counted.total_tokens == reply.usage_metadata.prompt_token_count


def test_the_gemini_sdk_calls_a_function(gemini: Any):
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"18 degrees in {city}"

    config = types.GenerateContentConfig(tools=[get_weather])
    reply = gemini.models.generate_content(model="demo", contents="How is the weather in Paris?", config=config)
    assert reply.text == "The tool says: 18 degrees in Paris"


# ---------------------------------------------------------------- strangers


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"messages": 1, "input": 1, "max_tokens": 1}', b'{"messages":[{}]}']
)
def test_nonsense_is_a_400_or_an_answer_and_never_a_500(url: str, path: str, body: bytes):
    assert httpx.post(url + path, content=body).status_code in (200, 400)


def test_an_unknown_path_is_a_404(url: str):
    assert httpx.post(f"{url}/v1/nothing", json={}).status_code == 404
    assert httpx.get(f"{url}/nothing").status_code == 404
    assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "demo"


async def test_a_stream_pauses_between_words():
    sent: list[float] = []

    async def receive() -> dict[str, Any]:
        body = {"stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: dict[str, Any]) -> None:
        sent.append(asyncio.get_running_loop().time())

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
    await demo_app(pause=0.01)(scope, receive, send)
    assert sent[-1] - sent[0] >= 0.01 * (len(sent) - 2)
