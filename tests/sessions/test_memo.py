"""What went up of a session before is put together once, and comes to what it comes to without."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.conversation import SIGNATURE_MARK, Message, Origin, Said, Text, ToolCall, ToolResult
from gateway.dialects.dialect import Request
from gateway.dialects.lists import joined
from gateway.dialects.registry import DIALECTS
from gateway.routing.table import Target
from gateway.sessions.fitting import Fitted, Fitting, _added
from gateway.sessions.history import Asked, align
from gateway.sessions.store import Head, Mark, Memo, Session, SessionKey, Turn
from tests.golden.cells import MODELS, NAMES

KEY = SessionKey("acme", "", "chat-1")
SAY = {
    "openai_chat": b'{"model":"m","messages":[{"role":"user","content":"next"}]}',
    "openai_responses": b'{"model":"m","input":"next"}',
    "anthropic": b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"next"}]}',
    "gemini": b'{"contents":[{"role":"user","parts":[{"text":"next"}]}]}',
}


def session_of(client: str, provider: str, count: int, memo: Memo, *, cut: int = 0) -> Session:
    """Every third turn calls a tool; the one behind it answers, but for each second call."""
    marks, turns = {}, {}
    origin = Origin("up", MODELS[provider])
    for number in range(1, count + 1):
        call, answers = f"call_{number}", number % 3 == 1 and number % 2
        asked: Sequence[Message] = [Message("user", (Text(f"question {number}"),))]
        if answers:
            asked = [Message("user", (ToolResult(f"call_{number - 1}", (Text("done"),), name="look"),))]
        said = [Message("assistant", (Text(f"answer {number}"),))]
        if number % 3 == 0:
            said = [Message("assistant", (ToolCall(call, "look", "{}"),))]
        turns[number] = Turn(
            question=Said(client, DIALECTS[client].encode_messages(asked, origin).messages),
            reply=Said(provider, DIALECTS[provider].encode_messages(said, origin).messages, origin),
        )
        marks[number] = Mark(
            b"q%d" % number,
            b"r%d" % number,
            tokens=10,
            calls=((call, "look"),) if number % 3 == 0 else (),
            results=(f"call_{number - 1}",) if answers else (),
        )
    head = Head(
        key=KEY, generation="g", revision=count, first=1, next=count + 1, created=0, updated=0, expires=9, cut=cut
    )
    return Session(head=head, marks=marks, turns=turns, stamp=b"s", memo=memo)


def fitted(client: str, target: Target, session: Session) -> Fitted:
    dialect = DIALECTS[client]
    request: Request = dialect.open_request(SAY[client], model="m")
    aligned = align(Asked(dialect=dialect, spoken=dialect.spoken(request)), session)
    made = Fitting(dialect, request, aligned, cut=session.head.cut, max_turns=200).fit(target)
    return replace(made, body=joined(made.body))


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.parametrize("provider", NAMES)
def test_each_turn_comes_behind_what_was_told_before(client: str, provider: str) -> None:
    memo = Memo()
    target = Target(provider="up", credential="up-1", model=MODELS[provider], dialect=provider)
    for count in range(13):
        cut = 6 if count > 8 else 0
        now = fitted(client, target, session_of(client, provider, count, memo, cut=cut))
        assert now == fitted(client, target, session_of(client, provider, count, Memo(), cut=cut))


@pytest.mark.parametrize("client", NAMES)
def test_a_long_history_grows_turn_by_turn(client: str) -> None:
    memo, target = Memo(), Target(provider="up", credential="up-1", model=MODELS[client], dialect=client)
    for count in range(110):
        now = fitted(client, target, session_of(client, client, count, memo))
        whole = json.loads(now.body)
        assert len(whole.get("messages") or whole.get("input") or whole["contents"]) > count
        if count % 10 == 0:
            assert now == fitted(client, target, session_of(client, client, count, Memo()))


def test_what_one_target_was_told_is_not_told_to_another() -> None:
    memo = Memo()
    targets = [Target(provider=name, credential="1", model="m", dialect=name) for name in NAMES]
    for count in (2, 4, 5):
        for target in (*targets, *targets):
            now = fitted("openai_chat", target, session_of("openai_chat", "openai_chat", count, memo))
            assert now == fitted("openai_chat", target, session_of("openai_chat", "openai_chat", count, Memo()))


def test_a_request_that_began_earlier_is_told_no_later_turn() -> None:
    memo = Memo()
    target = Target(provider="up", credential="up-1", model=MODELS["anthropic"], dialect="anthropic")
    early = session_of("anthropic", "anthropic", 1, memo)
    fitted("anthropic", target, session_of("anthropic", "anthropic", 2, memo))
    assert memo.value is not None
    assert b"question 2" not in fitted("anthropic", target, early).body


@pytest.mark.parametrize("provider", NAMES)
@pytest.mark.parametrize("count", [2, 3])
def test_the_history_is_put_together_once_translated_or_not(provider: str, count: int) -> None:
    memo = Memo()
    target = Target(provider="up", credential="up-1", model=MODELS[provider], dialect=provider)
    fitted("openai_chat", target, session_of("openai_chat", provider, count, memo))
    told = memo.value
    fitted("openai_chat", target, session_of("openai_chat", provider, count, memo))
    assert told is not None
    assert memo.value is told


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_of_a_signature_in_a_text_stays_a_text(name: str) -> None:
    memo, marked = Memo(), "I read " + SIGNATURE_MARK.decode() + " somewhere"
    target = Target(provider="up", credential="up-1", model=MODELS[name], dialect=name)
    question = DIALECTS[name].encode_messages([Message("user", (Text(marked),))], target.origin).messages
    for count in (1, 2, 3, 4, 5):
        session = session_of(name, name, count, memo)
        turns = dict(session.turns)
        if count >= 2:
            turns[2] = replace(turns[2], question=Said(name, question))
        body = json.loads(fitted(name, target, replace(session, turns=turns)).body)
        said = next(body[member] for member in ("messages", "contents", "input") if member in body)
        assert len(said) == 2 * count + 1 + (count >= 3)  # nobody answered the call of the third turn
        assert (marked in json.dumps(said)) == (count >= 2)


@given(st.lists(st.binary(min_size=1, max_size=400), max_size=60))
def test_a_history_is_a_few_pieces_that_are_copied_a_few_times(said: list[bytes]) -> None:
    pieces: tuple[bytes, ...] = ()
    copied = 0
    for one in said:
        before = set(map(id, pieces))
        pieces = _added(pieces, one)
        copied += sum(len(piece) for piece in pieces if id(piece) not in before)
    size = sum(map(len, said))
    assert b"".join(pieces) == b"".join(said)
    assert len(pieces) <= size.bit_length() + 1
    assert copied <= size * (size.bit_length() + 1)
