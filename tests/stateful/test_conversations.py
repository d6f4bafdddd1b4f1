"""`/v1/conversations`, and that a conversation is a session, through whichever door."""

from typing import Any

import openai
import pytest

from tests.scripted import Say
from tests.stateful.conftest import MODELS, texts

EVERY = list(MODELS)


async def test_a_conversation_is_made_read_changed_and_deleted(begin: Any) -> None:
    async with begin() as it:
        api = it.openai.conversations
        made = await api.create(metadata={"topic": "demo"})
        assert made.id.startswith("conv_")
        assert made.object == "conversation"
        assert (await api.retrieve(made.id)).metadata == {"topic": "demo"}
        assert (await api.update(made.id, metadata={"topic": "new"})).metadata == {"topic": "new"}
        assert (await api.retrieve(made.id)).metadata == {"topic": "new"}
        gone = await api.delete(made.id)
        assert (gone.deleted, gone.id) == (True, made.id)
        with pytest.raises(openai.NotFoundError):
            await api.retrieve(made.id)


@pytest.mark.parametrize("model", EVERY)
@pytest.mark.parametrize("stream", [False, True])
async def test_responses_are_added_to_their_conversation(begin: Any, model: str, *, stream: bool) -> None:
    async with begin() as it:
        conversation = await it.openai.conversations.create(items=[{"role": "user", "content": "My name is Ann."}])
        for text in ("one", "two"):
            answer = await it.ask(text, model, conversation=conversation.id, stream=stream)
            if stream:
                async for event in answer:
                    last = event
                answer = last.response
            assert answer.conversation.id == conversation.id
        assert it.sent(model) == ["My name is Ann.", "one", "reply-1", "two"]
        listed = [item async for item in it.openai.conversations.items.list(conversation.id, order="asc", limit=2)]
        said = [item.content[0].text for item in listed]
        assert said == ["My name is Ann.", "one", "reply-1", "two", "reply-2"]
        assert len({item.id for item in listed}) == 5
        newest = [item.id async for item in it.openai.conversations.items.list(conversation.id, limit=2)]
        assert newest == [item.id for item in listed][::-1]
        read = await it.openai.responses.retrieve(answer.id)
        assert read.output[0].id == listed[-1].id


async def test_a_conversation_may_be_named_by_an_object_and_must_be_there(begin: Any) -> None:
    async with begin() as it:
        made = await it.openai.conversations.create()
        await it.ask("one", conversation={"id": made.id})
        await it.ask("two", conversation={"id": made.id})
        assert it.sent("gpt") == ["one", "reply-1", "two"]
        with pytest.raises(openai.NotFoundError) as missing:
            await it.ask("one", conversation="conv_missing")
        assert missing.value.param == "conversation"


async def test_items_are_added_read_and_deleted(begin: Any) -> None:
    async with begin() as it:
        api = it.openai.conversations
        made = await api.create()
        said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        added = await api.items.create(made.id, items=said)
        assert [item.role for item in added.data] == ["user", "assistant"]
        assert added.data[1].content[0].type == "output_text"
        one = await api.items.retrieve(added.data[0].id, conversation_id=made.id)
        assert one.content[0].text == "a"
        await it.ask("c", conversation=made.id)
        assert it.sent("gpt") == ["a", "b", "c"]
        left = await api.items.delete(added.data[1].id, conversation_id=made.id)
        assert left.id == made.id
        with pytest.raises(openai.NotFoundError):
            await api.items.retrieve(added.data[1].id, conversation_id=made.id)
        await it.ask("d", conversation=made.id)
        assert it.sent("gpt") == ["a", "c", "reply-1", "d"]


async def test_the_items_of_a_reply_can_be_read_and_deleted(begin: Any) -> None:
    async with begin() as it:
        api = it.openai.conversations
        made = await api.create()
        answer = await it.ask("one", "opus", conversation=made.id)
        id = answer.output[0].id
        assert (await api.items.retrieve(id, conversation_id=made.id)).content[0].text == "reply-1"
        await api.items.delete(id, conversation_id=made.id)
        await it.ask("two", "opus", conversation=made.id)
        assert "reply-1" not in it.sent("opus")


async def test_input_may_be_left_out_where_the_conversation_has_it(begin: Any) -> None:
    async with begin() as it:
        made = await it.openai.conversations.create(items=[{"role": "user", "content": "Well?"}])
        await it.openai.responses.create(model="gpt", conversation=made.id)
        assert it.sent("gpt") == ["Well?"]


async def test_a_tool_call_among_items_can_be_answered(begin: Any) -> None:
    async with begin() as it:
        call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
        made = await it.openai.conversations.create(items=[{"role": "user", "content": "weather?"}, call])
        result = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
        await it.ask([result], "opus", conversation=made.id)
        assert "sunny" in str(it.gw.sent("claude"))


async def test_one_conversation_through_every_door(begin: Any) -> None:
    async with begin() as it:
        made = await it.openai.conversations.create(items=[{"role": "user", "content": "I am Ann."}])
        await it.gw.chat("by chat", made.id)
        await it.gw.message("by messages", made.id)
        body = {"contents": [{"role": "user", "parts": [{"text": "by gemini"}]}]}
        await it.gw.post("/v1beta/models/flash:generateContent", body, x_session_id=made.id)
        await it.ask("by responses", "codex", conversation=made.id)
        doors = ["by chat", "by messages", "by gemini", "by responses"]
        said = it.sent("codex")
        assert said[0] == "I am Ann."
        assert [text for text in said if text in doors] == doors
        assert len(said) == 8
        listed = [item async for item in it.openai.conversations.items.list(made.id, order="asc")]
        assert [i.content[0].text for i in listed][:-1] == said
        await it.gw.chat("last", made.id)
        assert texts(it.gw.sent("chat"))[:-1] == [i.content[0].text for i in listed]


async def test_any_session_is_a_conversation(begin: Any) -> None:
    async with begin() as it:
        await it.gw.chat("hello", "my-session")
        assert (await it.openai.conversations.retrieve("my-session")).id == "my-session"
        await it.ask("again", conversation="my-session")
        assert it.sent("gpt") == ["hello", "reply-1", "again"]


async def test_a_branch_from_within_a_conversation_leaves_it_alone(begin: Any) -> None:
    async with begin() as it:
        made = await it.openai.conversations.create()
        one = await it.ask("one", conversation=made.id)
        await it.ask("aside", previous_response_id=one.id)
        assert it.sent("gpt") == ["one", "reply-1", "aside"]
        await it.ask("two", conversation=made.id)
        assert it.sent("gpt") == ["one", "reply-1", "two"]


async def test_a_running_turn_locks_the_conversation_where_conflicts_are_refused(begin: Any) -> None:
    async with begin("sessions: {conflict: reject}\n", chat=lambda _: Say("yes")) as it:
        made = await it.openai.conversations.create()

        async def second() -> None:
            it.gw.providers["chat"].meanwhile = None
            with pytest.raises(openai.ConflictError) as locked:
                await it.ask("two", conversation=made.id)
            assert locked.value.code == "conversation_locked"

        it.gw.providers["chat"].meanwhile = second
        await it.ask("one", conversation=made.id)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
        ({"items": [{"role": "user", "content": "x"}] * 21}, "items"),
        ({"items": [{"type": "function_call_output", "call_id": "nobody", "output": "x"}]}, "messages"),
        ({"items": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"items": "x"}, None),
    ],
)
async def test_what_is_wrong_is_refused(begin: Any, body: dict[str, Any], param: str | None) -> None:
    async with begin() as it:
        answer = await it.gw.post("/v1/conversations", body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param
