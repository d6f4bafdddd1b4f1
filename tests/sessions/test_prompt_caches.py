"""Prompt caches are used on behalf of clients that cannot (feature B6)."""

import itertools
from typing import Any

import pytest

from tests.bench.prompt_caches import measure, with_sessions
from tests.scripted import Say

NAMED = """
providers:
  chat: {kind: openai, base_url: "http://chat/v1", keys: [k]}
  responses: {kind: openai-responses, base_url: "http://responses/v1", keys: [k]}
  claude: {kind: anthropic, base_url: "http://claude", keys: [k]HINTS}
  google: {kind: gemini, base_url: "http://google", keys: [k]}
models:
  gpt: {targets: [{provider: chat, model: gpt-5}]}
  llama: {targets: [{provider: chat, model: llama-3}]}
  codex: {targets: [{provider: responses, model: gpt-5}]}
  opus: {targets: [{provider: claude, model: claude-opus-4-5}]}
  gemini: {targets: [{provider: google, model: gemini-3}]}
"""
CONFIG = NAMED.replace("HINTS", "")
MARK = {"type": "ephemeral"}


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_more_of_the_input_is_served_from_caches_than_any_other_way(kind: str):
    shares = await measure(kind, sessions=3, turns=20)
    ours = shares.pop("this gateway")
    assert ours > 0.6
    assert ours > max(shares.values()) + 0.1


async def test_a_full_window_is_cut_seldom_so_that_the_prefix_stays():
    vendor = await with_sessions("openai", sessions=1, turns=20)
    bodies = [body["messages"] for body in vendor.bodies]
    kept = [later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(bodies)]
    assert max(map(len, bodies)) < 2 * 20  # it was cut
    assert kept.count(False) <= 3


async def test_every_turn_of_a_session_names_it_to_openai_s_cache(start: Any):
    async with start(config=CONFIG) as gw:
        for session in ("s", "s", "t"):
            await gw.chat("hello", session)
            await gw.chat("hello", session, model="codex")
        keys = [seen.body["prompt_cache_key"] for seen in gw.providers["chat"].seen]
        assert keys[0] == keys[1] != keys[2]
        assert len(keys[0]) <= 64
        assert keys == [seen.body["prompt_cache_key"] for seen in gw.providers["responses"].seen]


async def test_other_servers_are_not_sent_a_member_they_may_refuse(start: Any):
    async with start(config=CONFIG) as gw:
        for model in ("llama", "gemini"):
            await gw.chat("one", "s", model=model)
            await gw.chat("two", "s", model=model)
        assert all("prompt_cache_key" not in seen.body for seen in gw.providers["chat"].seen)
        assert all("cache" not in seen.raw.decode() for seen in gw.providers["google"].seen)


async def test_without_a_session_nothing_is_added(start: Any):
    async with start(config=CONFIG) as gw:
        await gw.chat("one")
        await gw.message("one")
        assert "prompt_cache_key" not in gw.sent("chat")
        assert "cache_control" not in gw.sent("claude")


async def test_the_client_s_own_key_stands(start: Any):
    async with start(config=CONFIG) as gw:
        body = {"model": "gpt", "messages": [{"role": "user", "content": "x"}], "prompt_cache_key": "mine"}
        await gw.post("/v1/chat/completions", body, x_session_id="s")
        assert gw.sent("chat")["prompt_cache_key"] == "mine"


@pytest.mark.parametrize("ask", ["message", "chat"])
async def test_an_injected_history_is_marked_at_its_end_for_anthropic(start: Any, ask: str):
    async with start(config=CONFIG) as gw:
        await getattr(gw, ask)("one", "s", model="opus")
        assert "cache_control" not in gw.sent("claude")
        await getattr(gw, ask)("two", "s", model="opus")
        assert gw.sent("claude")["cache_control"] == MARK
        assert "cache_control" not in str(gw.sent("claude")["messages"])


async def test_the_client_s_own_marks_stand_and_never_become_too_many(start: Any):
    async with start(config=CONFIG) as gw:
        for n in range(7):
            text = {"type": "text", "text": f"question {n}", "cache_control": MARK}
            body = {"model": "opus", "max_tokens": 9, "messages": [{"role": "user", "content": [text]}]}
            assert (await gw.post("/v1/messages", body, x_session_id="s")).status_code == 200
            sent = gw.sent("claude")
            assert "cache_control" not in sent
            marked = [i for i, m in enumerate(sent["messages"]) if "cache_control" in str(m)]
            assert marked == [2 * i for i in range(n + 1)][-4:]
            assert sent["messages"][0]["content"][0]["text"] == "question 0"


async def test_hints_can_be_switched_off(start: Any):
    async with start(config=NAMED.replace("HINTS", ", cache_hints: false")) as gw:
        await gw.message("one", "s")
        await gw.message("two", "s")
        assert "cache_control" not in gw.sent("claude")


async def test_cached_tokens_are_a_metric_of_each_provider(start: Any):
    body = (
        b'{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
        b'"message":{"role":"assistant","content":"x"}}],"usage":{"prompt_tokens":2000,"completion_tokens":5,'
        b'"total_tokens":2005,"prompt_tokens_details":{"cached_tokens":1920}}}'
    )
    async with start(config=CONFIG, chat=lambda _: Say(body=body)) as gw:
        await gw.chat("hello")
        labels = {"gen_ai_provider_name": "chat", "gen_ai_request_model": "gpt", "gen_ai_token_type": "cached"}
        assert gw.value("gen_ai_client_token_usage_sum", **labels) == 1920
