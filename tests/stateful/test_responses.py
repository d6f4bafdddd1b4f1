"""`GET`, `DELETE /v1/responses/{id}` and their input items, as OpenAI's client asks for them."""

from typing import Any

import openai
import pytest

from tests.scripted import Say
from tests.stateful.conftest import MODELS

EVERY = list(MODELS)
TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]


@pytest.mark.parametrize("model", EVERY)
async def test_a_response_can_be_read_again(begin: Any, model: str) -> None:
    async with begin() as it:
        made = await it.ask("hello", model, instructions="Be brief.", metadata={"a": "b"}, temperature=0.5)
        read = await it.openai.responses.retrieve(made.id)
        assert read.id == made.id
        assert read.output_text == made.output_text
        assert read.metadata == {"a": "b"}
        assert read.temperature == 0.5
        assert read.instructions == "Be brief."
        assert read.status == "completed"
        assert read.usage
        assert read.usage.total_tokens == 15
        assert [item.id for item in read.output] == [item.id for item in made.output]


@pytest.mark.parametrize("model", EVERY)
async def test_a_streamed_response_with_calls_reads_as_it_was_streamed(begin: Any, model: str) -> None:
    say = Say("looking", calls=(("call_1", "weather", '{"city":"Paris"}'),))
    async with begin(**{MODELS[model]: lambda _: say}) as it:
        last = None
        async for event in await it.ask("weather?", model, stream=True, tools=TOOLS):
            last = event
        read = await it.openai.responses.retrieve(last.response.id)
        assert [(item.type, item.id) for item in read.output] == [(i.type, i.id) for i in last.response.output]
        assert read.tools[0].name == "weather"


async def test_long_parameters_are_read_from_the_session(begin: Any) -> None:
    async with begin() as it:
        made = await it.ask("hello", instructions="x" * 5000)
        assert (await it.openai.responses.retrieve(made.id)).instructions == "x" * 5000


async def test_a_response_is_streamed_again_from_where_the_client_was(begin: Any) -> None:
    async with begin() as it:
        made = await it.ask("hello")
        events = [event async for event in await it.openai.responses.retrieve(made.id, stream=True)]
        later = [e async for e in await it.openai.responses.retrieve(made.id, stream=True, starting_after=3)]
        assert events[-1].type == "response.completed"
        assert events[-1].response.id == made.id
        assert [event.sequence_number for event in later] == list(range(4, len(events)))


async def test_a_deleted_response_is_gone_and_what_followed_it_stays(begin: Any) -> None:
    async with begin() as it:
        one = await it.ask("one")
        two = await it.ask("two", previous_response_id=one.id)
        await it.openai.responses.delete(one.id)
        for missing in (it.openai.responses.retrieve(one.id), it.openai.responses.delete(one.id)):
            with pytest.raises(openai.NotFoundError):
                await missing
        with pytest.raises(openai.BadRequestError):
            await it.ask("aside", previous_response_id=one.id)
        await it.ask("three", previous_response_id=two.id)
        assert it.sent("gpt") == ["one", "reply-1", "two", "reply-2", "three"]


async def test_input_items_are_paged_both_ways(begin: Any) -> None:
    async with begin() as it:
        said = [{"role": "user", "content": str(n)} for n in range(5)]
        made = await it.ask(said)
        items = it.openai.responses.input_items
        newest = [item.content[0].text async for item in items.list(made.id, limit=2)]
        oldest = [item.content[0].text async for item in items.list(made.id, limit=2, order="asc")]
        assert newest == ["4", "3", "2", "1", "0"]
        assert oldest == newest[::-1]


async def test_there_is_nothing_to_cancel(begin: Any) -> None:
    async with begin() as it:
        made = await it.ask("one")
        with pytest.raises(openai.BadRequestError) as refused:
            await it.openai.responses.cancel(made.id)
        assert "background" in refused.value.message


@pytest.mark.parametrize(
    "id", ["resp_unknown", "resp_00000000000000000000_1_chain_00000000000000000000", "..%2f", "x" * 500]
)
async def test_unknown_ids_are_not_found(begin: Any, id: str) -> None:
    async with begin() as it:
        status, body = await it.get(f"/v1/responses/{id}")
        assert status == 404
        assert body["error"]["type"] == "invalid_request_error"


async def test_responses_belong_to_their_owner_and_user(begin: Any) -> None:
    keys = "auth: {keys: [{id: a, key: ka}, {id: b, key: kb}, {id: c, key: kc, sessions: 'off'}]}\n"
    async with begin(keys) as it:
        a, b, c = (it.openai.with_options(api_key=key) for key in ("ka", "kb", "kc"))
        made = await a.responses.create(model="gpt", input="secret")
        conversation = await a.conversations.create()
        other = a.with_options(default_headers={"X-Session-User": "else"})
        for client in (b, other):
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(made.id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.delete(made.id)
            with pytest.raises(openai.BadRequestError):
                await client.responses.create(model="gpt", input="x", previous_response_id=made.id)
            with pytest.raises(openai.NotFoundError):
                await client.conversations.retrieve(conversation.id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.create(model="gpt", input="x", conversation=conversation.id)
        assert not (await c.responses.create(model="gpt", input="x")).store
        with pytest.raises(openai.PermissionDeniedError):
            await c.responses.retrieve(made.id)
        assert (await a.responses.retrieve(made.id)).id == made.id
