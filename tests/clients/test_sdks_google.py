"""Google's SDK through a gateway process to a provider of each kind."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.clients.conftest import World
from tests.clients.sdks import MODELS, PIXEL, QUESTION, Person, schema_asked, weather

pytestmark = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def sdk(world: World) -> Iterator[genai.Client]:
    with genai.Client(api_key="x", http_options=types.HttpOptions(base_url=world.url)) as client:
        yield client


def ask(sdk: genai.Client, model: str, contents: Any, *, stream: bool, **config: Any) -> list[types.Part]:
    """The parts of one reply, whole or streamed."""
    settings = types.GenerateContentConfig(**config)
    if stream:
        chunks = list(sdk.models.generate_content_stream(model=model, contents=contents, config=settings))
    else:
        chunks = [sdk.models.generate_content(model=model, contents=contents, config=settings)]
    return [part for chunk in chunks for part in (chunk.candidates[0].content.parts or ())]


def text(parts: list[types.Part]) -> str:
    return "".join(part.text for part in parts if part.text and not part.thought)


@pytest.mark.parametrize("stream", [False, True])
class TestContents:
    def test_text(self, sdk: genai.Client, model: str, *, stream: bool) -> None:
        assert text(ask(sdk, model, "Hello", stream=stream)) == "plain words here"

    def test_parallel_tools_and_their_results(self, sdk: genai.Client, model: str, *, stream: bool) -> None:
        declared = types.FunctionDeclaration.from_callable_with_api_option(callable=weather)
        tools = [types.Tool(function_declarations=[declared])]
        said = ask(sdk, model, QUESTION, stream=stream, tools=tools)
        calls = [part.function_call for part in said if part.function_call]
        assert [call.args for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
        results = [
            types.Part(function_response=types.FunctionResponse(name=call.name, id=call.id, response={"result": said}))
            for call, said in zip(calls, [weather(**call.args) for call in calls], strict=True)
        ]
        history = [
            types.Content(role="user", parts=[types.Part(text=QUESTION)]),
            types.Content(role="model", parts=[part for part in said if part.text or part.function_call]),
            types.Content(role="user", parts=results),
        ]
        assert text(ask(sdk, model, history, stream=stream, tools=tools)) == "Sunny in both."

    def test_functions_are_called_by_the_sdk_itself(self, sdk: genai.Client, model: str, *, stream: bool) -> None:
        assert text(ask(sdk, model, QUESTION, stream=stream, tools=[weather])).endswith("Sunny in both.")

    def test_an_image(self, sdk: genai.Client, model: str, *, stream: bool) -> None:
        image = types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
        assert text(ask(sdk, model, ["What do you see?", image], stream=stream)) == "a pixel"

    def test_reasoning(self, sdk: genai.Client, model: str, *, stream: bool) -> None:
        thinking = types.ThinkingConfig(thinking_budget=1024, include_thoughts=True)
        said = ask(sdk, model, "think", stream=stream, thinking_config=thinking)
        assert text(said) == "Forty-two."
        assert "".join(part.text for part in said if part.thought and part.text) == "Six times seven."

    def test_structured_output(self, sdk: genai.Client, world: World, model: str, *, stream: bool) -> None:
        said = ask(
            sdk, model, "a person", stream=stream, response_mime_type="application/json",
            response_json_schema=Person.model_json_schema(),
        )  # fmt: skip
        assert Person.model_validate_json(text(said)) == Person(name="Ada", age=36)
        assert schema_asked(world.provider.seen[-1].body)

    def test_errors(self, sdk: genai.Client, model: str, *, stream: bool) -> None:
        with pytest.raises(errors.ClientError, match="not allowed"):
            ask(sdk, model, "refuse", stream=stream)
        if stream:
            with pytest.raises(errors.APIError, match="Overloaded"):
                ask(sdk, model, "break", stream=True)


def test_tokens_are_counted(sdk: genai.Client, model: str) -> None:
    assert sdk.models.count_tokens(model=model, contents="Hello there").total_tokens == (
        3 + 4 if model == "m-chat" else 7
    )
