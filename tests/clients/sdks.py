"""What the SDK tests share: a provider that speaks every dialect, what it answers, and what is asked of it."""

import json
from typing import Any, Literal

from pydantic import BaseModel

from tests.scripted import Say, Seen

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MODELS = ("m-chat", "m-responses", "m-claude", "m-google")
CONFIG = """
server: {{port: PORT}}
sessions: {{file: {{directory: "{folder}"}}}}
providers:
  chat: {{kind: openai, base_url: "{url}/v1", keys: [k]}}
  responses: {{kind: openai-responses, base_url: "{url}/v1", keys: [k]}}
  claude: {{kind: anthropic, base_url: "{url}", keys: [k]}}
  google: {{kind: gemini, base_url: "{url}", keys: [k]}}
models:
  m-chat: {{targets: [{{provider: chat, model: gpt-5.1}}]}}
  m-responses: {{targets: [{{provider: responses, model: gpt-5.1}}]}}
  m-claude: {{targets: [{{provider: claude, model: claude-sonnet-4-5}}]}}
  m-google: {{targets: [{{provider: google, model: gemini-2.5-pro}}]}}
"""
CALLS = (("call_a", "weather", '{"city": "Paris"}'), ("call_b", "weather", '{"city": "Rome"}'))
QUESTION = "What is the weather in Paris and in Rome?"


class Person(BaseModel):
    """Structured output."""

    name: str
    age: int
    kind: Literal["human"] = "human"


def weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: where
    """
    return f"{city} is sunny"


def script(seen: Seen) -> Say:
    """By the words in the request; the tool is called once, and its results are told."""
    if "count" in seen.path or "input_tokens" in seen.path:
        counted = {"input_tokens": 7, "totalTokens": 7, "object": "response.input_tokens"}
        return Say(body=json.dumps(counted).encode())
    text = json.dumps({name: seen.body.get(name) for name in ("messages", "input", "contents")})
    if "Paris is sunny" in text and "Rome is sunny" in text:
        return Say("Sunny in both.")
    for word, say in ANSWERS.items():
        if word in text:
            return say
    if "see" in text:
        return Say("a pixel" if PIXEL in text.replace("-", "+").replace("_", "/") else "nothing")
    return Say("plain words here")


ANSWERS = {
    QUESTION: Say("I ask.", calls=CALLS),
    "think": Say("Forty-two.", thinking="Six times seven."),
    "person": Say('{"name": "Ada", "age": 36, "kind": "human"}'),
    "refuse": Say("That is not allowed.", status=400),
    "break": Say("one two three four five six seven eight nine ten eleven twelve", fault=10, pause=0.03),
}


def schema_asked(body: Any) -> bool:
    """Whether a provider was asked for output by a schema."""
    return '"properties"' in json.dumps(body) and any(
        word in json.dumps(body) for word in ("json_schema", "responseJsonSchema")
    )
