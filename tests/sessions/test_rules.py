"""Rules S1 to S15 as a client meets them: over HTTP, in both dialects, whole and streamed."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from gateway.sessions.store import SessionStore
from tests.harness import CONFIG, Harness
from tests.scripted import Say, Seen

Start = Callable[..., AbstractAsyncContextManager[Harness]]


@pytest.fixture
def store(every_store: SessionStore) -> SessionStore:
    """All of this is so on files, on Redis and on Redis Cluster."""
    return every_store


def said(body: dict[str, Any]) -> list[str]:
    """The conversation in a provider's request, one text a message."""
    found = []
    for message in body["messages"]:
        content = message.get("content")
        text = content if isinstance(content, str) else "".join(p.get("text", "") for p in content or [])
        found.append(f"{message['role'][0]}:{text}")
    return found


async def test_s1_nothing_is_stored_without_the_header(start: Start) -> None:
    async with start() as gw:
        answer = await gw.chat("hello")
        assert answer.status_code == 200
        assert "x-session-id" not in answer.headers
        assert "x-session-state" not in answer.headers
        assert (await gw.store.list()).heads == ()


@pytest.mark.parametrize("bad", ["", "a/b", "a.b", "../x", "{a}", "a" * 129, "é", "a b", "a\tb"])
async def test_s1_an_id_that_is_none_is_refused_before_any_store(start: Start, bad: str) -> None:
    async with start() as gw:
        headers = {"x-session-id": bad.encode("latin-1", "replace")}
        body = {"model": "gpt", "messages": [{"role": "user", "content": "x"}]}
        answer = await gw.client.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 400
        assert "X-Session-ID" in answer.json()["error"]["message"]
        assert gw.providers["chat"].seen == []


async def test_s1_new_makes_an_id_that_can_be_used_next(start: Start) -> None:
    async with start() as gw:
        first = await gw.chat("one", "new")
        made = first.headers["x-session-id"]
        assert made != "new"
        assert (await gw.chat("two", made)).headers["x-session-state"] == "resumed"
        assert said(gw.sent("chat")) == ["u:one", "a:reply-1", "u:two"]


async def test_s2_a_user_of_an_owner_has_sessions_of_his_own(start: Start) -> None:
    async with start() as gw:
        await gw.chat("mine", "s", x_session_user="ada")
        answer = await gw.chat("yours", "s", x_session_user="bob")
        assert answer.headers["x-session-state"] == "new"
        assert said(gw.sent("chat")) == ["u:yours"]


@pytest.mark.parametrize("stream", [False, True])
async def test_s3_history_goes_in_front_of_the_newest_message(start: Start, *, stream: bool) -> None:
    async with start() as gw:
        for n in (1, 2, 3):
            body = {"model": "gpt", "messages": [{"role": "user", "content": f"q{n}"}], "stream": stream}
            answer = await gw.post("/v1/chat/completions", body, x_session_id="s")
            assert answer.status_code == 200
        assert said(gw.sent("chat")) == ["u:q1", "a:reply-1", "u:q2", "a:reply-2", "u:q3"]
        assert answer.headers["x-session-state"] == "resumed"
        assert answer.headers["x-session-history"] == "injected=4, trimmed=0, replaced=0"


async def test_s4_the_upstream_body_of_the_next_turn_begins_with_this_ones_messages(start: Start) -> None:
    async with start() as gw:
        odd = '{"role": "user",  "content": "first", "x_unknown": 1152921504606846976}'
        body = f'{{"model":"gpt","messages":[{odd}]}}'
        headers = {"x-session-id": "s", "content-type": "application/json"}
        await gw.client.post("/v1/chat/completions", content=body, headers=headers)
        for n in range(3):
            before = gw.providers["chat"].seen[-1].raw
            await gw.chat(f"more {n}", "s")
            prefix = before[before.index(b'"messages":[') : before.rindex(b"]")]
            assert prefix in gw.providers["chat"].seen[-1].raw
        assert odd.encode() in gw.providers["chat"].seen[-1].raw


