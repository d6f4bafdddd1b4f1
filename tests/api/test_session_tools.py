"""Sessions made, changed, forked, moved and deleted by an operator, over HTTP, in either store."""

import json

import pytest

from tests.api.conftest import Opened, Operator

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "My name is Ada."},
    {"role": "assistant", "content": "Hello Ada."},
    {"role": "user", "content": "What is 2+2?"},
    {"role": "assistant", "content": "4"},
]


async def test_a_session_is_made_with_messages_and_remembered(gateway: Operator):
    made = await gateway.ask(
        "POST", "/sessions", 201,
        json={"owner": "open", "id": "made", "messages": TALK, "user_context": {"vip": True}, "pin": "claude"},
    )  # fmt: skip
    assert (made["id"], made["metadata"]["total_turns"], made["metadata"]["preferred_provider"]) == (
        "made",
        2,
        "claude",
    )
    assert made["metadata"]["user_context"] == {"vip": True}
    reply = await gateway.chat("made", "And who am I?")
    assert reply.headers["x-session-state"] == "resumed"
    assert reply.headers["x-session-history"] == "injected=4, trimmed=0, replaced=0"
    read = await gateway.ask("GET", "/sessions/made")
    assert read["system"] == "Be brief."
    assert [line["content"] for line in read["messages"][:5]] == [
        "My name is Ada.", "Hello Ada.", "What is 2+2?", "4", "And who am I?",
    ]  # fmt: skip
    await gateway.ask("POST", "/sessions", 409, json={"owner": "open", "id": "made"})


