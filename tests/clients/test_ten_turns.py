"""The promise, as its users meet it: official SDKs, real processes, one store, only the newest message each time."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.processes import Running, provider, running
from tests.scripted import Say, Scripted, Seen
from tests.servers import one

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]

CONFIG = """
server: {{port: PORT}}
management: {{key: manage-me-please}}
sessions:
  store: {store}
  file: {{directory: "{folder}"}}
  redis: {{url: "{redis}", timeout: 5s, connect_timeout: 5s}}
providers:
  chat: {{kind: openai, base_url: "{chat}/v1", keys: [k1]}}
  claude: {{kind: anthropic, base_url: "{claude}", keys: [k2]}}
models:
  gpt: {{targets: [{{provider: chat, model: up-chat}}]}}
  opus: {{targets: [{{provider: claude, model: up-claude}}]}}
"""


def script(seen: Seen) -> Say:
    """Calls the tool when asked for the weather, else numbers its answers by the length of what it sees."""
    last = seen.body["messages"][-1]
    if "weather" in json.dumps(last) and "tool" not in json.dumps(last):
        return Say("looking", calls=(("call_1", "weather", '{"city":"Paris"}'),))
    return Say(f"answer {len(said(seen.body))}")


def said(body: Any) -> list[str]:
    """A provider's request as one line a message, equal for both dialects."""
    lines = []
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        for part in parts:
            match part["type"]:
                case "text" if role == "tool":
                    lines.append(f"result {message['tool_call_id']} {part['text']}")
                case "text":
                    lines.append(f"{role} {part['text']}")
                case "image" | "image_url":
                    lines.append(f"{role} image {PIXEL in json.dumps(part)}")
                case "tool_use":
                    lines.append(f"call {part['id']} {part['name']} {json.dumps(part['input'])}")
                case "tool_result":
                    inner = part["content"]
                    text = inner if isinstance(inner, str) else "".join(p["text"] for p in inner)
                    lines.append(f"result {part['tool_use_id']} {text}")
        for call in message.get("tool_calls") or []:
            arguments = json.dumps(json.loads(call["function"]["arguments"]))
            lines.append(f"call {call['id']} {call['function']['name']} {arguments}")
    return lines


EXPECTED = [
    "user hello",
    "user look at this", "user image True",
    "user what is the weather?",
    "result call_1 sunny",
    "user turn five", "user turn six", "user turn seven", "user turn eight", "user turn nine", "user turn ten",
]  # fmt: skip


class Talk:
    """Ten turns, each over another gateway, SDK, provider, whole or streamed."""

    def __init__(self, gateways: list[Running], session: str, stack: ExitStack) -> None:
        self._headers = {"X-Session-ID": session}
        enter = stack.enter_context
        self._openai = [enter(OpenAI(base_url=f"{g.url}/v1", api_key="x", max_retries=0)) for g in gateways]
        self._anthropic = [enter(Anthropic(base_url=g.url, api_key="x", max_retries=0)) for g in gateways]

    def chat(self, n: int, model: str, messages: list[Any], *, stream: bool, **more: Any) -> None:
        client = self._openai[n % len(self._openai)]
        arguments = {"model": model, "messages": messages, "extra_headers": self._headers, **more}
        if not stream:
            assert client.chat.completions.create(**arguments).choices[0].message.role == "assistant"
            return
        with client.chat.completions.stream(**arguments) as events:
            for _ in events:
                pass
            assert events.get_final_completion().choices[0].finish_reason

    def message(self, n: int, model: str, messages: list[Any], *, stream: bool, **more: Any) -> None:
        client = self._anthropic[n % len(self._anthropic)]
        arguments = {
            "model": model, "max_tokens": 100, "messages": messages, "extra_headers": self._headers, **more,
        }  # fmt: skip
        if not stream:
            assert client.messages.create(**arguments).role == "assistant"
            return
        with client.messages.stream(**arguments) as events:
            assert events.get_final_message().stop_reason

    def run(self, *, stream: bool) -> None:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
        url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
        look: dict[str, Any] = {"type": "text", "text": "look at this"}
        self.chat(1, "gpt", [{"role": "user", "content": "hello"}], stream=stream)
        if stream:
            self.chat(2, "opus", [{"role": "user", "content": [look, url]}], stream=stream)
        else:
            self.message(2, "gpt", [{"role": "user", "content": [look, image]}], stream=stream)
        self.chat(3, "gpt", [{"role": "user", "content": "what is the weather?"}], stream=stream, tools=TOOLS)
        result = {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}
        self.message(4, "opus", [{"role": "user", "content": [result]}], stream=stream)
        for n, word in enumerate(("five", "six", "seven", "eight", "nine", "ten"), 5):
            say = [{"role": "user", "content": f"turn {word}"}]
            model = "gpt" if n % 3 else "opus"
            (self.chat if n % 2 else self.message)(n, model, say, stream=stream)


@pytest.fixture(scope="module")
def providers() -> Iterator[tuple[Scripted, str, Scripted, str]]:
    with provider(script) as (chat, chat_url), provider(script) as (claude, claude_url):
        yield chat, chat_url, claude, claude_url


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", ["redis", "file"])
def test_ten_turns_reach_the_providers_as_one_conversation(
    tmp_path: Path, providers: tuple[Scripted, str, Scripted, str], store: str, *, stream: bool
) -> None:
    chat, chat_url, claude, claude_url = providers
    chat.seen.clear()
    claude.seen.clear()
    with ExitStack() as stack:
        redis = stack.enter_context(one()).url if store == "redis" else "redis://unused"
        config = CONFIG.format(store=store, folder=tmp_path / "s", redis=redis, chat=chat_url, claude=claude_url)
        gateways = (
            [stack.enter_context(running(config)), stack.enter_context(running(config))]
            if store == "redis"
            else [stack.enter_context(running(config, "--workers", "2"))]
        )
        Talk(gateways, "ten", stack).run(stream=stream)
        listed = gateways[-1].get("/v0/management/sessions/ten", Authorization="Bearer manage-me-please")[1]
    requests = sorted([*chat.seen, *claude.seen], key=lambda seen: len(said(seen.body)))
    assert len(requests) == 10
    for before, after in pairwise(requests):
        assert said(after.body)[: len(said(before.body))] == said(before.body)
    last = said(requests[-1].body)
    assert [line for line in last if not line.startswith(("assistant", "call"))] == EXPECTED
    assert sum(line.startswith("assistant") for line in last) == 9
    assert last.count('call call_1 weather {"city": "Paris"}') == 1
    assert len({message["turn"] for message in listed["messages"]}) == 10