async def test_s4_a_session_moves_between_dialects_and_providers(start: Start) -> None:
    async with start() as gw:
        await gw.chat("one", "s", model="gpt")
        await gw.message("two", "s", model="opus")
        await gw.chat("three", "s", model="opus")
        await gw.message("four", "s", model="gpt")
        assert said(gw.sent("chat")) == [
            "u:one", "a:reply-1", "u:two", "a:reply-1", "u:three", "a:reply-2", "u:four",
        ]  # fmt: skip
        assert said(gw.providers["claude"].seen[-1].body) == ["u:one", "a:reply-1", "u:two", "a:reply-1", "u:three"]


async def test_s4_a_thinking_signature_goes_back_to_its_maker_only(start: Start) -> None:
    def think(_: Seen) -> Say:
        return Say("done", thinking="hmm")

    async with start(claude=think) as gw:
        await gw.message("one", "s")
        await gw.message("two", "s")
        assert gw.sent("claude")["messages"][1]["content"][0]["signature"] == "sig-1"
        await gw.message("three", "s", model="gpt")
        assert "sig-" not in gw.providers["chat"].seen[-1].raw.decode()


async def test_s5_a_client_that_resends_its_history_gets_nothing_doubled(start: Start) -> None:
    async with start() as gw:
        messages: list[dict[str, str]] = []
        for n in (1, 2, 3):
            messages.append({"role": "user", "content": f"q{n}"})
            answer = await gw.post("/v1/chat/completions", {"model": "gpt", "messages": messages}, x_session_id="s")
            messages.append({"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"]})
        assert said(gw.sent("chat")) == ["u:q1", "a:reply-1", "u:q2", "a:reply-2", "u:q3"]
        assert await turns_of(gw) == ["q1", "q2", "q3"]


async def test_s5_an_edited_question_replaces_the_turns_after_it(start: Start) -> None:
    async with start() as gw:
        for n in (1, 2, 3):
            await gw.chat(f"q{n}", "s")
        edited = [
            {"role": "user", "content": "q1"},
            {"role": "assistant", "content": " reply-1\n"},
            {"role": "user", "content": "q2 but better"},
        ]
        answer = await gw.post("/v1/chat/completions", {"model": "gpt", "messages": edited}, x_session_id="s")
        assert "replaced=2" in answer.headers["x-session-history"]
        assert await turns_of(gw) == ["q1", "q2 but better"]
        stored = await gw.store.turns(gw.key("s"), first=1, count=5)
        assert [turn.replaced for turn in stored.values()] == [0, 2]


async def test_s5_asking_the_only_question_again_regenerates(start: Start) -> None:
    async with start() as gw:
        await gw.chat("q1", "s")
        await gw.chat("q1", "s")
        assert said(gw.sent("chat")) == ["u:q1"]
        assert await turns_of(gw) == ["q1"]


async def test_s5_examples_in_every_request_are_not_piled_up(start: Start) -> None:
    examples = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]
    async with start() as gw:
        for n in (1, 2, 3):
            messages = [{"role": "system", "content": "sum"}, *examples, {"role": "user", "content": f"q{n}"}]
            await gw.post("/v1/chat/completions", {"model": "gpt", "messages": messages}, x_session_id="s")
        assert said(gw.sent("chat")) == [
            "s:sum", "u:2+2", "a:4", "u:q1", "a:reply-1", "u:q2", "a:reply-2", "u:q3",
        ]  # fmt: skip
        await gw.chat("q4", "s")
        assert said(gw.sent("chat"))[:4] == ["s:sum", "u:2+2", "a:4", "u:q1"]


@pytest.mark.parametrize("directive", ["delta", "reset", "off"])
async def test_s5_the_client_may_say_what_it_means(start: Start, directive: str) -> None:
    async with start() as gw:
        await gw.chat("q1", "s")
        await gw.chat("q2", "s", x_session_history=directive)
        expected = {"delta": ["u:q1", "a:reply-1", "u:q2"], "reset": ["u:q2"], "off": ["u:q2"]}
        assert said(gw.sent("chat")) == expected[directive]
        stored = {"delta": ["q1", "q2"], "reset": ["q2"], "off": ["q1"]}
        assert await turns_of(gw) == stored[directive]


