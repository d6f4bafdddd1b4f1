"""The rules of sessions for a client of every dialect, whole and streamed, at its own vendor and at another one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.sessions.file.store import FileStore
from gateway.sessions.fitting import UNANSWERED
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import SessionStore
from tests.harness import EVERY_KIND, Harness
from tests.scripted import Say, Seen
from tests.sessions.voices import Voice

Start = Callable[..., AbstractAsyncContextManager[Harness]]
Opened = Callable[..., AbstractAsyncContextManager[Voice]]

PLACES = [
    ("file", "chat", "chat"), ("redis", "chat", "claude"),
    ("file", "claude", "chat"), ("redis", "claude", "claude"),
    ("file", "responses", "responses"), ("redis", "responses", "google"),
    ("file", "google", "responses"), ("redis", "google", "google"),
]  # fmt: skip
"""A store, a client and the provider that it is served by: every client on either store."""


@pytest.fixture(params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    found: tuple[str, str, str] = request.param
    return found


@pytest.fixture
async def store(
    request: pytest.FixtureRequest, place: tuple[str, str, str], tmp_path: Path, open_store: Callable[..., RedisStore]
) -> AsyncIterator[SessionStore]:
    if place[0] == "redis":
        yield open_store(request.getfixturevalue("redis_server").url, timeout=20.0)
        return
    files = FileStore(str(tmp_path / "sessions"))
    yield files
    await files.close()


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def voice(request: pytest.FixtureRequest, start: Start, place: tuple[str, str, str]) -> Opened:
    """`async with voice(settings, script) as v`: a client, with a gateway and a scripted provider."""
    _, client, provider = place

    @asynccontextmanager
    async def opened(settings: str = "", script: Callable[[Seen], Any] | None = None) -> AsyncIterator[Voice]:
        async with start(config=EVERY_KIND + settings, **{provider: script}) as gw:
            yield Voice(gw, client, provider, stream=request.param)

    return opened


async def test_history_goes_in_front_and_the_reply_is_what_the_model_said(voice: Opened) -> None:
    async with voice() as client:
        for n in (1, 2, 3):
            heard = await client.ask(f"q{n}")
            assert (heard.status, heard.text) == (200, f"reply-{n}")
        assert client.told == ["u:q1", "a:reply-1", "u:q2", "a:reply-2", "u:q3"]
        assert (heard.state, heard.history) == ("resumed", "injected=4, trimmed=0, replaced=0")


async def test_without_the_header_nothing_is_kept(voice: Opened) -> None:
    async with voice("responses: {store: asked}\n") as client:
        for n in (1, 2):
            heard = await client.ask(f"q{n}", session="")
            assert (heard.text, heard.state) == (f"reply-{n}", "")
        assert client.told == ["u:q2"]
        assert (await client.gw.store.list()).heads == ()


async def test_a_new_session_has_a_name_that_goes_on(voice: Opened) -> None:
    async with voice() as client:
        name = (await client.ask("q1", session="new")).answer.headers["x-session-id"]
        assert (await client.ask("q2", session=name)).state == "resumed"
        assert client.told == ["u:q1", "a:reply-1", "u:q2"]


async def test_an_owners_users_do_not_see_each_other(voice: Opened) -> None:
    async with voice() as client:
        await client.ask("mine", x_session_user="ada")
        assert (await client.ask("yours", x_session_user="bob")).state == "new"
        assert client.told == ["u:yours"]


async def test_a_system_prompt_holds_until_another_comes(voice: Opened) -> None:
    async with voice() as client:
        await client.ask("q1", system="be brief")
        await client.ask("q2")
        assert client.told == ["s:be brief", "u:q1", "a:reply-1", "u:q2"]
        await client.ask("q3", system="be kind")
        await client.ask("q4")
        assert client.told[0] == "s:be kind"
        assert len(client.told) == 8


async def test_a_client_that_resends_its_history_gets_nothing_doubled(voice: Opened) -> None:
    async with voice() as client:
        said: list[str] = []
        for n in (1, 2, 3):
            said.append(f"q{n}")
            said.append((await client.ask(*said)).text)
        assert client.told == ["u:q1", "a:reply-1", "u:q2", "a:reply-2", "u:q3"]
        heard = await client.ask(*said[:4], "q3 edited")
        assert heard.history == "injected=0, trimmed=0, replaced=1"
        assert await client.kept() == [True] * 3
        await client.ask(*said[:4], "q3 edited", heard.text, "q4", x_session_history="resend")
        assert client.told[-3:] == ["u:q3 edited", "a:reply-4", "u:q4"]


async def test_the_only_question_asked_again_is_answered_anew(voice: Opened) -> None:
    async with voice() as client:
        await client.ask("q1")
        heard = await client.ask("q1")
        assert (heard.text, heard.history) == ("reply-2", "injected=0, trimmed=0, replaced=1")
        assert await client.kept() == [True]


async def test_a_client_may_begin_anew_or_leave_the_session_alone(voice: Opened) -> None:
    async with voice() as client:
        await client.ask("q1")
        await client.ask("q2")
        await client.ask("aside", x_session_history="off")
        assert client.told == ["u:aside"]
        assert await client.kept() == [True, True]
        await client.ask("anew", x_session_history="reset")
        assert client.told == ["u:anew"]
        assert await client.kept() == [True]


async def test_a_named_turn_is_replaced_with_what_follows_it(voice: Opened) -> None:
    async with voice() as client:
        for n in (1, 2, 3):
            await client.ask(f"q{n}")
        heard = await client.ask("q2 edited", x_session_turn="2")
        assert heard.history == "injected=2, trimmed=0, replaced=2"
        assert client.told == ["u:q1", "a:reply-1", "u:q2 edited"]
        assert await client.kept() == [True, True]


async def test_a_retry_is_answered_with_the_stored_reply(voice: Opened) -> None:
    async with voice() as client:
        await client.ask("q1")
        await client.ask("q2")
        again = await client.ask("q2", x_stainless_retry_count="1")
        assert (again.state, again.text, client.asked) == ("replayed", "reply-2", 2)


async def test_an_idempotency_key_makes_one_turn(voice: Opened) -> None:
    async with voice() as client:
        await client.ask("q1")
        first = await client.ask("q2", idempotency_key="k")
        again = await client.ask("q2", idempotency_key="k")
        assert (first.text, again.text, again.state, client.asked) == ("reply-2", "reply-2", "replayed", 2)
        assert (await client.ask("q3", idempotency_key="k")).status == 422
        assert await client.kept() == [True, True]


async def test_tools_and_an_open_call_wait_for_its_result(voice: Opened) -> None:
    def script(_: Seen) -> Say:
        return Say(calls=(("call_1", "look", '{"at": "it"}'),)) if not turns else Say("it is there")

    turns: list[str] = []
    async with voice(script=script) as client:
        await client.ask("where is it?", tool="look")
        turns.append("called")
        heard = await client.answer(await call_of(client), "on the table")
        assert heard.text == "it is there"
        assert client.told == ["u:where is it?", "c:look", "r:on the table"]
        assert b"look" in client.gw.providers[client.provider].seen[-1].raw
        assert (await client.answer("call_nobody", "nothing")).status == 400


async def test_a_call_that_nobody_answered_is_said_to_be_so(voice: Opened) -> None:
    def script(_: Seen) -> Say:
        return Say(calls=(("call_1", "look", "{}"),)) if not turns else Say("never mind")

    turns: list[str] = []
    async with voice(script=script) as client:
        await client.ask("where is it?", tool="look")
        turns.append("called")
        assert (await client.ask("forget it")).text == "never mind"
        assert client.told == ["u:where is it?", "c:look", f"r:{UNANSWERED}", "u:forget it"]


async def test_a_turn_of_a_session_that_was_deleted_meanwhile_is_not_kept(voice: Opened) -> None:
    async with voice() as client:
        await client.ask("q1")
        client.gw.providers[client.provider].meanwhile = lambda: client.gw.store.delete(client.gw.key("s"))
        heard = await client.ask("q2")
        assert heard.text == "reply-2"
        assert heard.state == ("resumed" if client.stream else "unsaved")
        assert not client.stream or client.client == "google" or "not saved" in heard.answer.text
        assert (await client.gw.store.list()).heads == ()


async def test_what_is_larger_than_a_session_is_refused_or_delivered_without_being_kept(voice: Opened) -> None:
    async with voice("sessions: {max_bytes: 2KiB}\n", lambda _: "word " * 1000) as client:
        heard = await client.ask("q1")
        assert heard.text.split() == ["word"] * 1000
        assert await client.kept() == []
        assert (await client.ask("x" * 3000)).status == 413
        assert client.asked == 1


async def test_old_turns_go_first(voice: Opened) -> None:
    async with voice("sessions: {max_turns: 2}\nhistory: {max_turns: 1}\n") as client:
        for n in (1, 2, 3):
            heard = await client.ask(f"q{n}")
        assert client.told == ["u:q2", "a:reply-2", "u:q3"]
        assert heard.history.startswith("injected=2, trimmed=1")
        assert await client.kept() == [True, True]


async def test_one_turn_at_a_time_where_it_is_wanted(voice: Opened) -> None:
    async with voice("sessions: {conflict: reject}\n") as client:
        waiting, go = asyncio.Event(), asyncio.Event()

        async def meanwhile() -> None:
            waiting.set()
            await go.wait()

        client.gw.providers[client.provider].meanwhile = meanwhile
        first = asyncio.create_task(client.ask("q1"))
        await waiting.wait()
        refused = await client.ask("q2")
        assert refused.status == 409
        assert int(refused.answer.headers["retry-after"]) >= 1
        go.set()
        assert (await first).text == "reply-1"
        assert await client.kept() == [True]


async def test_a_store_that_is_down_costs_the_memory_only(voice: Opened) -> None:
    async with voice() as client:
        await client.ask("q1")
        client.gw.break_store()
        heard = await client.ask("q2")
        assert (heard.text, heard.state) == ("reply-2", "stateless")
        assert client.told == ["u:q2"]
        client.gw.mend_store()
        assert (await client.ask("q3")).state == "resumed"
        assert client.told == ["u:q1", "a:reply-1", "u:q3"]


async def test_a_store_that_is_down_is_a_503_where_memory_is_a_must(voice: Opened) -> None:
    async with voice("sessions: {on_failure: reject}\n") as client:
        await client.ask("q1")
        client.gw.break_store()
        refused = await client.ask("q2")
        assert (refused.status, client.asked) == (503, 1)
        assert int(refused.answer.headers["retry-after"]) >= 1


async def test_a_failed_request_changes_no_session(voice: Opened) -> None:
    def script(seen: Seen) -> Say | None:
        return Say(status=400) if b"bad" in seen.raw else None

    async with voice(script=script) as client:
        assert (await client.ask("bad", session="other")).status == 400
        await client.ask("q1")
        assert (await client.ask("bad")).status == 400
        assert await client.kept() == [True]
        assert [head.key.id for head in (await client.gw.store.list()).heads] == ["s"]


@pytest.mark.parametrize("voice", [True], indirect=True, ids=["streamed"])
async def test_a_cut_reply_is_kept_and_asking_again_replaces_it(voice: Opened) -> None:
    def script(_: Seen) -> Say | None:
        return Say("one two three four five six seven eight", cut=6) if cuts.pop() else Say("whole")

    cuts = [False, True, False]
    async with voice(script=script) as client:
        await client.ask("q1")
        await client.ask("q2")
        assert await client.kept() == [True, False]
        heard = await client.ask("q2")
        assert heard.text == "whole"
        assert client.told == ["u:q1", "a:whole", "u:q2"]
        assert await client.kept() == [True, True]


async def call_of(client: Voice) -> str:
    """The id of the session's newest call, as its clients know it."""
    session = await client.gw.store.load(client.gw.key("s"), turns=1, marks=True, keep=0)
    assert session is not None
    (call,) = session.marks[max(session.marks)].calls
    return call[0]
