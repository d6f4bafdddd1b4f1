"""OpenAI's SDK, chat and responses, through a gateway process to a provider of each kind."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.clients.conftest import World
from tests.clients.sdks import MODELS, PIXEL, QUESTION, Person, schema_asked, weather

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
TOOLS: Any = [{"type": "function", "name": "weather", "parameters": CITY, "strict": False}]
URL = f"data:image/png;base64,{PIXEL}"

pytestmark = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def sdk(world: World) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{world.url}/v1", api_key="x", max_retries=0) as client:
        yield client


def user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


def chat(sdk: OpenAI, model: str, content: Any, *, stream: bool, **more: Any) -> Any:
    """One chat turn, whole or by the stream helper."""
    messages = content if isinstance(content, list) and content[0].get("role") else user(content)
    if not stream:
        return sdk.chat.completions.create(model=model, messages=messages, **more)
    with sdk.chat.completions.stream(model=model, messages=messages, **more) as events:
        return events.get_final_completion()


def respond(sdk: OpenAI, model: str, asked: Any, *, stream: bool, **more: Any) -> Any:
    """One response, whole or by the stream helper."""
    if not stream:
        return sdk.responses.create(model=model, input=asked, **more)
    with sdk.responses.stream(model=model, input=asked, **more) as events:
        return events.get_final_response()


@pytest.mark.parametrize("stream", [False, True])
class TestChat:
    def test_text_and_usage(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        more = {"stream_options": {"include_usage": True}} if stream else {}
        done = chat(sdk, model, "Hello", stream=stream, **more)
        assert done.choices[0].message.content == "plain words here"
        assert (done.choices[0].finish_reason, done.usage.total_tokens) == ("stop", 15)

    def test_parallel_tools_and_their_results(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        done = chat(sdk, model, QUESTION, stream=stream, tools=CHAT_TOOLS)
        message = done.choices[0].message
        assert done.choices[0].finish_reason == "tool_calls"
        asked = [json.loads(call.function.arguments) for call in message.tool_calls]
        assert asked == [{"city": "Paris"}, {"city": "Rome"}]
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": weather(**arguments)}
            for call, arguments in zip(message.tool_calls, asked, strict=True)
        ]
        history = [*user(QUESTION), message.to_dict(), *results]
        assert chat(sdk, model, history, stream=stream, tools=CHAT_TOOLS).choices[0].message.content == "Sunny in both."

    def test_an_image(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        content = [{"type": "text", "text": "What do you see?"}, {"type": "image_url", "image_url": {"url": URL}}]
        assert chat(sdk, model, content, stream=stream).choices[0].message.content == "a pixel"

    def test_reasoning(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        done = chat(sdk, model, "think", stream=stream, reasoning_effort="low")
        assert done.choices[0].message.content == "Forty-two."
        assert done.choices[0].message.reasoning_content == "Six times seven."

    def test_structured_output(self, sdk: OpenAI, world: World, model: str, *, stream: bool) -> None:
        if stream:
            done: Any = chat(sdk, model, "a person", stream=True, response_format=Person)
        else:
            done = sdk.chat.completions.parse(model=model, messages=user("a person"), response_format=Person)
        assert done.choices[0].message.parsed == Person(name="Ada", age=36)
        assert schema_asked(world.provider.seen[-1].body)

    def test_errors(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        with pytest.raises(openai.BadRequestError, match="not allowed"):
            chat(sdk, model, "refuse", stream=stream)
        if stream:
            with pytest.raises(openai.APIError, match="Overloaded"):
                chat(sdk, model, "break", stream=True)


@pytest.mark.parametrize("stream", [False, True])
class TestResponses:
    def test_text_and_usage(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        done = respond(sdk, model, "Hello", stream=stream)
        assert (done.output_text, done.status, done.usage.total_tokens) == ("plain words here", "completed", 15)

    def test_parallel_tools_and_their_results(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        done = respond(sdk, model, QUESTION, stream=stream, tools=TOOLS)
        calls = [item for item in done.output if item.type == "function_call"]
        assert [json.loads(call.arguments) for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
        results = [
            {"type": "function_call_output", "call_id": call.call_id, "output": weather(**json.loads(call.arguments))}
            for call in calls
        ]
        said = [item.to_dict() for item in done.output]
        asked = [*user(QUESTION), *said, *results]
        assert respond(sdk, model, asked, stream=stream, tools=TOOLS).output_text == "Sunny in both."

    def test_an_image(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        content = [
            {"type": "input_text", "text": "What do you see?"},
            {"type": "input_image", "image_url": URL, "detail": "auto"},
        ]
        assert respond(sdk, model, user(content), stream=stream).output_text == "a pixel"

    def test_reasoning(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        done = respond(sdk, model, "think", stream=stream, reasoning={"effort": "low", "summary": "auto"})
        assert done.output_text == "Forty-two."
        assert done.output[0].summary[0].text == "Six times seven."

    def test_structured_output(self, sdk: OpenAI, world: World, model: str, *, stream: bool) -> None:
        if stream:
            done: Any = respond(sdk, model, "a person", stream=True, text_format=Person)
        else:
            done = sdk.responses.parse(model=model, input="a person", text_format=Person)
        assert done.output_parsed == Person(name="Ada", age=36)
        assert schema_asked(world.provider.seen[-1].body)

    def test_errors(self, sdk: OpenAI, model: str, *, stream: bool) -> None:
        with pytest.raises(openai.BadRequestError, match="not allowed"):
            respond(sdk, model, "refuse", stream=stream)
        if stream:
            # The vendor's own error event passes unchanged, and its SDK then misses the end of the response.
            own = (RuntimeError, "response.completed") if model == "m-responses" else (openai.APIError, "Overloaded")
            with pytest.raises(own[0], match=own[1]):
                respond(sdk, model, "break", stream=True)


def test_pydantic_tools_are_parsed(sdk: OpenAI, model: str) -> None:
    class Weather(openai.BaseModel):
        city: str

    tools = [openai.pydantic_function_tool(Weather, name="weather")]
    done = sdk.chat.completions.parse(model=model, messages=user(QUESTION), tools=tools)
    calls = done.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.parsed_arguments for call in calls] == [Weather(city="Paris"), Weather(city="Rome")]