async def test_s5_the_same_question_twice_in_a_longer_session_is_asked_twice(start: Start) -> None:
    async with start() as gw:
        for text in ("a", "more", "more"):
            await gw.chat(text, "s")
        assert await turns_of(gw) == ["a", "more", "more"]


async def test_s6_the_sessions_system_prompt_is_used_until_another_comes(start: Start) -> None:
    async with start() as gw:
        first = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "q1"}]
        await gw.post("/v1/chat/completions", {"model": "gpt", "messages": first}, x_session_id="s")
        await gw.chat("q2", "s")
        assert said(gw.sent("chat"))[0] == "s:be brief"
        await gw.message("q3", "s", model="opus")
        assert "be brief" in json.dumps(gw.sent("claude")["system"])
        body = {"model": "opus", "max_tokens": 9, "system": "be long", "messages": [{"role": "user", "content": "q4"}]}
        await gw.post("/v1/messages", body, x_session_id="s")
        await gw.chat("q5", "s")
        assert said(gw.sent("chat"))[0] == "s:be long"


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


def calls_then_text(seen: Seen) -> Say:
    asked = json.dumps(seen.body["messages"][-1])
    if '"tool' in asked:
        return Say("sunny")
    return Say(calls=(("call_1", "weather", "{}"), ("call_2", "weather", '{"a":1}')))


async def test_s6_tools_come_along_where_the_history_has_calls(start: Start) -> None:
    async with start(chat=calls_then_text) as gw:
        body = {"model": "gpt", "tools": TOOLS, "messages": [{"role": "user", "content": "weather?"}]}
        await gw.post("/v1/chat/completions", body, x_session_id="s")
        results = [{"role": "tool", "tool_call_id": f"call_{n}", "content": "21"} for n in (1, 2)]
        answer = await gw.post("/v1/chat/completions", {"model": "gpt", "messages": results}, x_session_id="s")
        assert answer.json()["choices"][0]["message"]["content"] == "sunny"
        assert gw.sent("chat")["tools"] == TOOLS
        await gw.message("and now?", "s", model="opus")
        sent = gw.sent("claude")
        assert [tool["name"] for tool in sent["tools"]] == ["weather"]
        uses = [block["id"] for block in sent["messages"][1]["content"] if block["type"] == "tool_use"]
        answers = [block["tool_use_id"] for block in sent["messages"][2]["content"]]
        assert uses == answers == ["call_1", "call_2"]


async def test_s13_calls_that_nobody_answered_get_a_result_that_says_so(start: Start) -> None:
    async with start(chat=calls_then_text) as gw:
        body = {"model": "gpt", "tools": TOOLS, "messages": [{"role": "user", "content": "weather?"}]}
        await gw.post("/v1/chat/completions", body, x_session_id="s")
        await gw.chat("never mind", "s")
        roles = [message["role"] for message in gw.sent("chat")["messages"]]
        assert roles == ["user", "assistant", "tool", "tool", "user"]


async def test_s13_results_for_unknown_calls_are_refused_by_name(start: Start) -> None:
    async with start() as gw:
        await gw.chat("q1", "s")
        result = [{"role": "tool", "tool_call_id": "call_nobody", "content": "21"}]
        answer = await gw.post("/v1/chat/completions", {"model": "gpt", "messages": result}, x_session_id="s")
        assert answer.status_code == 400
        assert "call_nobody" in answer.json()["error"]["message"]


