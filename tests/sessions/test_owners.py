"""F1: what belongs to one owner does not exist for another, whatever the other tries. F2: ids that are none."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.sessions.store import SessionKey, SessionStore
from tests.harness import CONFIG, Harness
from tests.scripted import Say, Seen

Start = Callable[..., AbstractAsyncContextManager[Harness]]

KEYS = (
    CONFIG.replace("models:\n", "  azure: {kind: openai-responses, base_url: 'http://azure/v1', keys: [k]}\nmodels:\n")
    + """
  codex: {targets: [{provider: azure, model: up}]}
auth:
  keys:
    - {id: ada, key: key-ada, owner: acme}
    - {id: jo, key: key-jo, owner: rival}
"""
)
ADA, JO = {"authorization": "Bearer key-ada"}, {"authorization": "Bearer key-jo"}
SECRET = "swordfish"
CHAT = {"model": "gpt", "messages": [{"role": "user", "content": f"my word is {SECRET}"}]}
ASK = {"model": "gpt", "messages": [{"role": "user", "content": "what is my word"}]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "what is my word"}]}]}
SAME = {"x-session-id": "s"}


@dataclass
class Victim:
    """What Ada has, and a gateway to attack it through."""

    gw: Harness
    response: str = ""
    conversation: str = ""
    item: str = ""
    cursor: str = ""

    async def ask(self, who: dict[str, str], method: str, path: str, body: Any = None, **more: str) -> httpx.Response:
        headers = {**who, **{name.replace("_", "-"): value for name, value in more.items()}}
        return await self.gw.client.request(method, path, json=body, headers=headers)

    async def jo(self, method: str, path: str, body: Any = None, **more: str) -> httpx.Response:
        return await self.ask(JO, method, path, body, **more)

    async def kept(self) -> Any:
        """All that Ada sees of hers."""
        seen = [(await self.ask(ADA, "GET", path)).json() for path in self._pages()]
        return [
            [self._plain(part) for part in page.get("data", page.get("messages", page.get("sessions", [])))]
            for page in seen
        ]

    def _pages(self) -> tuple[str, ...]:
        talk = f"/v1/conversations/{self.conversation}/items"
        return "/v1/sessions/s", "/v1/sessions?limit=50", talk, f"/v1/responses/{self.response}/input_items"

    @staticmethod
    def _plain(part: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in part.items() if name not in ("expires_at", "updated_at")}


@pytest.fixture
def store(every_store: SessionStore) -> SessionStore:
    """No store makes a difference here."""
    return every_store


def answer(seen: Seen) -> Say:
    return Say("noted", thinking="")


@asynccontextmanager
async def attacked(start: Start) -> AsyncIterator[Victim]:
    async with start(config=KEYS, chat=answer, claude=answer, azure=answer) as gw:
        made = Victim(gw)
        first = await made.ask(ADA, "POST", "/v1/chat/completions", CHAT, **SAME, idempotency_key="k")
        assert first.status_code == 200
        await made.ask(ADA, "POST", "/v1/chat/completions", CHAT, x_session_id="s", x_session_user="bob")
        asked = {"model": "codex", "input": f"my word is {SECRET}"}
        made.response = (await made.ask(ADA, "POST", "/v1/responses", asked)).json()["id"]
        made.conversation = (await made.ask(ADA, "POST", "/v1/conversations", {})).json()["id"]
        assert (await made.ask(ADA, "POST", "/v1/responses", {**asked, "conversation": made.conversation})).is_success
        talk = await made.ask(ADA, "GET", f"/v1/conversations/{made.conversation}/items")
        made.item = talk.json()["data"][0]["id"]
        made.cursor = (await made.ask(ADA, "GET", "/v1/sessions?limit=1")).json()["next"] or ""
        for provider in gw.providers.values():
            provider.seen.clear()
        yield made


Attack = Callable[[Victim], Awaitable[httpx.Response]]
ASKED: dict[str, Attack] = {
    "the same id over Chat": lambda v: v.jo("POST", "/v1/chat/completions", ASK, **SAME),
    "the same id, streamed": lambda v: v.jo("POST", "/v1/chat/completions", {**ASK, "stream": True}, **SAME),
    "over Messages": lambda v: v.jo("POST", "/v1/messages", {**ASK, "max_tokens": 9}, **SAME),
    "over Responses": lambda v: v.jo("POST", "/v1/responses", {"model": "codex", "input": "my word?"}, **SAME),
    "over Gemini": lambda v: v.jo("POST", "/v1beta/models/gpt:generateContent", CONTENTS, **SAME),
    "a count of tokens": lambda v: v.jo("POST", "/v1/messages/count_tokens", {**ASK, "max_tokens": 9}, **SAME),
    "as delta": lambda v: v.jo("POST", "/v1/chat/completions", ASK, **SAME, x_session_history="delta"),
    "as resend, with a reply that is held": lambda v: v.jo(
        "POST",
        "/v1/chat/completions",
        {"model": "gpt", "messages": [{"role": "assistant", "content": "noted"}, *ASK["messages"]]},
        **SAME,
    ),
    "as reset": lambda v: v.jo("POST", "/v1/chat/completions", ASK, **SAME, x_session_history="reset"),
    "as its first turn": lambda v: v.jo("POST", "/v1/chat/completions", ASK, **SAME, x_session_turn="1"),
    "as its retry": lambda v: v.jo("POST", "/v1/chat/completions", ASK, **SAME, x_stainless_retry_count="1"),
    "as the owner's end user": lambda v: v.jo("POST", "/v1/chat/completions", ASK, **SAME, x_session_user="bob"),
    "as an end user like the owner": lambda v: v.jo("POST", "/v1/chat/completions", ASK, **SAME, x_session_user="acme"),
    "with the owner in a header": lambda v: v.jo("POST", "/v1/chat/completions", ASK, **SAME, x_owner="acme"),
    "with its Idempotency-Key": lambda v: v.jo("POST", "/v1/chat/completions", ASK, **SAME, idempotency_key="k"),
    "its conversation as a session": lambda v: v.jo("POST", "/v1/chat/completions", ASK, x_session_id=v.conversation),
    "its response as a session": lambda v: v.jo("POST", "/v1/chat/completions", ASK, x_session_id=v.response[:128]),
}  # fmt: skip
REFUSED: dict[str, Attack] = {
    "go on from its response": lambda v: v.jo(
        "POST", "/v1/responses", {"model": "codex", "input": "my word?", "previous_response_id": v.response}
    ),
    "go on in its conversation": lambda v: v.jo(
        "POST", "/v1/responses", {"model": "codex", "input": "my word?", "conversation": v.conversation}
    ),
    "name its session as a conversation": lambda v: v.jo(
        "POST", "/v1/responses", {"model": "codex", "input": "my word?", "conversation": "s"}
    ),
    "read its response": lambda v: v.jo("GET", f"/v1/responses/{v.response}"),
    "stream its response": lambda v: v.jo("GET", f"/v1/responses/{v.response}?stream=true"),
    "read its input": lambda v: v.jo("GET", f"/v1/responses/{v.response}/input_items"),
    "delete its response": lambda v: v.jo("DELETE", f"/v1/responses/{v.response}"),
    "read its conversation": lambda v: v.jo("GET", f"/v1/conversations/{v.conversation}"),
    "read its items": lambda v: v.jo("GET", f"/v1/conversations/{v.conversation}/items"),
    "read one item": lambda v: v.jo("GET", f"/v1/conversations/{v.conversation}/items/{v.item}"),
    "write into its conversation": lambda v: v.jo(
        "POST", f"/v1/conversations/{v.conversation}/items", {"items": [{"role": "user", "content": "x"}]}
    ),
    "rename its conversation": lambda v: v.jo("POST", f"/v1/conversations/{v.conversation}", {"metadata": {"a": "b"}}),
    "delete one item": lambda v: v.jo("DELETE", f"/v1/conversations/{v.conversation}/items/{v.item}"),
    "read its session": lambda v: v.jo("GET", "/v1/sessions/s"),
    "read its session as its end user": lambda v: v.jo("GET", "/v1/sessions/s", x_session_user="bob"),
    "read its conversation as a session": lambda v: v.jo("GET", f"/v1/sessions/{v.conversation}"),
}  # fmt: skip
UNHARMED: dict[str, Attack] = {
    "delete its session": lambda v: v.jo("DELETE", "/v1/sessions/s"),
    "delete its session as its end user": lambda v: v.jo("DELETE", "/v1/sessions/s", x_session_user="bob"),
    "delete its conversation": lambda v: v.jo("DELETE", f"/v1/conversations/{v.conversation}"),
    "list sessions": lambda v: v.jo("GET", "/v1/sessions"),
    "list sessions by the owner's cursor": lambda v: v.jo("GET", f"/v1/sessions?cursor={v.cursor}"),
    "list sessions of another owner": lambda v: v.jo("GET", "/v1/sessions?owner=acme"),
    "list sessions of an end user": lambda v: v.jo("GET", "/v1/sessions", x_session_user="bob"),
}  # fmt: skip


def told(victim: Victim) -> bytes:
    """All that reached a provider."""
    return b"".join(seen.raw for provider in victim.gw.providers.values() for seen in provider.seen)


async def test_who_asks_by_another_owners_id_has_a_session_of_their_own(start: Start) -> None:
    async with attacked(start) as victim:
        before = await victim.kept()
        for name, attack in ASKED.items():
            got = await attack(victim)
            assert got.status_code in (200, 400), (name, got.text)
            assert got.headers.get("x-session-state", "new") == "new", name
            assert SECRET not in got.text, name
            assert SECRET.encode() not in told(victim), name
            assert await victim.kept() == before, name
            for user in ({}, {"x_session_user": "bob"}, {"x_session_user": "acme"}):
                for id in ("s", victim.conversation, victim.response[:128]):
                    await victim.jo("DELETE", f"/v1/sessions/{id}", **user)


async def test_what_belongs_to_another_owner_is_not_found(start: Start) -> None:
    async with attacked(start) as victim:
        before = await victim.kept()
        for name, attack in REFUSED.items():
            got = await attack(victim)
            assert got.status_code in (400, 404), (name, got.text)
            assert SECRET not in got.text, name
            assert not told(victim), name
            assert await victim.kept() == before, name


async def test_lists_and_deletes_are_of_ones_own(start: Start) -> None:
    async with attacked(start) as victim:
        before = await victim.kept()
        for name, attack in UNHARMED.items():
            got = await attack(victim)
            assert got.status_code in (200, 400, 404), (name, got.text)
            assert SECRET not in got.text, name
            assert not got.json().get("sessions"), name
            assert await victim.kept() == before, name


def test_no_two_owners_users_and_ids_share_a_place() -> None:
    parts = ("a", "b", "ab", "a_b", "-", "A")
    keys = [SessionKey(owner, user, id) for owner in parts for user in ("", *parts) for id in parts]
    assert len({key.tag for key in keys}) == len(keys)


# ---------------------------------------------------------------- F2

IDS = (
    "", " ", "a b", "a/b", "/", "..", "../x", "a/../b", "a\\b", "a.b", ".", "a\x00b", "\x00", "{a}", "{", "}", "a\r\nb",
    "a\nb", "a\r\nX-Session-User: bob", "a\tb", "a" * 129, "a" * 5000, "a%2fb", "%00", "a:b", "a*b", "a?b", "a[b]",
    "a'b", 'a"b', "a;b", "a|b", "$(a)", "~a", "+a", "a=", "a,b", "\u0430", "\uff41", "a\u200db", "\u00e9", "\u202ea",
    "\uff11", "a\u0301", "\ufb01", "\U0001f642",
)  # fmt: skip
PLACES = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1beta/models/gpt:generateContent")


@pytest.mark.parametrize("path", PLACES)
async def test_an_id_that_is_none_is_refused_before_any_store(start: Start, path: str) -> None:
    bodies = dict(zip(PLACES, (ASK, {**ASK, "max_tokens": 9}, {"model": "gpt", "input": "x"}, CONTENTS), strict=True))
    async with start() as gw:
        gw.break_store()  # a request that came so far would be served stateless
        for id in IDS:
            got = await gw.client.post(path, json=bodies[path], headers={"x-session-id": id.encode()})
            assert got.status_code == 400, id
            assert "error" in got.json()
            assert "x-session-id" not in got.headers
        assert not gw.providers["chat"].seen


async def test_an_id_that_is_none_is_refused_where_it_is_a_member_or_a_path(start: Start) -> None:
    async with start() as gw:
        gw.break_store()  # a request that came so far would be a 503
        for id in IDS:
            if id:  # an empty one is none
                got = await gw.post("/v1/responses", {"model": "gpt", "input": "x", "conversation": id})
                assert got.status_code in (400, 404), id
            for path in ("/v1/sessions/{}", "/v1/conversations/{}", "/v1/responses/{}"):
                quoted = "".join(f"%{byte:02x}" for byte in id.encode())
                got = await gw.client.get(path.format(quoted))
                other = "/" in id or not id.strip()  # another path then, with a good id or none in it
                assert got.status_code in ((200, 400, 404, 405, 503) if other else (400, 404)), id
