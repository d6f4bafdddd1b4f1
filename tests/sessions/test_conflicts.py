"""Rules S9 and S10 as clients meet them: one turn at a time, and turns that run once."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from gateway.sessions.store import Reservation, SessionStore
from tests.harness import CONFIG, Harness
from tests.scripted import Say, Seen

Start = Callable[..., AbstractAsyncContextManager[Harness]]


@pytest.fixture
def store(every_store: SessionStore) -> SessionStore:
    """All of this is so on files, on Redis and on Redis Cluster."""
    return every_store


REJECT = CONFIG + "sessions: {conflict: reject}\n"
GEMINI = "/v1beta/models/gpt:generateContent"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "gpt", "messages": [{"role": "user", "content": "q"}]},
    "/v1/messages": {"model": "gpt", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]},
    "/v1/responses": {"model": "gpt", "input": "q"},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "q"}]}]},
}


class Gate:
    """Holds a provider until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.opened.wait()


async def running(gw: Harness, work: Awaitable[httpx.Response]) -> tuple[Gate, "asyncio.Task[httpx.Response]"]:
    """A request that waits inside its provider."""
    gate = gw.providers["chat"].meanwhile = Gate()
    task = asyncio.ensure_future(work)
    await asyncio.wait_for(gate.reached.wait(), 20)
    gw.providers["chat"].meanwhile = None
    return gate, task


async def questions(gw: Harness, id: str = "s") -> list[str]:
    turns = await gw.store.turns(gw.key(id), first=1, count=99)
    return [json.loads(turn.question.messages[0])["content"] for _, turn in sorted(turns.items())]


# ---------------------------------------------------------------- S9


async def test_two_turns_at_once_are_both_stored_by_default(start: Start) -> None:
    async with start() as gw:
        gate, first = await running(gw, gw.chat("one", "s"))
        assert (await gw.chat("two", "s")).status_code == 200
        gate.opened.set()
        assert (await first).status_code == 200
        assert await questions(gw) == ["two", "one"]


@pytest.mark.parametrize("path", BODIES)
async def test_with_reject_a_second_turn_at_once_is_refused_in_its_dialect(start: Start, path: str) -> None:
    async with start(config=REJECT) as gw:
        gate, first = await running(gw, gw.chat("one", "s"))
        refused = await gw.post(path, BODIES[path], x_session_id="s")
        assert refused.status_code == 409
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-session-id"] == "s"
        error = refused.json()["error"]
        assert "Another turn of this session is running" in error["message"]
        if "code" in error and path != GEMINI:
            assert error["code"] == "session_busy"
        gate.opened.set()
        assert (await first).status_code == 200
        again = await gw.post(path, BODIES[path], x_session_id="s")
        assert again.status_code == 200
        assert len(gw.providers["chat"].seen) == 2
        assert again.headers["x-session-turn"] == "2"


async def test_with_reject_other_sessions_and_requests_without_one_are_free(start: Start) -> None:
    async with start(config=REJECT) as gw:
        gate, first = await running(gw, gw.chat("one", "s"))
        for id in ("t", "", "new"):
            assert (await gw.chat("two", id)).status_code == 200
        assert (await gw.chat("two", "s", x_session_user="jo")).status_code == 200
        gate.opened.set()
        await first


@pytest.mark.parametrize(
    ("stream", "failure"),
    [
        (False, Say(status=400)),
        (False, Say(body=b"garbage")),
        (True, Say(status=500)),
        (True, Say("one two three", cut=0)),
        (True, Say("one two three", cut=3)),
    ],
)
async def test_with_reject_a_session_is_free_when_its_turn_failed(start: Start, *, stream: bool, failure: Say) -> None:
    async with start(config=REJECT, chat=lambda _: failure) as gw:
        await gw.post("/v1/chat/completions", {**BODIES["/v1/chat/completions"], "stream": stream}, x_session_id="s")
        probe = Reservation(holder="probe", lease=True)
        assert (await gw.store.reserve(gw.key("s"), probe)).outcome == "granted"


async def test_with_reject_an_invalid_request_leaves_no_lease(start: Start) -> None:
    async with start(config=REJECT) as gw:
        await gw.chat("one", "s")
        result = [{"role": "tool", "tool_call_id": "call_nobody", "content": "21"}]
        bad = await gw.post("/v1/chat/completions", {"model": "gpt", "messages": result}, x_session_id="s")
        assert bad.status_code == 400
        assert (await gw.chat("two", "s")).status_code == 200


async def test_with_reject_a_client_that_leaves_frees_the_session(start: Start) -> None:
    async with start(config=REJECT) as gw:
        _, first = await running(gw, gw.chat("one", "s"))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (await gw.chat("two", "s")).status_code == 200


