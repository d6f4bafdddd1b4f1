"""Feature B3: clients list, read and delete their own sessions, and nobody else's."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from tests.harness import CONFIG, Harness

Start = Callable[..., AbstractAsyncContextManager[Harness]]

KEYS = (
    CONFIG
    + """
auth:
  keys:
    - {id: ada, key: key-ada, owner: acme}
    - {id: jo, key: key-jo, owner: zeta}
    - {id: agent, key: key-agent, owner: acme, sessions: affinity}
    - {id: plain, key: key-plain, owner: acme, sessions: "off"}
"""
)
ADA, JO = {"authorization": "Bearer key-ada"}, {"x-api-key": "key-jo"}


async def ask(gw: Harness, method: str, path: str = "", headers: Any = ADA, **more: Any) -> httpx.Response:
    return await gw.client.request(method, f"/v1/sessions{path}", headers=headers, **more)


async def talk(gw: Harness, id: str, *texts: str, key: str = "key-ada", user: str = "") -> None:
    for text in texts:
        more = {"x_session_user": user} if user else {}
        assert (await gw.chat(text, id, authorization=f"Bearer {key}", **more)).status_code == 200


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200
    return [session["id"] for session in answer.json()["sessions"]]


async def test_a_client_lists_its_sessions_newest_first(start: Start) -> None:
    async with start(config=KEYS) as gw:
        for id in ("a", "b", "c"):
            await talk(gw, id, "hello")
        answer = await ask(gw, "GET")
        assert sorted(ids(answer)) == ["a", "b", "c"]
        assert answer.json()["next"] is None
        assert answer.headers["cache-control"] == "no-store"
        one = answer.json()["sessions"][0]
        assert (one["owner"], one["user"], one["metadata"]["total_turns"]) == ("acme", "", 1)
        assert "messages" not in one


async def test_a_list_goes_on_by_its_cursor(start: Start) -> None:
    async with start(config=KEYS) as gw:
        for n in range(7):
            await talk(gw, f"s{n}", "hello")
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await ask(gw, "GET", params={"limit": 3, **({"cursor": cursor} if cursor else {})})
            assert page.json()["count"] <= 3
            found += ids(page)
            cursor = page.json()["next"]
        assert sorted(found) == [f"s{n}" for n in range(7)]


async def test_a_client_reads_a_transcript_page_by_page(start: Start) -> None:
    async with start(config=KEYS) as gw:
        await talk(gw, "s", "one", "two", "three")
        whole = (await ask(gw, "GET", "/s")).json()
        assert [(line["role"], line["content"], line["turn"]) for line in whole["messages"]] == [
            ("user", "one", 1), ("assistant", "reply-1", 1),
            ("user", "two", 2), ("assistant", "reply-2", 2),
            ("user", "three", 3), ("assistant", "reply-3", 3),
        ]  # fmt: skip
        assert whole["next"] is None
        part = (await ask(gw, "GET", "/s", params={"turn": 2, "limit": 1})).json()
        assert ([line["content"] for line in part["messages"]], part["next"]) == (["two", "reply-2"], 3)


async def test_a_client_deletes_a_session(start: Start) -> None:
    async with start(config=KEYS) as gw:
        await talk(gw, "s", "one")
        for _ in range(2):
            answer = await ask(gw, "DELETE", "/s")
            assert (answer.status_code, answer.json()) == (200, {"id": "s", "status": "deleted"})
        assert (await ask(gw, "GET", "/s")).status_code == 404
        again = await gw.chat("anew", "s", authorization="Bearer key-ada")
        assert again.headers["x-session-state"] == "new"


async def test_nobody_sees_or_deletes_the_sessions_of_another_owner(start: Start) -> None:
    async with start(config=KEYS) as gw:
        await talk(gw, "s", "mine")
        await talk(gw, "s", "yours", key="key-jo")
        await talk(gw, "t", "mine")
        assert ids(await ask(gw, "GET", headers=JO)) == ["s"]
        assert (await ask(gw, "GET", "/s", headers=JO)).json()["messages"][0]["content"] == "yours"
        assert (await ask(gw, "GET", "/t", headers=JO)).status_code == 404
        await ask(gw, "DELETE", "/t", headers=JO)
        await ask(gw, "DELETE", "/s", headers=JO)
        assert sorted(ids(await ask(gw, "GET"))) == ["s", "t"]
        for query in ("?owner=acme", "?user=&owner=acme", "?limit=5&owner=acme"):
            assert ids(await gw.client.get(f"/v1/sessions{query}", headers=JO)) == []


async def test_an_end_user_sees_his_own_only(start: Start) -> None:
    async with start(config=KEYS) as gw:
        await talk(gw, "s", "nobody's")
        await talk(gw, "s", "bob's", user="bob")
        await talk(gw, "t", "eve's", user="eve")
        bob = {**ADA, "x-session-user": "bob"}
        assert ids(await ask(gw, "GET", headers=bob)) == ["s"]
        assert (await ask(gw, "GET", "/s", headers=bob)).json()["messages"][0]["content"] == "bob's"
        assert (await ask(gw, "GET", "/t", headers=bob)).status_code == 404
        assert ids(await ask(gw, "GET")) == ["s"]
        assert (await ask(gw, "GET", "/s")).json()["messages"][0]["content"] == "nobody's"
        await ask(gw, "DELETE", "/s", headers=bob)
        assert ids(await ask(gw, "GET")) == ["s"]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"x-api-key": "key-ad"}])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/s"), ("DELETE", "/s")])
async def test_without_a_known_key_nothing_is_told(start: Start, method: str, path: str, headers: Any) -> None:
    async with start(config=KEYS) as gw:
        await talk(gw, "s", "one")
        answer = await ask(gw, method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert ids(await ask(gw, "GET")) == ["s"]


@pytest.mark.parametrize("key", ["key-agent", "key-plain"])
async def test_a_key_without_sessions_reads_none(start: Start, key: str) -> None:
    async with start(config=KEYS) as gw:
        await talk(gw, "s", "one")
        for method, path in (("GET", ""), ("GET", "/s"), ("DELETE", "/s")):
            answer = await ask(gw, method, path, headers={"x-goog-api-key": key})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "sessions_off")
        assert ids(await ask(gw, "GET")) == ["s"]


@pytest.mark.parametrize("bad", ["a.b", "..%2Fx", "%7Bx%7D", "a%0d%0ab", "%00", "x" * 129, "%C3%A9"])
async def test_an_id_that_is_none_is_refused(start: Start, bad: str) -> None:
    async with start(config=KEYS) as gw:
        for method in ("GET", "DELETE"):
            assert (await ask(gw, method, f"/{bad}")).status_code in (400, 404)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=x", "cursor=1.2.3"])
async def test_a_bad_parameter_is_a_400(start: Start, query: str) -> None:
    async with start(config=KEYS) as gw:
        answer = await ask(gw, "GET", f"?{query}")
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


async def test_a_web_page_reaches_no_sessions_of_a_gateway_without_keys(start: Start) -> None:
    async with start() as gw:
        await gw.chat("one", "s")
        assert ids(await gw.client.get("/v1/sessions")) == ["s"]
        for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
            assert (await ask(gw, "GET", headers=headers)).status_code == 403


async def test_a_store_that_is_down_is_a_503(start: Start) -> None:
    async with start(config=KEYS) as gw:
        gw.break_store()
        for method, path in (("GET", ""), ("GET", "/s"), ("DELETE", "/s")):
            answer = await ask(gw, method, path)
            assert answer.status_code == 503
            assert "retry-after" in answer.headers