@pytest.mark.parametrize("dialect", ["chat", "claude"])
async def test_s8_a_cut_stream_is_kept_and_a_retry_replaces_it(start: Start, dialect: str) -> None:
    cut = {"n": 0}

    def script(_: Seen) -> Say:
        cut["n"] += 1
        return Say("one two three four", cut=4) if cut["n"] == 2 else Say(f"whole-{cut['n']}")

    async with start(**{dialect: script}) as gw:
        send = gw.chat if dialect == "chat" else gw.message
        path = "/v1/chat/completions" if dialect == "chat" else "/v1/messages"
        await send("q1", "s")
        body = {
            "model": "gpt" if dialect == "chat" else "opus", "max_tokens": 50, "stream": True,
            "messages": [{"role": "user", "content": "q2"}],
        }  # fmt: skip
        broken = await gw.post(path, body, x_session_id="s")
        assert "error" in broken.text
        assert "[DONE]" not in broken.text
        assert await turns_of(gw) == ["q1", "q2"]
        page = await gw.store.turns(gw.key("s"), first=1, count=9)
        assert page[2].incomplete
        await gw.post(path, body, x_session_id="s")
        assert said(gw.sent(dialect)) == ["u:q1", "a:whole-1", "u:q2"]
        page = await gw.store.turns(gw.key("s"), first=1, count=9)
        assert len(page) == 2
        assert not page[2].incomplete


async def test_s8_a_retry_of_a_turn_that_was_stored_replays_it(start: Start) -> None:
    async with start() as gw:
        await gw.chat("q1", "s")
        await gw.chat("q2", "s")
        again = await gw.chat("q2", "s", x_stainless_retry_count="1")
        assert again.headers["x-session-state"] == "replayed"
        assert again.json()["choices"][0]["message"]["content"] == "reply-2"
        assert len(gw.providers["chat"].seen) == 2
        body = {"model": "opus", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "q2"}]}
        streamed = await gw.post("/v1/messages", body, x_session_id="s", x_stainless_retry_count="2")
        assert "reply-2" in streamed.text
        assert "message_stop" in streamed.text
        assert await turns_of(gw) == ["q1", "q2"]


async def test_s11_a_session_deleted_during_its_turn_does_not_come_back(start: Start) -> None:
    async with start() as gw:
        await gw.chat("q1", "s")
        gw.providers["chat"].meanwhile = lambda: gw.store.delete(gw.key("s"))
        answer = await gw.chat("q2", "s")
        assert answer.status_code == 200
        assert answer.headers["x-session-state"] == "unsaved"
        assert (await gw.store.list()).heads == ()


async def test_s11_a_deleted_id_can_be_used_again_at_once(start: Start) -> None:
    async with start() as gw:
        await gw.chat("q1", "s")
        await gw.store.delete(gw.key("s"))
        await asyncio.sleep(0.01)
        again = await gw.chat("q2", "s")
        assert again.headers["x-session-state"] == "new"
        assert await turns_of(gw) == ["q2"]


async def test_s12_a_request_larger_than_a_session_is_refused_before_the_call(start: Start) -> None:
    async with start(config=CONFIG + "sessions: {max_bytes: 2KiB}\n") as gw:
        answer = await gw.chat("x" * 3000, "s")
        assert answer.status_code == 413
        assert gw.providers["chat"].seen == []


async def test_s12_a_reply_that_overflows_is_delivered_and_reported(start: Start) -> None:
    async with start(config=CONFIG + "sessions: {max_bytes: 2KiB}\n", chat=lambda _: "y" * 5000) as gw:
        answer = await gw.chat("q", "s")
        assert answer.json()["choices"][0]["message"]["content"] == "y" * 5000
        assert answer.headers["x-session-state"] == "unsaved"


