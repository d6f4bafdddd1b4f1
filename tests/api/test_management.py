"""The management API, over a store in memory."""

import json
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from prometheus_client import CollectorRegistry

from gateway.api.desk import Desk
from gateway.api.guard import digest_of
from gateway.api.management import management_router
from gateway.config import Config, Management
from gateway.conversation import Image, Message, Origin, Said, Signature, Text, ToolCall, Usage
from gateway.errors import GatewayError, Kind, StoreUnavailable
from gateway.fleet import limits
from gateway.fleet.fleet import Fleet
from gateway.ledger.book import Book
from gateway.routing.table import Table
from gateway.sessions.store import Append, Limits, Mark, Pin, SessionKey, SessionStore, Turn
from tests.fakes import MemoryStore

KEY = "the-key-of-the-operator"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z
ADA = SessionKey("team-a", "", "chat-1")
MAIN = Origin("main", "gpt-5")
LIMITS = Limits(ttl=3600, max_age=86400, max_turns=1000, max_bytes=1 << 20)

Client = AsyncTestClient[Litestar]


class Plain:
    """A dialect of `{"role", "text"}`, with tool calls, images and a signature where the text asks for them."""

    def decode_messages(self, messages: Sequence[bytes], origin: Origin | None = None) -> tuple[Message, ...]:
        return tuple(self._decode(json.loads(raw), origin) for raw in messages)

    def _decode(self, message: dict[str, Any], origin: Origin | None) -> Message:
        match message["text"]:
            case "a call":
                signature = Signature("opaque", "plain", origin)
                part: Any = ToolCall("c1", "get_weather", '{"city":"Paris"}', signature=signature)
            case "an image":
                part = Image(media_type="image/png", data="AA==")
            case "broken":
                raise GatewayError(Kind.INVALID, "This is not the dialect.")
            case text:
                part = Text(text)
        return Message(message["role"], (part,))

    def decode_system(self, system: Sequence[bytes]) -> tuple[Text, ...]:
        return tuple(Text(json.loads(raw)) for raw in system)


DIALECTS: Any = {"plain": Plain()}


def said(role: str, *texts: str, origin: Origin | None = None, dialect: str = "plain") -> Said:
    return Said(dialect, tuple(json.dumps({"role": role, "text": text}).encode() for text in texts), origin)


def appended(question: str, reply: str, origin: Origin = MAIN, /, **fields: Any) -> Append:
    turn = Turn(
        question=fields.pop("question", said("user", question)),
        reply=fields.pop("reply", said("assistant", reply, origin=origin)),
        usage=fields.pop("usage", Usage(10, 5, 2, 0, 1)),
        elapsed=fields.pop("elapsed", 1500),
        incomplete=fields.pop("incomplete", False),
    )
    mark = Mark(question.encode(), reply.encode())
    return Append(token=f"{question}-{reply}", turn=turn, mark=mark, limits=LIMITS, messages=2, **fields)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


def desk_of(management: Management) -> Desk:
    config = Config(management=management)
    fleet = Fleet(None, time.monotonic)
    return Desk(
        config=lambda: config,
        table=lambda: Table(config),
        fleet=fleet,
        book=Book(None, fleet.disable),
        spent=limits.Limits(None, time.monotonic).spent,
        registry=CollectorRegistry,
        clock=time.monotonic,
        wall=time.time,
    )


@asynccontextmanager
async def client_of(store: SessionStore | None, management: Management) -> AsyncIterator[Client]:
    router = management_router(store, desk_of(management), digest_of(management), DIALECTS)
    app = Litestar([router], openapi_config=None, logging_config=None)
    async with AsyncTestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
async def client(store: MemoryStore) -> AsyncIterator[Client]:
    async with client_of(store, Management(key=KEY)) as opened:
        opened.headers.update(AUTHORIZED)
        yield opened


