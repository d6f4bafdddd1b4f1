"""Anthropic's SDK through a gateway process to a provider of each kind."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, beta_tool

from tests.clients.conftest import World
from tests.clients.sdks import MODELS, PIXEL, QUESTION, Person, schema_asked, weather

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"name": "weather", "input_schema": CITY}]

pytestmark = pytest.mark.parametrize("model", MODELS)


@pytest.fixture
def sdk(world: World) -> Iterator[Anthropic]:
    with Anthropic(base_url=world.url, api_key="x", max_retries=0) as client:
        yield client


def ask(sdk: Anthropic, model: str, content: Any, *, stream: bool, **more: Any) -> Any:
    """One message, whole or by the stream helper."""
    messages = (
        content if isinstance(content, list) and content[0].get("role") else [{"role": "user", "content": content}]
    )
    arguments: Any = {"model": model, "max_tokens": 4000, "messages": messages, **more}
    if not stream:
        return sdk.messages.create(**arguments)
    with sdk.messages.stream(**arguments) as events:
        return events.get_final_message()


def text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@pytest.mark.parametrize("stream", [False, True])
class TestMessages:
    def test_text_and_usage(self, sdk: Anthropic, model: str, *, stream: bool) -> None:
        done = ask(sdk, model, "Hello", stream=stream)
        assert (text(done), done.stop_reason) == ("plain words here", "end_turn")
        assert (done.usage.input_tokens, done.usage.output_tokens) == (10, 5)

    def test_parallel_tools_and_their_results(self, sdk: Anthropic, model: str, *, stream: bool) -> None:
        done = ask(sdk, model, QUESTION, stream=stream, tools=TOOLS)
        calls = [block for block in done.content if block.type == "tool_use"]
        assert [call.input for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
        assert done.stop_reason == "tool_use"
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": weather(**call.input)} for call in calls]
        history = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": [block.to_dict() for block in done.content]},
            {"role": "user", "content": results},
        ]
        assert text(ask(sdk, model, history, stream=stream, tools=TOOLS)) == "Sunny in both."

    def test_an_image(self, sdk: Anthropic, model: str, *, stream: bool) -> None:
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        content = [{"type": "text", "text": "What do you see?"}, {"type": "image", "source": source}]
        assert text(ask(sdk, model, content, stream=stream)) == "a pixel"

    def test_reasoning(self, sdk: Anthropic, model: str, *, stream: bool) -> None:
        done = ask(sdk, model, "think", stream=stream, thinking={"type": "enabled", "budget_tokens": 2048})
        assert text(done) == "Forty-two."
        assert done.content[0].thinking == "Six times seven."

    def test_structured_output(self, sdk: Anthropic, world: World, model: str, *, stream: bool) -> None:
        schema = {
            "format": {"type": "json_schema", "schema": Person.model_json_schema() | {"additionalProperties": False}}
        }
        done = ask(sdk, model, "a person", stream=stream, output_config=schema)
        assert Person.model_validate_json(text(done)) == Person(name="Ada", age=36)
        assert schema_asked(world.provider.seen[-1].body)

    def test_errors(self, sdk: Anthropic, model: str, *, stream: bool) -> None:
        with pytest.raises(anthropic.BadRequestError, match="not allowed"):
            ask(sdk, model, "refuse", stream=stream)
        if stream:
            with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                ask(sdk, model, "break", stream=True)


@pytest.mark.parametrize("stream", [False, True])
def test_the_tool_runner_runs_to_the_end(sdk: Anthropic, model: str, *, stream: bool) -> None:
    runner: Any = sdk.beta.messages.tool_runner(
        model=model, max_tokens=1000, tools=[beta_tool(weather)], stream=stream,
        messages=[{"role": "user", "content": QUESTION}],
    )  # fmt: skip
    if stream:
        assert [text(turn.get_final_message()) for turn in runner][-1] == "Sunny in both."
    else:
        assert text(runner.until_done()) == "Sunny in both."


def test_tokens_are_counted(sdk: Anthropic, model: str) -> None:
    counted = sdk.messages.count_tokens(model=model, messages=[{"role": "user", "content": "Hello there"}])
    assert counted.input_tokens == 7  # the estimate is as much: eleven bytes and a message
