"""What real clients send without X-Session-ID keeps their conversation on one credential."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from msgspec import Raw

from gateway.api.opening import opening
from tests.harness import Harness
from tests.scripted import Say, Seen

CONFIG = """
auth: {keys: [{id: one, key: key-one}, {id: two, key: key-two}, {id: light, key: key-light, sessions: affinity}]}
providers:
  claude: {kind: anthropic, base_url: "http://claude", keys: [k-0, k-1, k-2, k-3]}
  other: {kind: anthropic, base_url: "http://other", keys: [k-4, k-5, k-6, k-7]}
models: {opus: {targets: [{provider: claude, model: up}, {provider: other, model: up}]}}
"""

Start = Callable[..., AbstractAsyncContextManager[Harness]]

UUID = "0b1f6c58-7a44-4a1a-9d0a-{:012d}"


def claude_code(n: int) -> tuple[dict[str, str], dict[str, Any]]:
    return {"x-claude-code-session-id": UUID.format(n)}, {}


def claude_metadata(n: int) -> tuple[dict[str, str], dict[str, Any]]:
    who = {"device_id": "d", "account_uuid": "", "session_id": UUID.format(n)}
    return {}, {"metadata": {"user_id": json.dumps(who)}}


def older_claude(n: int) -> tuple[dict[str, str], dict[str, Any]]:
    return {}, {"metadata": {"user_id": f"user_abc_account__session_{UUID.format(n)}"}}


def sub_agent(n: int) -> tuple[dict[str, str], dict[str, Any]]:
    return {"x-claude-code-session-id": UUID.format(0), "x-claude-code-agent-id": f"agent-{n}"}, {}


def codex(n: int) -> tuple[dict[str, str], dict[str, Any]]:
    id = UUID.format(n)
    return {"session-id": id, "thread-id": id}, {"prompt_cache_key": id, "client_metadata": {"session_id": id}}


def codex_body(n: int) -> tuple[dict[str, str], dict[str, Any]]:
    return {}, {"client_metadata": {"session_id": UUID.format(n), "thread_id": UUID.format(n)}}


def opencode(n: int) -> tuple[dict[str, str], dict[str, Any]]:
    return {"x-session-id": f"ses_{n}", "x-session-affinity": f"ses_{n}"}, {}


def pi(n: int) -> tuple[dict[str, str], dict[str, Any]]:
    return {"session_id": UUID.format(n)}, {"prompt_cache_key": UUID.format(n)}


def conversation(n: int) -> tuple[dict[str, str], dict[str, Any]]:
    return {}, {"conversation": {"id": f"conv_{n}"}}


CLIENTS = [claude_code, claude_metadata, older_claude, sub_agent, codex, codex_body, opencode, pi, conversation]


async def seat(gw: Harness, headers: dict[str, str], extra: dict[str, Any], key: str = "key-one") -> str:
    body = {"model": "opus", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **extra}
    answer = await gw.client.post("/v1/messages", json=body, headers={"authorization": f"Bearer {key}", **headers})
    assert answer.status_code == 200
    assert answer.headers["x-session-state"] == "affinity"
    return gw.providers[answer.headers["x-gateway-provider"]].seen[-1].headers["x-api-key"]


@pytest.mark.parametrize("client", CLIENTS)
async def test_an_agent_stays_on_one_credential_and_agents_are_spread(start: Start, client: Any) -> None:
    async with start(config=CONFIG) as gw:
        seats = [{await seat(gw, *client(n)) for _ in range(5)} for n in range(12)]
        assert all(len(one) == 1 for one in seats)
        assert len(set.union(*seats)) > 2
        assert (await gw.store.list()).heads == ()


async def test_two_owners_with_the_same_signal_have_nothing_in_common(start: Start) -> None:
    async with start(config=CONFIG) as gw:
        one = [await seat(gw, *codex(n)) for n in range(12)]
        two = [await seat(gw, *codex(n), key="key-two") for n in range(12)]
        assert one != two


async def test_a_session_goes_home_when_its_credential_is_well_again(start: Start) -> None:
    ill: set[str] = set()

    def script(seen: Seen) -> Say | None:
        limited = seen.headers["x-api-key"] in ill
        return Say(status=429, headers={"retry-after": "8"}) if limited else None

    async with start(config=CONFIG, claude=script, other=script) as gw:
        home = await seat(gw, *codex(1))
        ill.add(home)
        away = {await seat(gw, *codex(1)) for _ in range(3)}
        assert home not in away
        assert len(away) == 1
        ill.clear()
        await asyncio.sleep(8.1)
        assert {await seat(gw, *codex(1)) for _ in range(3)} == {home}


def grown(first: object, turns: int) -> list[dict[str, Any]]:
    """A conversation's messages after some turns, as an agent sends them."""
    later = [{"role": role, "content": f"{n}"} for n in range(turns) for role in ("assistant", "user")]
    return [{"role": "user", "content": first}, *later]


