"""Every object and event against the types of the Open Responses specification (openresponses-types)."""

import json
from typing import Any

import pytest

from tests.scripted import Say
from tests.stateful.conftest import MODELS

types = pytest.importorskip("openresponses_types")

TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}]
SAYINGS = [
    Say("some words"),
    Say("looking", calls=(("call_1", "weather", '{"city":"Paris"}'), ("call_2", "weather", "{}"))),
]
# What translated replies are: those of a provider of the same dialect are the provider's own.
TRANSLATED = [model for model in MODELS if model != "codex"]


def event_type(name: str) -> Any:
    words = name.removeprefix("response.").replace(".", "_").split("_")
    return getattr(types, f"Response{''.join(word.capitalize() for word in words)}StreamingEvent")


@pytest.mark.parametrize("say", SAYINGS, ids=["text", "calls"])
@pytest.mark.parametrize("model", TRANSLATED)
async def test_whole_stored_and_streamed_responses_are_what_the_specification_says(
    begin: Any, model: str, say: Say
) -> None:
    async with begin(**{MODELS[model]: lambda _: say}) as it:
        body = {"model": model, "input": "hello", "tools": TOOLS}
        whole = await it.gw.post("/v1/responses", body)
        made = types.ResponseResource.model_validate_json(whole.content)
        stored = await it.gw.client.get(f"/v1/responses/{made.id}")
        assert types.ResponseResource.model_validate_json(stored.content).output == made.output
        stream = await it.gw.post("/v1/responses", {**body, "stream": True, "previous_response_id": made.id})
        events = [json.loads(line[5:]) for line in stream.text.splitlines() if line.startswith("data:")]
        for event in events:
            event_type(event["type"]).model_validate(event)
        assert events[-1]["type"] == "response.completed"
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