async def test_s13_a_full_window_is_cut_in_blocks_and_stays_cut(start: Start) -> None:
    async with start(config=CONFIG + "history: {max_turns: 4}\n") as gw:
        injected = []
        for n in range(12):
            await gw.chat(f"q{n}", "s")
            injected.append(len(said(gw.sent("chat"))) // 2)
        assert max(injected) == 4
        assert injected == [0, 1, 2, 3, 4, 3, 4, 3, 4, 3, 4, 3]


async def test_s14_every_response_says_what_happened(start: Start) -> None:
    async with start() as gw:
        answer = await gw.chat("q1", "s")
        told = {name: answer.headers[name] for name in answer.headers if name.startswith("x-")}
        assert told.pop("x-request-id")
        assert told == {
            "x-session-id": "s",
            "x-session-state": "new",
            "x-session-history": "injected=0, trimmed=0, replaced=0",
            "x-session-turn": "1",
            "x-gateway-provider": "chat",
            "x-gateway-attempts": "1",
        }


async def test_s14_a_turn_can_be_named_to_be_replaced(start: Start) -> None:
    async with start() as gw:
        for n in (1, 2, 3):
            await gw.chat(f"q{n}", "s")
        answer = await gw.chat("q2 again", "s", x_session_turn="2")
        assert answer.headers["x-session-turn"] in ("2", "4")
        assert said(gw.sent("chat")) == ["u:q1", "a:reply-1", "u:q2 again"]
        assert await turns_of(gw) == ["q1", "q2 again"]
        wrong = await gw.chat("x", "s", x_session_turn="9")
        assert wrong.status_code == 400


async def test_s15_a_store_that_is_down_costs_the_memory_and_is_told(start: Start) -> None:
    async with start() as gw:
        await gw.chat("q1", "s")
        gw.break_store()
        answer = await gw.chat("q2", "s")
        assert answer.status_code == 200
        assert answer.headers["x-session-state"] == "stateless"
        assert said(gw.sent("chat")) == ["u:q2"]
        assert gw.value("gateway_store_failures_total", operation="load", reason="StoreUnavailable") == 1
        result = [{"role": "tool", "tool_call_id": "call_1", "content": "21"}]
        refused = await gw.post("/v1/chat/completions", {"model": "gpt", "messages": result}, x_session_id="s")
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        gw.mend_store()
        await gw.chat("q3", "s")
        assert said(gw.sent("chat")) == ["u:q1", "a:reply-1", "u:q3"]


async def test_s15_with_reject_nothing_is_served_without_memory(start: Start) -> None:
    async with start(config=CONFIG + "sessions: {on_failure: reject}\n") as gw:
        gw.break_store()
        answer = await gw.chat("q2", "s")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "session_store_unavailable"
        assert (await gw.chat("no session")).status_code == 200


PATHS = {"chat": "/v1/chat/completions", "claude": "/v1/messages"}


def streamed(provider: str, text: str = "q") -> dict[str, Any]:
    model = "gpt" if provider == "chat" else "opus"
    return {"model": model, "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("provider", PATHS)
async def test_s14_a_stream_whose_turn_cannot_be_stored_says_so_at_its_end(start: Start, provider: str) -> None:
    async with start() as gw:
        gw.providers[provider].meanwhile = lambda: asyncio.sleep(0, gw.break_store())
        answer = await gw.post(PATHS[provider], streamed(provider), x_session_id="s")
        assert answer.status_code == 200
        assert answer.text.endswith(": the turn was not saved in its session\n\n")
        assert gw.value("gateway_session_requests_total", state="unsaved") == 1
        assert gw.value("gateway_store_failures_total", operation="append", reason="StoreUnavailable") == 1


@pytest.mark.parametrize("provider", PATHS)
async def test_s14_with_reject_such_a_stream_ends_in_an_error(start: Start, provider: str) -> None:
    async with start(config=CONFIG + "sessions: {on_failure: reject}\n") as gw:
        gw.providers[provider].meanwhile = lambda: asyncio.sleep(0, gw.break_store())
        answer = await gw.post(PATHS[provider], streamed(provider), x_session_id="s")
        assert "could not be stored" in answer.text.splitlines()[-2]
        assert "[DONE]" not in answer.text
        assert "message_stop" not in answer.text


async def test_s5_a_streamed_conversation_is_resent_edited_and_retried_like_any_other(start: Start) -> None:
    async with start() as gw:
        for n in (1, 2, 3):
            await gw.post(PATHS["chat"], streamed("chat", f"q{n}"), x_session_id="s")
        said_before = [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "reply-1"}]
        body = streamed("chat") | {"messages": [*said_before, {"role": "user", "content": "q2 better"}]}
        answer = await gw.post(PATHS["chat"], body, x_session_id="s")
        assert "replaced=2" in answer.headers["x-session-history"]
        assert said(gw.sent("chat")) == ["u:q1", "a:reply-1", "u:q2 better"]
        await gw.post(PATHS["chat"], streamed("chat", "q3"), x_session_id="s", x_session_history="delta")
        assert said(gw.sent("chat")) == ["u:q1", "a:reply-1", "u:q2 better", "a:reply-4", "u:q3"]


@pytest.mark.parametrize("provider", PATHS)
async def test_s12_a_streamed_reply_that_overflows_is_delivered_and_reported(start: Start, provider: str) -> None:
    config = CONFIG + "sessions: {max_bytes: 2KiB}\n"
    async with start(config=config, **{provider: lambda _: Say("long " * 1000)}) as gw:
        answer = await gw.post(PATHS[provider], streamed(provider), x_session_id="s")
        assert answer.text.count("long") >= 1000
        assert answer.text.endswith(": the turn was not saved in its session\n\n")
        assert (await gw.store.list()).heads == ()


@pytest.mark.parametrize("provider", PATHS)
async def test_s15_a_stream_without_its_store_is_served_and_told(start: Start, provider: str) -> None:
    async with start() as gw:
        await gw.post(PATHS[provider], streamed(provider), x_session_id="s")
        gw.break_store()
        answer = await gw.post(PATHS[provider], streamed(provider, "again"), x_session_id="s")
        assert answer.headers["x-session-state"] == "stateless"
        assert said(gw.sent(provider)) == ["u:again"]
        gw.mend_store()
        assert len(await gw.store.turns(gw.key("s"), first=1, count=9)) == 1


async def test_s16_a_failed_request_makes_no_session(start: Start) -> None:
    async with start(chat=lambda _: Say(status=400, text="bad")) as gw:
        assert (await gw.chat("q", "s")).status_code == 400
        assert (await gw.store.list()).heads == ()


async def test_the_session_prefers_its_provider_and_goes_home_after_a_failure(start: Start) -> None:
    async with start() as gw:
        first = await gw.chat("q1", "s", model="both")
        assert first.headers["x-gateway-provider"] == "chat"
        gw.switchboard.down.add("chat")
        second = await gw.chat("q2", "s", model="both")
        assert second.headers["x-gateway-provider"] == "claude"
        assert second.headers["x-gateway-attempts"] == "2"
        assert said(gw.sent("claude")) == ["u:q1", "a:reply-1", "u:q2"]
        head = await gw.store.head(gw.key("s"))
        assert head is not None
        assert head.pin is not None
        assert head.pin.provider == "chat"


async def turns_of(gw: Harness) -> list[str]:
    """The stored questions, in order."""
    turns = await gw.store.turns(gw.key("s"), first=1, count=99)
    return [json.loads(turn.question.messages[0])["content"] for _, turn in sorted(turns.items())]


async def test_text_that_is_not_utf_8_is_refused_and_never_stored(start: Start) -> None:
    body = b'{"model": "both", "messages": [{"role": "user", "content": "x"}]}'
    broken = json.dumps({"choices": [{"message": {"role": "assistant", "content": "x"}}]}).encode()
    async with start(chat=lambda _: Say(body=broken.replace(b'"x"', b'"\xff"'))) as gw:
        for path in ("/v1/chat/completions", "/v1/conversations"):
            answer = await gw.client.post(path, content=body.replace(b'"x"', b'"\xff"'), headers={"x-session-id": "s"})
            assert answer.status_code == 400
            assert "UTF-8" in answer.text
        answer = await gw.client.post("/v1/chat/completions", content=body, headers={"x-session-id": "s"})
        assert answer.headers["x-gateway-provider"] == "claude"  # the other target, since the first one's is garbage
        assert answer.headers["x-gateway-attempts"] == "2"
        assert [head.next for head in (await gw.store.list()).heads] == [2]