NAMELESS = [
    ({"user-agent": "QwenCode/0.15.10 (linux; x64)"}, "key-one"),
    ({"user-agent": "GeminiCLI-tui/0.61.0/gemini-2.5-pro (linux; x64; terminal)"}, "key-one"),
    ({"user-agent": "anything"}, "key-light"),
]


@pytest.mark.parametrize(("headers", "key"), NAMELESS)
async def test_an_agent_that_names_no_session_is_known_by_how_its_conversation_began(
    start: Start, headers: dict[str, str], key: str
) -> None:
    async with start(config=CONFIG) as gw:
        seats = []
        for n in range(12):
            marked = [{"type": "text", "text": f"task {n}", "cache_control": {"type": "ephemeral"}}]
            openings: list[object] = [marked, f"task {n}", f"task {n}"]
            conversation = [{"messages": grown(first, turns)} for turns, first in enumerate(openings)]
            seats.append({await seat(gw, headers, body, key) for body in conversation})
        assert all(len(one) == 1 for one in seats)
        assert len(set.union(*seats)) > 2
        assert (await gw.store.list()).heads == ()


async def test_gemini_cli_is_known_by_its_installation(start: Start) -> None:
    async with start(config=CONFIG) as gw:
        for n in range(4):
            headers = {"user-agent": "GeminiCLI/1", "x-gemini-api-privileged-user-id": UUID.format(n)}
            bodies = [{"messages": grown(f"said {turn}", turn)} for turn in range(4)]
            assert len({await seat(gw, headers, body) for body in bodies}) == 1


async def test_programs_that_name_no_session_go_round(start: Start) -> None:
    async with start(config=CONFIG) as gw:
        body = {"model": "opus", "max_tokens": 9, "messages": grown("the same example", 2)}
        for _ in range(24):
            await gw.post("/v1/messages", body, authorization="Bearer key-one", user_agent="Anthropic/Python 2.12.0")
        assert len({seen.headers["x-api-key"] for p in gw.providers.values() for seen in p.seen}) == 8


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"input": "text"}, {"input": [{"role": "user", "content": "text"}]}, False),
        ({"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "x"}]},
         {"messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "x"}]}, True),
        ({"contents": [{"parts": [{"text": "x"}]}, {"role": "model", "parts": [{"text": "y"}]}]},
         {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}, True),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}, {"type": "reasoning"}]},
         {"input": [{"role": "user", "content": "x"}]}, True),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]},
         {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "z"}]}, False),
    ],
)  # fmt: skip
def test_an_opening_is_what_users_said_before_the_first_reply(one: Any, other: Any, *, same: bool) -> None:
    first, second = (opening({name: Raw(json.dumps(value).encode()) for name, value in body.items()})
                     for body in (one, other))  # fmt: skip
    assert (first == second) is same
    assert second


@pytest.mark.parametrize("messages", [None, 3, [], ["x"], [{"role": "assistant", "content": "x"}], [{}], [None]])
def test_a_body_without_an_opening_has_none(messages: Any) -> None:
    assert opening({"messages": Raw(json.dumps(messages).encode())}) == ""


@pytest.mark.parametrize("raw", [b'[{"content": ' + b"[" * 5000 + b"]" * 5000 + b"}]", b'[{"content": "\xff"}]', b"["])
def test_a_body_that_cannot_be_read_has_no_opening(raw: bytes) -> None:
    assert opening({"messages": Raw(raw)}) == ""


async def test_new_is_no_name_of_a_session(start: Start) -> None:
    async with start(config=CONFIG) as gw:
        headers = {"authorization": "Bearer key-light", "x-session-id": "new"}
        for n in range(32):
            body = {"model": "opus", "max_tokens": 9, "messages": [{"role": "user", "content": f"hi {n}"}]}
            await gw.client.post("/v1/messages", json=body, headers=headers)
        assert len({seen.headers["x-api-key"] for p in gw.providers.values() for seen in p.seen}) == 8