@pytest.fixture
def log() -> Iterator[list[logging.LogRecord]]:
    """What is logged. The test runner's own capture depends on levels that other tests may set."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("gateway")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


async def get(client: Client, path: str, status: int = 200, **query: Any) -> Any:
    reply = await client.get(f"/v0/management{path}", params=query)
    assert reply.status_code == status, reply.text
    return reply.json()


# ---------------------------------------------------------------- the key


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY} "},
        {"X-Management-Key": KEY},
        {"Authorization": "Bearer of-a-proxy", "X-Management-Key": KEY},
    ],
)
@pytest.mark.parametrize("management", [Management(key=KEY), Management(sha256=sha256(KEY.encode()).hexdigest())])
async def test_the_key_opens(store: MemoryStore, headers: dict[str, str], management: Management):
    async with client_of(store, management) as client:
        assert (await client.get("/v0/management/sessions", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"X-Management-Key": sha256(KEY.encode()).hexdigest()},
        {"X-Management-Key": ""},
        {"X-Management-Key": "\xff"},
        {"Authorization": f"Bearer {KEY}x"},
    ],
)
async def test_anything_else_does_not(store: MemoryStore, log: list[logging.LogRecord], headers: dict[str, str]):
    await store.append(ADA, appended("q", "a"))
    async with client_of(store, Management(key=KEY)) as client:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        for method, path in (("GET", "/sessions"), ("GET", "/sessions/chat-1"), ("DELETE", "/sessions/chat-1")):
            reply = await client.request(method, f"/v0/management{path}", headers=raw)
            assert reply.status_code == 401
            assert reply.json()["error"]["code"] == "unauthenticated"
            assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert await store.head(ADA) is not None
    assert {record.getMessage() for record in log} == {"management refused"}
    assert KEY not in str([vars(record) for record in log])


async def test_a_missing_and_a_wrong_key_look_alike(store: MemoryStore):
    async with client_of(store, Management(key=KEY)) as client:
        missing = await client.get("/v0/management/sessions")
        wrong = await client.get("/v0/management/sessions", headers={"X-Management-Key": "wrong"})
    assert missing.content == wrong.content


@pytest.mark.parametrize("path", ["/sessions", "/sessions/chat-1", "/docs", "/openapi.json"])
async def test_without_a_configured_key_there_is_nothing(store: MemoryStore, path: str):
    async with client_of(store, Management()) as client:
        for headers in ({}, {"Authorization": "Bearer "}, {"X-Management-Key": ""}):
            assert (await client.get(f"/v0/management{path}", headers=headers)).status_code == 404


# ---------------------------------------------------------------- listing


async def test_sessions_are_listed_newest_first_without_messages(client: Client, store: MemoryStore, clock: Clock):
    for id in ("one", "two", "three"):
        await store.append(SessionKey("team-a", "", id), appended("hello", "hi"))
        clock.now += 1000
    page = await get(client, "/sessions")
    assert [session["id"] for session in page["sessions"]] == ["three", "two", "one"]
    assert (page["count"], page["next"]) == (3, None)
    assert "messages" not in page["sessions"][0]
    assert "hello" not in json.dumps(page)


async def test_an_empty_store_lists_nothing(client: Client):
    assert await get(client, "/sessions") == {"sessions": [], "count": 0, "next": None}


async def test_a_session_reads_as_documented(client: Client, store: MemoryStore):
    await store.append(SessionKey("team-a", "ada", "chat-1"), appended("hello", "hi", pin=Pin("main", "main-1")))
    (session,) = (await get(client, "/sessions"))["sessions"]
    assert session == {
        "id": "chat-1",
        "owner": "team-a",
        "user": "ada",
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z",
        "expires_at": "2027-01-15T09:00:00.000Z",
        "first_turn": 1,
        "last_turn": 1,
        "metadata": {
            "preferred_provider": "main",
            "last_provider": "main",
            "last_model": "gpt-5",
            "total_turns": 1,
            "total_messages": 2,
            "total_tokens": 15,
            "usage": {"input": 10, "output": 5, "cached": 2, "cache_write": 0, "reasoning": 1},
            "cost": 0.0,
            "unpriced_turns": 0,
            "user_context": {},
        },
    }


async def test_pages_continue_where_the_last_one_ended(client: Client, store: MemoryStore, clock: Clock):
    for number in range(7):
        await store.append(SessionKey("team-a", "", f"s{number}"), appended("q", "a"))
        clock.now += 1
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await get(client, "/sessions", limit=3, **cursor)
        seen += [session["id"] for session in page["sessions"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"owner": "team-a"}, ["claude", "ada", "gpt"]),
        ({"owner": "team-b"}, ["other"]),
        ({"owner": "nobody"}, []),
        ({"user": "ada"}, ["ada"]),
        ({"user": ""}, ["other", "claude", "gpt"]),
        ({"provider": "anthropic"}, ["claude"]),
        ({"provider": "pinned"}, ["ada"]),
        ({"model": "gpt-5"}, ["other", "ada", "gpt"]),
        ({"model": "gpt-5", "owner": "team-b"}, ["other"]),
    ],
)
async def test_a_listing_is_filtered(client: Client, store: MemoryStore, clock: Clock, query: Any, found: list[str]):
    await store.append(SessionKey("team-a", "", "gpt"), appended("q", "a"))
    clock.now += 1
    await store.append(SessionKey("team-a", "ada", "ada"), appended("q", "a", pin=Pin("pinned", "1")))
    clock.now += 1
    await store.append(SessionKey("team-a", "", "claude"), appended("q", "a", Origin("anthropic", "claude-5")))
    clock.now += 1
    await store.append(SessionKey("team-b", "", "other"), appended("q", "a"))
    page = await get(client, "/sessions", **query)
    assert [session["id"] for session in page["sessions"]] == found


async def test_a_listing_is_filtered_by_age(client: Client, store: MemoryStore, clock: Clock, monkeypatch: Any):
    monkeypatch.setattr("time.time", lambda: (NOW + 600_000) / 1000)
    for age in (500, 300, 100):
        clock.now = NOW + (600 - age) * 1000
        await store.append(SessionKey("team-a", "", f"age-{age}"), appended("q", "a"))

    async def found(**query: int) -> list[str]:
        return [session["id"] for session in (await get(client, "/sessions", **query))["sessions"]]

    assert await found(newer_than=300) == ["age-100", "age-300"]
    assert await found(older_than=300) == ["age-300", "age-500"]
    assert await found(newer_than=400, older_than=200) == ["age-300"]


async def test_a_rare_match_is_found_behind_many_others(client: Client, store: MemoryStore, clock: Clock):
    store.looks = 1
    await store.append(SessionKey("team-a", "", "rare"), appended("q", "a", Origin("rare", "m")))
    for number in range(150):
        clock.now += 1
        await store.append(SessionKey("team-a", "", f"s{number}"), appended("q", "a"))
    seen, cursor, pages = [], {}, 0
    while True:
        page = await get(client, "/sessions", limit=1, provider="rare", **cursor)
        assert page["count"] == len(page["sessions"])
        seen += [session["id"] for session in page["sessions"]]
        pages += 1
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == ["rare"]
    assert pages == 2


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"older_than": "-1"}, "older_than"),
        ({"cursor": "not ours"}, "cursor"),
    ],
)
async def test_a_bad_query_is_a_400_that_names_the_field(client: Client, query: dict[str, str], said: str):
    error = (await get(client, "/sessions", 400, **query))["error"]
    assert error["code"] == "invalid"
    assert said in error["message"]


# ---------------------------------------------------------------- reading


async def test_a_transcript_is_neutral_and_says_who_answered(client: Client, store: MemoryStore, clock: Clock):
    clock.now = NOW + 1500
    await store.append(ADA, appended("My name is Ada", "Hello Ada"))
    clock.now = NOW + 60_000
    generation = store.sessions[ADA][0].generation
    more = appended("And you?", "I am", Origin("anthropic", "claude-5"), generation=generation, incomplete=True)
    await store.append(ADA, more)
    session = await get(client, "/sessions/chat-1")
    whole = {"replaced": 0, "usage": None, "elapsed_ms": None}
    nobody = {"provider": None, "model": None, "incomplete": False, **whole}
    tokens = {"input": 10, "output": 5, "cached": 2, "cache_write": 0, "reasoning": 1}
    ended = {"replaced": 0, "usage": tokens, "elapsed_ms": 1500}
    assert session["messages"] == [
        {
            "role": "user",
            "content": "My name is Ada",
            "timestamp": "2027-01-15T08:00:00.000Z",
            "tokens_used": None,
            "cost": None,
            "turn": 1,
            **nobody,
        },
        {
            "role": "assistant",
            "content": "Hello Ada",
            "provider": "main",
            "model": "gpt-5",
            "timestamp": "2027-01-15T08:00:01.500Z",
            "tokens_used": 15,
            "cost": None,
            "turn": 1,
            "incomplete": False,
            **ended,
        },
        {
            "role": "user",
            "content": "And you?",
            "timestamp": "2027-01-15T08:00:58.500Z",
            "tokens_used": None,
            "cost": None,
            "turn": 2,
            **nobody,
        },
        {
            "role": "assistant",
            "content": "I am",
            "provider": "anthropic",
            "model": "claude-5",
            "timestamp": "2027-01-15T08:01:00.000Z",
            "tokens_used": 15,
            "cost": None,
            "turn": 2,
            "incomplete": True,
            **ended,
        },
    ]
    assert (session["id"], session["next"], session["system"], session["preamble"]) == ("chat-1", None, None, [])
    assert session["metadata"]["total_tokens"] == sum(line["tokens_used"] or 0 for line in session["messages"])


async def test_tool_calls_and_images_are_parts_and_signatures_stay_here(client: Client, store: MemoryStore):
    question, reply = said("user", "an image"), said("assistant", "a call", origin=MAIN)
    await store.append(ADA, appended("q", "a", question=question, reply=reply))
    asked, answered = (await get(client, "/sessions/chat-1"))["messages"]
    assert asked["content"] == [{"type": "image", "media_type": "image/png", "data": "AA=="}]
    call = {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": '{"city":"Paris"}'}
    assert answered["content"] == [call]


async def test_the_system_prompt_and_the_preamble_are_shown(client: Client, store: MemoryStore):
    preamble = said("assistant", "an example")
    await store.append(ADA, appended("q", "a", system=Said("plain", (b'"Be brief."',)), preamble=preamble))
    session = await get(client, "/sessions/chat-1")
    assert session["system"] == "Be brief."
    assert [(line["role"], line["content"], line["turn"]) for line in session["preamble"]] == [
        ("assistant", "an example", 0)
    ]


@pytest.mark.parametrize("question", [said("user", "broken"), said("user", "x", dialect="unheard-of")])
async def test_what_cannot_be_read_is_shown_as_it_is_stored(client: Client, store: MemoryStore, question: Said):
    await store.append(ADA, appended("q", "a", question=question))
    asked, answered = (await get(client, "/sessions/chat-1"))["messages"]
    assert asked["content"][0]["raw"] == json.loads(question.messages[0])
    assert answered["content"] == "a"


async def test_a_long_transcript_is_read_in_pieces(client: Client, store: MemoryStore):
    await store.append(ADA, appended("q1", "a1"))
    for number in range(2, 6):
        generation = store.sessions[ADA][0].generation
        await store.append(ADA, appended(f"q{number}", f"a{number}", generation=generation))
    first = await get(client, "/sessions/chat-1", limit=2)
    assert [line["content"] for line in first["messages"]] == ["q1", "a1", "q2", "a2"]
    assert first["next"] == 3
    rest = await get(client, "/sessions/chat-1", turn=first["next"])
    assert [line["turn"] for line in rest["messages"]] == [3, 3, 4, 4, 5, 5]
    assert rest["next"] is None
    beyond = await get(client, "/sessions/chat-1", turn=9)
    assert (beyond["messages"], beyond["next"]) == ([], None)


async def test_reading_a_transcript_is_audited_and_its_content_is_not_logged(
    client: Client, store: MemoryStore, log: list[logging.LogRecord]
):
    await store.append(ADA, appended("a secret question", "a secret answer"))
    await get(client, "/sessions")
    assert log == []
    await get(client, "/sessions/chat-1")
    (record,) = log
    assert (record.name, record.getMessage()) == ("gateway.audit", "transcript read")
    about = vars(record)
    assert (about["session"], about["owner"], about["user"], about["turns"]) == ("chat-1", "team-a", "", 1)
    assert about["address"]
    assert "secret" not in str(about)


async def test_answers_are_not_cached(client: Client, store: MemoryStore):
    await store.append(ADA, appended("q", "a"))
    for path in ("/sessions/chat-1", "/sessions/nothing"):
        assert (await client.get(f"/v0/management{path}")).headers["Cache-Control"] == "no-store"


async def test_an_unknown_session_is_a_404(client: Client, store: MemoryStore):
    await store.append(ADA, appended("q", "a"))
    for query in ({"owner": "team-b"}, {"owner": "team-a", "user": "ada"}, {"user": "ada"}):
        assert (await get(client, "/sessions/chat-1", 404, **query))["error"]["code"] == "session_not_found"
    assert (await get(client, "/sessions/chat-2", 404))["error"]["code"] == "session_not_found"


@pytest.mark.parametrize("id", ["a.b", "a b", "a%00b", "{a}", "%D0%B0", "a%0D%0Ab", "x" * 129, "..%2Fetc", "a:b"])
async def test_an_id_that_no_session_can_have_never_reaches_the_store(client: Client, store: MemoryStore, id: str):
    store.failure = StoreUnavailable("The store was asked.")
    for method in ("GET", "DELETE"):
        reply = await client.request(method, f"/v0/management/sessions/{id}")
        assert reply.status_code in (400, 404)
        assert "The store was asked." not in reply.text


# ---------------------------------------------------------------- whose


async def test_an_id_of_several_owners_is_a_409_that_names_them(client: Client, store: MemoryStore):
    for owner, user in (("team-a", ""), ("team-b", ""), ("team-b", "ada")):
        await store.append(SessionKey(owner, user, "chat-1"), appended(f"of {owner}{user}", "a"))
    for method in ("GET", "DELETE"):
        reply = await client.request(method, "/v0/management/sessions/chat-1")
        assert reply.status_code == 409
        error = reply.json()["error"]
        assert error["code"] == "ambiguous_session"
        assert error["owners"] == [
            {"owner": "team-a", "user": ""},
            {"owner": "team-b", "user": ""},
            {"owner": "team-b", "user": "ada"},
        ]
        assert "team-a, team-b, team-b (user ada)" in error["message"]
    assert len(store.sessions) == 3


@pytest.mark.parametrize(
    ("query", "question"),
    [
        ({"owner": "team-a"}, "of team-a"),
        ({"owner": "team-b", "user": ""}, "of team-b"),
        ({"owner": "team-b", "user": "ada"}, "of team-bada"),
        ({"user": "ada"}, "of team-bada"),
    ],
)
async def test_owner_and_user_pick_one(client: Client, store: MemoryStore, query: dict[str, str], question: str):
    for owner, user in (("team-a", ""), ("team-b", ""), ("team-b", "ada")):
        await store.append(SessionKey(owner, user, "chat-1"), appended(f"of {owner}{user}", "a"))
    session = await get(client, "/sessions/chat-1", **query)
    assert session["messages"][0]["content"] == question
    await client.delete("/v0/management/sessions/chat-1", params=query)
    assert len(store.sessions) == 2


async def test_one_owner_with_several_users_is_ambiguous_too(client: Client, store: MemoryStore):
    for user in ("ada", "bob"):
        await store.append(SessionKey("team-a", user, "chat-1"), appended("q", "a"))
    error = (await get(client, "/sessions/chat-1", 409, owner="team-a"))["error"]
    assert [whose["user"] for whose in error["owners"]] == ["ada", "bob"]


# ---------------------------------------------------------------- deleting


async def test_deleting_is_idempotent(client: Client, store: MemoryStore, log: list[logging.LogRecord]):
    await store.append(ADA, appended("q", "a"))
    for _ in range(2):
        reply = await client.delete("/v0/management/sessions/chat-1")
        assert (reply.status_code, reply.json()) == (200, {"status": "deleted"})
    assert await store.head(ADA) is None
    assert [record.getMessage() for record in log] == ["session deleted"]


async def test_a_session_that_is_just_being_made_can_be_deleted_by_its_owner(client: Client, store: MemoryStore):
    await client.delete("/v0/management/sessions/chat-1", params={"owner": "team-a"})
    with pytest.raises(GatewayError, match="deleted"):
        await store.append(ADA, appended("q", "a"))


async def test_cleanup_removes_what_has_expired(client: Client, store: MemoryStore, clock: Clock):
    await store.append(ADA, appended("q", "a"))
    clock.now += 7_200_000
    await store.append(SessionKey("team-a", "", "fresh"), appended("q", "a"))
    reply = await client.post("/v0/management/sessions/cleanup")
    assert (reply.status_code, reply.json()) == (200, {"status": "cleaned", "removed": 1})
    assert [session["id"] for session in (await get(client, "/sessions"))["sessions"]] == ["fresh"]


async def test_a_session_may_be_called_cleanup(client: Client, store: MemoryStore):
    await store.append(SessionKey("team-a", "", "cleanup"), appended("q", "a"))
    assert (await get(client, "/sessions/cleanup"))["id"] == "cleanup"
    await client.delete("/v0/management/sessions/cleanup")
    assert store.sessions == {}


# ---------------------------------------------------------------- failures

EVERYTHING = (
    ("GET", "/sessions"),
    ("GET", "/sessions/chat-1"),
    ("DELETE", "/sessions/chat-1"),
    ("POST", "/sessions/cleanup"),
)


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
async def test_a_store_that_is_down_is_a_503_with_retry_after(
    client: Client, store: MemoryStore, method: str, path: str
):
    store.failure = StoreUnavailable("The session store is down.", retry_after=2.5)
    reply = await client.request(method, f"/v0/management{path}")
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "3")
    assert reply.json() == {"error": {"code": "unavailable", "message": "The session store is down."}}


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
async def test_without_sessions_it_is_a_503_that_says_so(method: str, path: str):
    async with client_of(None, Management(key=KEY)) as client:
        reply = await client.request(method, f"/v0/management{path}", headers=AUTHORIZED)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "sessions_off")
    assert int(reply.headers["Retry-After"]) > 0


async def test_a_bug_is_a_500_without_details_and_is_logged(
    client: Client, store: MemoryStore, log: list[logging.LogRecord]
):
    store.failure = ZeroDivisionError("an internal detail")  # type: ignore[assignment]
    reply = await client.get("/v0/management/sessions")
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal")
    assert "detail" not in reply.text
    assert log[0].exc_info is not None


# ---------------------------------------------------------------- documentation


async def test_the_openapi_document_describes_these_routes_and_no_others(store: MemoryStore):
    async with client_of(store, Management(key=KEY)) as client:
        document = (await client.get("/v0/management/openapi.json")).json()
    paths = {path.removeprefix("/v0/management"): set(ops) for path, ops in document["paths"].items()}
    assert paths == {
        "/sessions": {"get", "post", "delete"},
        "/sessions/{id}": {"get", "patch", "delete"},
        "/sessions/{id}/fork": {"post"},
        "/sessions/{id}/turns": {"delete"},
        "/sessions/cleanup": {"post"},
        "/sessions/export": {"get"},
        "/sessions/import": {"post"},
        "/providers": {"get"},
        "/providers/{name}/disable": {"post"},
        "/providers/{name}/enable": {"post"},
        "/providers/{name}/reset": {"post"},
        "/models": {"get"},
        "/config": {"get"},
        "/reload": {"post"},
        "/stats": {"get"},
        "/keys": {"get", "post"},
        "/keys/{id}": {"delete"},
    }
    assert {parameter["name"] for parameter in document["paths"]["/v0/management/sessions"]["get"]["parameters"]} == {
        "owner", "user", "provider", "model", "newer_than", "older_than", "cursor", "limit",
    }  # fmt: skip
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}


async def test_the_page_of_it_needs_nothing_from_elsewhere(store: MemoryStore):
    async with client_of(store, Management(key=KEY)) as client:
        reply = await client.get("/v0/management/docs")
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert "/v0/management/sessions/{id}" in reply.text
    for reference in (" src=", 'href="http', "url(", "@import", "<script", "<link"):
        assert reference not in reply.text