async def test_with_reject_the_lease_of_a_killed_worker_stands_in_the_way_until_it_ends(start: Start) -> None:
    async with start(config=REJECT) as gw:
        await gw.store.reserve(gw.key("s"), Reservation(holder="killed", lease=True, seconds=0.5))
        assert (await gw.chat("one", "s")).status_code == 409
        await asyncio.sleep(0.6)
        assert (await gw.chat("one", "s")).status_code == 200


async def test_with_reject_a_store_that_is_down_costs_the_memory_only(start: Start) -> None:
    async with start(config=REJECT) as gw:
        gw.break_store()
        answer = await gw.chat("one", "s", idempotency_key="k")
        assert answer.status_code == 200
        assert answer.headers["x-session-state"] == "stateless"


async def test_of_many_turns_at_once_with_reject_one_runs_at_a_time(start: Start) -> None:
    inside = most = 0

    async with start(config=REJECT) as gw:

        async def provider() -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

        gw.providers["chat"].meanwhile = provider
        answers = await asyncio.gather(*(gw.chat(f"q{n}", "s") for n in range(30)))
        served = [answer for answer in answers if answer.status_code == 200]
        assert most == 1
        assert {answer.status_code for answer in answers} == {200, 409}
        assert len(await questions(gw)) == len(served) == len(gw.providers["chat"].seen)


# ---------------------------------------------------------------- S10


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_after_the_end_replays_the_reply(start: Start, path: str, *, stream: bool) -> None:
    async with start() as gw:
        body = dict(BODIES[path])
        if stream and path == GEMINI:
            path = "/v1beta/models/gpt:streamGenerateContent"
        elif stream:
            body["stream"] = True
        await gw.chat("before", "s")
        first = await gw.post(path, body, x_session_id="s", idempotency_key="k1")
        for _ in range(2):
            again = await gw.post(path, body, x_session_id="s", idempotency_key="k1")
            assert again.status_code == first.status_code == 200
            assert again.headers["x-session-state"] == "replayed"
            assert again.headers["x-session-turn"] == "2"
            assert "reply-2" in again.text.replace('"}}]}', "")
            assert again.headers["content-type"] == first.headers["content-type"]
        assert len(gw.providers["chat"].seen) == 2
        assert len(await gw.store.turns(gw.key("s"), first=1, count=9)) == 2


async def test_the_reply_is_replayed_after_later_turns_too(start: Start) -> None:
    async with start() as gw:
        await gw.chat("one", "s", idempotency_key="k1")
        await gw.chat("two", "s", idempotency_key="k2")
        again = await gw.chat("one", "s", idempotency_key="k1")
        assert again.json()["choices"][0]["message"]["content"] == "reply-1"
        assert await questions(gw) == ["one", "two"]


async def test_a_repeat_with_tool_calls_replays_them(start: Start) -> None:
    call = Say(calls=(("call_1", "weather", '{"a":1}'),))
    async with start(chat=lambda _: call) as gw:
        first = await gw.chat("weather?", "s", idempotency_key="k1")
        again = await gw.chat("weather?", "s", idempotency_key="k1")
        assert (
            again.json()["choices"][0]["message"]["tool_calls"] == first.json()["choices"][0]["message"]["tool_calls"]
        )
        assert again.json()["choices"][0]["finish_reason"] == "tool_calls"
        assert len(gw.providers["chat"].seen) == 1


async def test_a_repeat_during_the_run_is_told_to_wait(start: Start) -> None:
    async with start() as gw:
        gate, first = await running(gw, gw.chat("one", "s", idempotency_key="k1"))
        refused = await gw.chat("one", "s", idempotency_key="k1")
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "idempotency_key_running"
        assert int(refused.headers["retry-after"]) >= 1
        gate.opened.set()
        await first
        again = await gw.chat("one", "s", idempotency_key="k1")
        assert again.headers["x-session-state"] == "replayed"
        assert len(gw.providers["chat"].seen) == 1


async def test_the_same_key_with_another_body_is_refused(start: Start) -> None:
    async with start() as gw:
        gate, first = await running(gw, gw.chat("one", "s", idempotency_key="k1"))
        assert (await gw.chat("other", "s", idempotency_key="k1")).status_code == 422
        gate.opened.set()
        await first
        refused = await gw.chat("other", "s", idempotency_key="k1")
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "idempotency_key_reused"
        assert refused.json()["error"]["param"] == "Idempotency-Key"
        assert await questions(gw) == ["one"]


