"""F3: whatever is sent to an endpoint of the data plane, it is answered in time, not with 500, and without internals.

25 requests for each endpoint; `GATEWAY_EXAMPLES=10000` for the long form (`make fuzz`).
"""

import asyncio
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sessions.file.store import FileStore
from tests.chaos.mutations import HEADERS, bodies, seeds
from tests.harness import Harness, gateway
from tests.stateful.conftest import PROVIDERS

EXAMPLES = int(os.environ.get("GATEWAY_EXAMPLES", "25"))
BOUNDED = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 1000, suppress_health_check=list(HealthCheck),
    database=None,
)  # fmt: skip
MODELS = ("gpt", "opus", "flash", "codex")
LONGEST = 60.0
"""Seconds. Nothing here waits for anything: what takes so long hangs."""

CHAT, RESPONSES, MESSAGES, GEMINI = (seeds(name) for name in ("openai_chat", "openai_responses", "anthropic", "gemini"))
ITEMS = [{"items": seed["input"]} for seed in RESPONSES if isinstance(seed.get("input"), list)]
POSTS: dict[str, list[Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/responses/input_tokens": RESPONSES,
    "/v1/completions": [{"model": "gpt", "prompt": "say"}, {"model": "gpt", "prompt": ["a"], "stream": True, "n": 1}],
    "/v1/embeddings": [{"model": "gpt", "input": "text"}, {"model": "gpt", "input": [[1, 2]], "dimensions": 2}],
    "/v1/conversations": [{"metadata": {"a": "b"}}, *ITEMS],
    "/v1/conversations/made": [{"metadata": {"a": "b"}}],
    "/v1/conversations/made/items": ITEMS,
    "/v1beta/models/{model}:generateContent": GEMINI,
    "/v1beta/models/{model}:streamGenerateContent": GEMINI,
    "/v1/models/{model}:streamGenerateContent?alt=sse": GEMINI,
    "/v1beta/models/{model}:countTokens": GEMINI,
}
GETS = (
    "/v1/models", "/v1/models/{}", "/v1beta/models", "/v1beta/models/{}", "/v1/sessions?limit={}&cursor={}",
    "/v1/sessions/{}?turn={}&limit={}", "/v1/responses/{}?stream={}&starting_after={}",
    "/v1/responses/{}/input_items?limit={}",
    "/v1/conversations/{}", "/v1/conversations/{}/items?limit={}&after={}&order={}", "/v1/conversations/{}/items/{}",
    "/health/live?{}", "/metrics?{}", "/{}",
)  # fmt: skip
METHODS = ("GET", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "POST")
TEXTS = st.sampled_from(
    ["", "made", "1", "-1", "0", "99999999999999999999", "true", "asc", "conv_x", "resp_x_1_s", "..", "%2e%2e", "a/b",
     "\x00", "\r\nx: y", "ключ", "a" * 300, "{}", "{x}", "gpt", "*"]
)  # fmt: skip


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Asks a gateway with providers of all kinds, whose sessions are files: `asked(method, path, headers, body)`."""
    store = FileStore(str(tmp_path_factory.mktemp("any") / "sessions"))
    with asyncio.Runner() as runner:

        async def live(started: "asyncio.Future[Harness]", stopped: asyncio.Event) -> None:
            async with gateway(store, config=PROVIDERS) as gw:
                await gw.chat("hello", "made")
                started.set_result(gw)
                await stopped.wait()

        async def start() -> tuple[asyncio.Task[None], asyncio.Future[Harness], asyncio.Event]:
            loop = asyncio.get_running_loop()
            started, stopped = loop.create_future(), asyncio.Event()
            return loop.create_task(live(started, stopped)), started, stopped

        async def ask(gw: Harness, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
            sent = [(name.encode(), value.encode()) for name, value in headers.items()]
            return await asyncio.wait_for(gw.client.request(method, path, headers=sent, content=body), LONGEST)

        async def stop() -> None:
            stopped.set()
            await life

        life, started, stopped = runner.run(start())
        gw = runner.run(asyncio.wait_for(started, LONGEST))
        yield lambda *request: runner.run(ask(gw, *request))
        runner.run(stop())


def holds(answer: Any) -> int:
    """Known statuses only: 502 and 503 are told of providers and stores that failed, and none fails here but by us."""
    text = answer.text
    assert answer.status_code != 500, text
    assert answer.status_code < 500 or answer.status_code == 502, text
    for internal in ("Traceback", 'File "', "gateway/", "msgspec", "object at 0x"):
        assert internal not in text
    return int(answer.status_code)


@pytest.mark.parametrize("path", POSTS)
def test_any_body_is_answered(path: str, asked: Any) -> None:
    @BOUNDED
    @given(bodies(POSTS[path]), HEADERS, st.sampled_from(MODELS))
    def check(body: bytes, headers: dict[str, str], model: str) -> None:
        named = body.replace(b'"gpt-5.1"', b'"%s"' % model.encode()).replace(
            b'"claude-sonnet-4-5"', b'"%s"' % model.encode()
        )
        holds(asked("POST", path.replace("{model}", model), headers, named))

    check()


@pytest.mark.parametrize("path", GETS)
def test_any_address_is_answered(path: str, asked: Any) -> None:
    @BOUNDED
    @given(st.lists(TEXTS, min_size=4, max_size=4), st.sampled_from(METHODS), HEADERS)
    def check(texts: list[str], method: str, headers: dict[str, str]) -> None:
        holds(asked(method, path.format(*(quote(text, safe="/%") for text in texts)), headers, b""))

    check()
