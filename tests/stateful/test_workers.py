"""Real processes: each turn on another worker, OpenAI's own client, providers of the four kinds."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from google import genai
from openai import OpenAI
from pydantic import BaseModel

from tests.processes import provider, running
from tests.scripted import Say, Scripted, Seen
from tests.servers import one
from tests.stateful.conftest import MODELS, texts

CONFIG = """
server: {{port: PORT}}
sessions:
  store: {store}
  file: {{directory: "{folder}"}}
  redis: {{url: "{redis}", timeout: 5s, connect_timeout: 5s}}
providers:
  chat: {{kind: openai, base_url: "{url}/v1", keys: [k1]}}
  claude: {{kind: anthropic, base_url: "{url}", keys: [k2]}}
  google: {{kind: gemini, base_url: "{url}", keys: [k3]}}
  azure: {{kind: openai-responses, base_url: "{url}/v1", keys: [k4]}}
models:
  gpt: {{targets: [{{provider: chat, model: up-chat}}]}}
  opus: {{targets: [{{provider: claude, model: up-claude}}]}}
  flash: {{targets: [{{provider: google, model: up-gemini}}]}}
  codex: {{targets: [{{provider: azure, model: gpt-5}}]}}
"""


class Weather(BaseModel):
    """A structured answer."""

    city: str
    sunny: bool


def script(seen: Seen) -> Say:
    """Structured where that is asked for, else numbered by the length of what it sees."""
    if b"sunny" in seen.raw:
        return Say('{"city":"Paris","sunny":true}')
    return Say(f"answer {len(texts(seen.body))}")


class World:
    """Two gateways and what stands behind them."""

    def __init__(self, urls: list[str], behind: Scripted, stack: ExitStack) -> None:
        self.urls = urls
        self.behind = behind
        self._openai = [stack.enter_context(OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)) for url in urls]
        self._turn = 0

    @property
    def openai(self) -> OpenAI:
        """The client of another worker each time."""
        self._turn += 1
        return self._openai[self._turn % len(self._openai)]

    def url(self) -> str:
        self._turn += 1
        return self.urls[self._turn % len(self.urls)]

    def sent(self) -> list[str]:
        return texts(self.behind.seen[-1].body)


@pytest.fixture(scope="module", params=["redis", "file"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("sessions")
    with ExitStack() as stack:
        behind, url = stack.enter_context(provider(script))
        redis = stack.enter_context(one()).url if request.param == "redis" else "redis://unused"
        config = CONFIG.format(store=request.param, folder=folder, redis=redis, url=url)
        gateways = [stack.enter_context(running(config)) for _ in range(2)]
        yield World([gateway.url for gateway in gateways], behind, stack)


@pytest.mark.parametrize("model", list(MODELS))
def test_a_chain_goes_from_worker_to_worker_as_soon_as_the_last_event_is_read(world: World, model: str) -> None:
    previous, expected = None, []
    for turn in range(6):
        expected.append(f"turn {turn}")
        if turn % 2:
            answer = world.openai.responses.create(model=model, input=f"turn {turn}", previous_response_id=previous)
        else:
            more: dict[str, Any] = {"previous_response_id": previous} if previous else {}
            with world.openai.responses.stream(model=model, input=f"turn {turn}", **more) as events:
                for _ in events:
                    pass
                answer = events.get_final_response()
        assert world.sent() == expected
        expected.append(answer.output_text)
        previous = answer.id
    assert world.openai.responses.retrieve(str(previous)).output_text == expected[-1]


@pytest.mark.parametrize("model", list(MODELS))
def test_structured_output_within_a_chain(world: World, model: str) -> None:
    one = world.openai.responses.create(model=model, input="hello")
    two = world.openai.responses.parse(model=model, input="weather?", text_format=Weather, previous_response_id=one.id)
    assert two.output_parsed == Weather(city="Paris", sunny=True)
    assert world.sent() == ["hello", one.output_text, "weather?"]


def test_one_conversation_through_the_sdks_of_three_vendors(world: World) -> None:
    made = world.openai.conversations.create(items=[{"role": "user", "content": "I am Ann."}])
    header = {"X-Session-ID": made.id}
    world.openai.chat.completions.create(
        model="gpt", messages=[{"role": "user", "content": "by chat"}], extra_headers=header
    )
    with Anthropic(base_url=world.url(), api_key="x", default_headers=header, max_retries=0) as claude:
        claude.messages.create(model="opus", max_tokens=100, messages=[{"role": "user", "content": "by messages"}])
    with genai.Client(api_key="x", http_options={"base_url": world.url(), "headers": header}) as google:
        google.models.generate_content(model="flash", contents="by gemini")
    last = world.openai.responses.create(model="codex", input="by responses", conversation=made.id)
    said = [item.content[0].text for item in world.openai.conversations.items.list(made.id, order="asc")]  # type: ignore[union-attr]
    assert said == [*world.sent(), last.output_text]
    doors = [text for text in said if text.startswith("by ")]
    assert (said[0], doors) == ("I am Ann.", ["by chat", "by messages", "by gemini", "by responses"])
    assert len(said) == 9
