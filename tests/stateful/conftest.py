"""A gateway with a provider of each of the four kinds, and OpenAI's own client in front."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from openai import AsyncOpenAI

from gateway.sessions.store import SessionStore
from tests.harness import Harness, gateway

PROVIDERS = """
providers:
  chat: {kind: openai, base_url: "http://chat/v1", keys: [k1]}
  claude: {kind: anthropic, base_url: "http://claude", keys: [k2]}
  google: {kind: gemini, base_url: "http://google", keys: [k3]}
  azure: {kind: openai-responses, base_url: "http://azure/v1", keys: [k4]}
models:
  gpt: {targets: [{provider: chat, model: up-chat}]}
  opus: {targets: [{provider: claude, model: up-claude}]}
  flash: {targets: [{provider: google, model: up-gemini}]}
  codex: {targets: [{provider: azure, model: gpt-5}]}
"""
MODELS = {"gpt": "chat", "opus": "claude", "flash": "google", "codex": "azure"}


def texts(body: Any) -> list[str]:
    """The words that a provider was sent, in order, whatever its dialect."""
    for member in ("messages", "contents", "input"):
        if member in body:
            return [text for message in body[member] for text in _texts(message)]
    raise AssertionError(body)


def _texts(message: Any) -> list[str]:
    content = message.get("content", message.get("parts", []))
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or [] if "text" in part]


class Stateful:
    """The gateway and OpenAI's client on it."""

    def __init__(self, gw: Harness) -> None:
        self.gw = gw
        self.openai = AsyncOpenAI(base_url="http://127.0.0.1/v1", api_key="any", http_client=gw.client, max_retries=0)

    def sent(self, model: str) -> list[str]:
        """What the provider of `model` was sent last."""
        return texts(self.gw.sent(MODELS[model]))

    async def ask(self, text: str, model: str = "gpt", **more: Any) -> Any:
        return await self.openai.responses.create(model=model, input=text, **more)

    async def get(self, path: str) -> Any:
        answer = await self.gw.client.get(path)
        return answer.status_code, json.loads(answer.content)


@asynccontextmanager
async def _started(store: SessionStore, extra: str = "", **scripts: Any) -> AsyncIterator[Stateful]:
    async with gateway(store, config=extra + PROVIDERS, **scripts) as gw:
        yield Stateful(gw)


@pytest.fixture
def begin(store: SessionStore) -> Callable[..., AbstractAsyncContextManager[Stateful]]:
    """Starts it: `async with begin() as it`."""
    return partial(_started, store)
