"""F8: no secret and no word of a conversation in the log, the metrics, errors, or the view of the configuration."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.processes import Running, provider, running, until
from tests.scripted import Say, Seen

SECRETS = ("client-key-of-ada", "upstream-key-one", "key-of-the-operator", "header-for-the-vendor")
WORDS = ("swordfish", "marlin", "barracuda", "sturgeon")
"""Said in a question, in replies, in a system prompt, and by a provider that fails."""
CONFIG = """
server: {{port: PORT}}
auth: {{keys: [{{id: ada, key: client-key-of-ada, owner: acme}}]}}
management: {{key: key-of-the-operator}}
sessions: {{file: {{directory: "{folder}/sessions"}}}}
providers:
  chat: {{kind: openai, base_url: "{url}/v1", keys: [upstream-key-one], headers: {{x-vendor: header-for-the-vendor}}}}
  claude: {{kind: anthropic, base_url: "{url}", keys: [upstream-key-one]}}
  gone: {{kind: openai, base_url: "http://127.0.0.1:9/v1", keys: [upstream-key-one]}}
models:
  gpt: {{targets: [{{provider: chat, model: up}}]}}
  opus: {{targets: [{{provider: claude, model: up}}]}}
  gone: {{targets: [{{provider: gone, model: up}}]}}
"""
ADA = {"authorization": "Bearer client-key-of-ada"}


def answer(seen: Seen) -> Say:
    """Fails in several ways if it is asked to, quoting what it was asked and with which key, as vendors do."""
    question = json.dumps(seen.body.get("messages", ""))
    quote = "sturgeon: no such thing as swordfish, key upstream-key-one"
    for word, say in {
        "refuse": Say(quote, status=400),
        "deny": Say(quote, status=401),
        "break": Say("marlin barracuda", fault=2),
        "garble": Say(body=b"<html>sturgeon swordfish upstream-key-one</html>"),
        "cut": Say("marlin barracuda", cut=3),
    }.items():
        if word in question:
            return say
    return Say("marlin", calls=(("c1", "marlin", '{"fish": "barracuda"}'),) if "tool" in question else ())


@dataclass
class Spoken:
    """A gateway that all was said to, and the errors that it answered."""

    gateway: Running
    errors: str


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoken]:
    folder: Path = tmp_path_factory.mktemp("leaks")
    with (
        provider(answer) as (_, url),
        running(CONFIG.format(folder=folder, url=url)) as made,
        httpx.Client(base_url=made.url, headers=ADA, timeout=30) as client,
    ):
        errors = [talk(client, word, model, stream) for word in ASKED for model in MODELS for stream in (False, True)]
        made.get("/v1/sessions/swordfish.x", **ADA)
        made.get("/v1/models?key=client-key-of-ada")
        made.get("/v0/management/sessions", Authorization="Bearer swordfish")
        client.post("/v1/chat/completions", content=b'{"messages": "swordfish')
        yield Spoken(made, "\n".join(errors))


ASKED = ("say", "tool", "refuse", "deny", "break", "garble", "cut")
MODELS = ("gpt", "opus", "gone", "swordfish-model")
REQUESTS = len(ASKED) * len(MODELS) * 2 + 1
"""Whole, streamed, and one that is no JSON: each has a line in the log."""


def talk(client: httpx.Client, word: str, model: str, stream: bool) -> str:  # noqa: FBT001
    """One turn; what came back if it failed."""
    body = {"model": model, "messages": [{"role": "user", "content": f"{word} swordfish"}], "stream": stream}
    if model == "opus":
        body |= {"max_tokens": 9, "system": "sturgeon"}
    path = "/v1/messages" if model == "opus" else "/v1/chat/completions"
    with suppress(httpx.HTTPError):
        got = client.post(path, json=body, headers={"x-session-id": f"s-{word}-{model}"})
        return got.text if got.status_code != 200 else ""
    return ""


def holds(text: str, *, words: bool = True) -> None:
    for secret in SECRETS:
        assert secret not in text
    for word in WORDS if words else ():
        assert word not in text.replace("swordfish-model", "")


def test_the_log_has_no_word_and_no_secret(spoken: Spoken) -> None:
    until(lambda: sum("request_id" in line for line in spoken.gateway.lines()) == REQUESTS)  # some come a moment later
    holds(spoken.gateway.log.read_text())


def test_metrics_have_no_word_and_no_secret(spoken: Spoken) -> None:
    metrics = spoken.gateway.get("/metrics")[1]
    assert 'error="bad_gateway"' in metrics
    holds(metrics)
    assert "swordfish-model" not in metrics


def test_errors_have_no_secret(spoken: Spoken) -> None:
    assert "sturgeon" in spoken.errors  # a vendor's words about the request reach who made it
    holds(spoken.errors, words=False)


def test_the_view_of_the_configuration_has_no_secret(spoken: Spoken) -> None:
    for path in ("config", "providers", "models", "stats", "keys"):
        status, seen = spoken.gateway.get(f"/v0/management/{path}", Authorization="Bearer key-of-the-operator")
        assert status == 200
        holds(json.dumps(seen))