async def test_a_key_belongs_to_its_session_and_user(start: Start) -> None:
    async with start() as gw:
        await gw.chat("one", "s", idempotency_key="k1")
        other = await gw.chat("two", "t", idempotency_key="k1")
        user = await gw.chat("three", "s", idempotency_key="k1", x_session_user="jo")
        assert [other.status_code, user.status_code] == [200, 200]
        assert len(gw.providers["chat"].seen) == 3


async def test_a_failed_run_frees_its_key(start: Start) -> None:
    answers = iter([Say(status=400), Say("fine")])
    async with start(chat=lambda _: next(answers)) as gw:
        assert (await gw.chat("one", "s", idempotency_key="k1")).status_code == 400
        again = await gw.chat("one", "s", idempotency_key="k1")
        assert again.json()["choices"][0]["message"]["content"] == "fine"


async def test_a_repeat_after_a_cut_stream_runs_again_and_leaves_one_turn(start: Start) -> None:
    answers = iter([Say("one two three four", cut=3), Say("whole")])
    async with start(chat=lambda _: next(answers)) as gw:
        body = {**BODIES["/v1/chat/completions"], "stream": True}
        broken = await gw.post("/v1/chat/completions", body, x_session_id="s", idempotency_key="k1")
        assert "[DONE]" not in broken.text
        again = await gw.post("/v1/chat/completions", body, x_session_id="s", idempotency_key="k1")
        assert "whole" in again.text
        turns = await gw.store.turns(gw.key("s"), first=1, count=9)
        assert [turn.incomplete for turn in turns.values()] == [False]


async def test_a_new_session_with_a_key_is_made_once(start: Start) -> None:
    async with start() as gw:
        first = await gw.chat("one", "new", idempotency_key="k1")
        again = await gw.chat("one", "new", idempotency_key="k1")
        assert again.headers["x-session-id"] == first.headers["x-session-id"]
        assert (first.headers["x-session-state"], again.headers["x-session-state"]) == ("new", "replayed")
        other = await gw.chat("one", "new", idempotency_key="k2")
        assert other.headers["x-session-id"] != first.headers["x-session-id"]
        assert len(gw.providers["chat"].seen) == 2


async def test_a_key_of_a_deleted_session_may_be_used_anew(start: Start) -> None:
    async with start() as gw:
        await gw.chat("one", "s", idempotency_key="k1")
        await gw.store.delete(gw.key("s"))
        await gw.chat("one", "s", idempotency_key="k1")
        assert len(gw.providers["chat"].seen) == 2


async def test_a_key_without_a_session_means_nothing(start: Start) -> None:
    async with start() as gw:
        for _ in range(2):
            assert (await gw.chat("one", idempotency_key="k1")).status_code == 200
        assert len(gw.providers["chat"].seen) == 2


@pytest.mark.parametrize("bad", [b"", b"x" * 257, "é".encode(), b"a\tb"])
async def test_a_key_that_is_none_is_refused_by_name(start: Start, bad: bytes) -> None:
    async with start() as gw:
        headers = {"x-session-id": "s", "idempotency-key": bad}
        answer = await gw.client.post("/v1/chat/completions", json=BODIES["/v1/chat/completions"], headers=headers)
        assert answer.status_code == 400
        assert "Idempotency-Key" in answer.json()["error"]["message"]
        assert gw.providers["chat"].seen == []


async def test_of_many_repeats_at_once_one_runs(start: Start) -> None:
    def once(_: Seen) -> Say:
        return Say("done", wait=0.05)

    async with start(config=REJECT, chat=once) as gw:
        answers = await asyncio.gather(*(gw.chat("one", "s", idempotency_key="k1") for _ in range(30)))
        assert {answer.status_code for answer in answers} == {200, 409}
        assert len(gw.providers["chat"].seen) == 1
        assert await questions(gw) == ["one"]


# ---------------------------------------------------------------- what it costs


async def test_requests_that_use_neither_ask_the_store_no_more(start: Start) -> None:
    async with start() as gw:
        await gw.chat("one", "s")
        assert gw.value("gateway_store_operation_seconds_count", operation="reserve") == 0
        assert gw.value("gateway_store_operation_seconds_count", operation="load") == 1
        await gw.chat("two", "s", idempotency_key="k1")
        assert gw.value("gateway_store_operation_seconds_count", operation="reserve") == 1


async def test_an_owner_with_as_many_sessions_as_it_may_have_is_refused_before_the_call(start: Start) -> None:
    async with start(config=CONFIG + "sessions: {max_sessions: 2}\n") as gw:
        for id in ("a", "b", "a"):
            assert (await gw.chat("one", id)).status_code == 200
        for id in ("c", "new"):
            refused = await gw.chat("one", id)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "session_limit"
        assert len(gw.providers["chat"].seen) == 3
        await gw.store.delete(gw.key("a"))
        assert (await gw.chat("one", "c")).status_code == 200