@pytest.mark.parametrize(
    ("dialect", "messages"),
    [
        ("anthropic", [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
        ("gemini", [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]),
        ("openai_responses", [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
    ],
)  # fmt: skip
async def test_messages_may_be_of_any_dialect(gateway: Operator, dialect: str, messages: list[object]):
    body = {"owner": "open", "id": "made", "dialect": dialect, "messages": messages}
    await gateway.ask("POST", "/sessions", 201, json=body)
    read = await gateway.ask("GET", "/sessions/made")
    assert [(line["role"], line["content"]) for line in read["messages"]] == [("user", "a"), ("assistant", "b")]


async def test_an_empty_session_gets_an_id_and_its_first_turn(gateway: Operator):
    made = await gateway.ask("POST", "/sessions", 201, json={"owner": "open"})
    reply = await gateway.chat(made["id"], "hello")
    assert reply.headers["x-session-state"] == "resumed"
    assert (await gateway.ask("GET", f"/sessions/{made['id']}"))["metadata"]["total_turns"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"owner": ""},
        {"owner": "a", "id": "not an id"},
        {"owner": "a", "unknown": 1},
        {"owner": "a", "ttl": 0},
        {"owner": "a", "pin": "nobody"},
        {"owner": "a", "dialect": "latin"},
        {"owner": "a", "messages": [{"role": "user", "content": "and then?"}]},
        {"owner": "a", "messages": [{"role": "assistant", "content": "first"}]},
        {"owner": "a", "messages": [{"role": "nobody", "content": 3}]},
    ],
)
async def test_what_makes_no_session_says_why(gateway: Operator, body: dict[str, object]):
    error = (await gateway.ask("POST", "/sessions", 400, json=body))["error"]
    assert error["message"]
    assert (await gateway.ask("GET", "/sessions"))["count"] == 0


async def test_a_session_is_pinned_prolonged_and_given_a_context(gateway: Operator):
    await gateway.chat("s", "hello")
    before = await gateway.ask("GET", "/sessions/s")
    after = await gateway.ask("PATCH", "/sessions/s", json={"ttl": 864000, "pin": "claude", "user_context": {"a": [1]}})
    assert after["expires_at"] > before["expires_at"]
    assert (after["metadata"]["preferred_provider"], after["metadata"]["user_context"]) == ("claude", {"a": [1]})
    after = await gateway.ask("PATCH", "/sessions/s", json={"pin": None})
    assert (after["metadata"]["preferred_provider"], after["metadata"]["user_context"]) == (None, {"a": [1]})
    await gateway.ask("PATCH", "/sessions/none", 404, json={})
    await gateway.ask("PATCH", "/sessions/s", 400, json={"ttl": -1})
    await gateway.ask("PATCH", "/sessions/s", 400, json={"pin": "nobody"})


async def test_a_fork_goes_its_own_way(gateway: Operator):
    for text in ("one", "two", "three"):
        await gateway.chat("trunk", text)
    fork = await gateway.ask("POST", "/sessions/trunk/fork", 201, json={"at": 2, "id": "branch"})
    assert fork["metadata"]["total_turns"] == 2
    await gateway.chat("branch", "other three")
    branch, trunk = [await gateway.ask("GET", f"/sessions/{id}") for id in ("branch", "trunk")]
    asked = [[line["content"] for line in read["messages"] if line["role"] == "user"] for read in (branch, trunk)]
    assert asked == [["one", "two", "other three"], ["one", "two", "three"]]
    await gateway.ask("POST", "/sessions/trunk/fork", 400, json={"at": 9})
    await gateway.ask("POST", "/sessions/trunk/fork", 409, json={"id": "branch"})
    await gateway.ask("POST", "/sessions/none/fork", 404, json={})


async def test_the_last_turns_are_taken_back(gateway: Operator):
    for text in ("one", "two", "three"):
        await gateway.chat("s", text)
    await gateway.ask("DELETE", "/sessions/s/turns", params={"last": 2})
    reply = await gateway.chat("s", "again two")
    assert reply.headers["x-session-history"].startswith("injected=2,")
    await gateway.ask("DELETE", "/sessions/s/turns", 400)
    await gateway.ask("DELETE", "/sessions/none/turns", 404, params={"last": 1})


async def test_what_was_exported_is_imported_the_same(gateway: Operator):
    await gateway.ask("POST", "/sessions", 201, json={"owner": "open", "id": "a", "messages": TALK})
    await gateway.chat("a", "three\n  lines \u2028 \U0001f600")
    await gateway.chat("b", "hello")
    await gateway.ask("PATCH", "/sessions/b", json={"user_context": {"z": 1, "a": {"b": None}}, "ttl": 99999})
    lines = (await gateway.ask("GET", "/sessions/export")).content
    assert len(lines.splitlines()) == 2
    refused = await gateway.ask("POST", "/sessions/import", 409, content=lines)
    assert "open/a" in refused["error"]["message"]
    for id in ("a", "b"):
        await gateway.ask("DELETE", f"/sessions/{id}")
    assert await gateway.ask("POST", "/sessions/import", content=lines) == {"imported": 2, "skipped": 0, "replaced": 0}
    again = (await gateway.ask("GET", "/sessions/export")).content
    assert sorted(again.splitlines()) == sorted(lines.splitlines())
    for existing, told in (("skip", "skipped"), ("replace", "replaced")):
        done = await gateway.ask("POST", "/sessions/import", content=lines, params={"existing": existing})
        assert done[told] == 2
    again = (await gateway.ask("GET", "/sessions/export")).content
    assert sorted(again.splitlines()) == sorted(lines.splitlines())
    reply = await gateway.chat("a", "and now?")
    assert reply.headers["x-session-history"].startswith("injected=6,")


async def test_an_export_can_be_filtered(gateway: Operator):
    await gateway.chat("a", "hello")
    await gateway.chat("b", "hello", model="opus")
    for query, ids in (({"id": "a"}, ["a"]), ({"provider": "claude"}, ["b"]), ({"owner": "nobody"}, [])):
        reply = await gateway.ask("GET", "/sessions/export", params=query)
        assert [json.loads(line)["id"] for line in reply.content.splitlines()] == ids


def broken(line: dict[str, object], **changes: object) -> bytes:
    return json.dumps({**line, **changes}).encode()


async def test_a_wrong_line_is_named_and_nothing_is_written(gateway: Operator):
    await gateway.chat("a", "hello")
    good = (await gateway.ask("GET", "/sessions/export")).content
    await gateway.ask("DELETE", "/sessions/a")
    line = json.loads(good)
    turn = line["turns"][0]
    wrong = [
        b"not json", b"[]", broken(line, id="a b"), broken(line, owner=""), broken(line, format=99),
        broken(line, new=1), broken(line, updated=-5), broken(line, user_context=[]),
        broken(line, turns=[{**turn, "number": 7}]),
        broken(line, turns=[{**turn, "reply": {**turn["reply"], "dialect": "latin"}}]),
        broken(line, turns=[{**turn, "reply": {**turn["reply"], "messages": ["{"]}}]),
        broken(line, turns=[{**turn, "mark": {**turn["mark"], "reply": "xyz"}}]),
        good,
    ]  # fmt: skip
    for bad in wrong:
        error = (await gateway.ask("POST", "/sessions/import", 400, content=good + b"\n" + bad))["error"]
        assert error["message"].startswith("Line 3:"), error
        assert error["code"] == "invalid_line"
    assert (await gateway.ask("GET", "/sessions"))["count"] == 0


async def test_sessions_are_deleted_by_filter_after_a_dry_run(gateway: Operator):
    for number in range(5):
        await gateway.chat(f"gpt-{number}", "hello")
    await gateway.chat("opus", "hello", model="opus")
    assert (await gateway.ask("DELETE", "/sessions", 400))["error"]["code"] == "no_filter"
    would = await gateway.ask("DELETE", "/sessions", params={"provider": "chat", "dry_run": True})
    assert (would["matched"], would["deleted"], would["examined"] >= 6, would["next"]) == (5, 0, True, None)
    done = await gateway.ask("DELETE", "/sessions", params={"provider": "chat"})
    assert (done["matched"], done["deleted"]) == (5, 5)
    assert [session["id"] for session in (await gateway.ask("GET", "/sessions"))["sessions"]] == ["opus"]
    assert (await gateway.ask("DELETE", "/sessions", params={"all": True}))["deleted"] == 1


@pytest.mark.parametrize("id", ["cleanup", "export", "import"])
async def test_ids_that_are_words_of_the_api_are_ids_too(gateway: Operator, id: str):
    await gateway.chat(id, "hello")
    assert (await gateway.ask("PATCH", f"/sessions/{id}", json={"user_context": {"x": 1}}))["id"] == id
    if id != "export":
        assert (await gateway.ask("GET", f"/sessions/{id}"))["id"] == id
    await gateway.ask("DELETE", f"/sessions/{id}")
    assert (await gateway.ask("GET", "/sessions"))["count"] == 0


async def test_a_second_worker_sees_what_the_first_has_done(opened: Opened):
    async with opened() as one, opened() as two:
        await one.ask("POST", "/sessions", 201, json={"owner": "open", "id": "s", "messages": TALK})
        assert (await two.chat("s", "more")).headers["x-session-state"] == "resumed"
