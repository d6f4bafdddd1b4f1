"""`previous_response_id` on any provider: chains, branches, errors."""

import asyncio
from typing import Any

import openai
import pytest

from tests.scripted import Say
from tests.stateful.conftest import MODELS

EVERY = list(MODELS)


@pytest.mark.parametrize("model", EVERY)
async def test_a_chain_is_remembered(begin: Any, model: str) -> None:
    async with begin() as it:
        one = await it.ask("one", model)
        two = await it.ask("two", model, previous_response_id=one.id)
        await it.ask("three", model, previous_response_id=two.id)
        assert it.sent(model) == ["one", one.output_text, "two", two.output_text, "three"]
        assert two.previous_response_id == one.id
        assert two.store is True


@pytest.mark.parametrize("model", EVERY)
async def test_a_streamed_chain_is_remembered_as_soon_as_its_last_event_is_read(begin: Any, model: str) -> None:
    async with begin() as it:
        previous, ids = None, []
        for text in ("one", "two", "three"):
            seen = set()
            async for event in await it.ask(text, model, previous_response_id=previous, stream=True):
                if hasattr(event, "response"):
                    seen.add(event.response.id)
            (previous,) = seen
            ids.append(previous)
        assert it.sent(model) == ["one", "reply-1", "two", "reply-2", "three"]
        assert len(set(ids)) == 3


@pytest.mark.parametrize("model", EVERY)
async def test_two_answers_to_one_response_are_two_branches(begin: Any, model: str) -> None:
    async with begin() as it:
        root = await it.ask("root", model)
        left = await it.ask("left", model, previous_response_id=root.id)
        right = await it.ask("right", model, previous_response_id=root.id)
        await it.ask("on the right", model, previous_response_id=right.id)
        assert it.sent(model) == ["root", "reply-1", "right", right.output_text, "on the right"]
        await it.ask("on the left", model, previous_response_id=left.id)
        assert it.sent(model) == ["root", "reply-1", "left", left.output_text, "on the left"]


async def test_answers_at_the_same_moment_are_branches_too(begin: Any) -> None:
    async with begin(chat=lambda _: Say("yes", wait=0.05)) as it:
        root = await it.ask("root")
        many = await asyncio.gather(*(it.ask(f"branch {n}", previous_response_id=root.id) for n in range(5)))
        for n, branch in enumerate(many):
            again = await it.openai.responses.retrieve(branch.id)
            assert again.output_text == "yes"
            await it.ask("on", previous_response_id=branch.id)
            assert it.sent("gpt") == ["root", "yes", f"branch {n}", "yes", "on"]


async def test_a_branch_of_a_branch_shares_the_whole_way(begin: Any) -> None:
    async with begin() as it:
        last, expected = await it.ask("0"), ["0", "reply-1"]
        for n in range(1, 6):
            await it.ask("aside", previous_response_id=last.id)  # takes the place behind it
            last = await it.ask(str(n), previous_response_id=last.id)
            expected += [str(n), last.output_text]
        await it.ask("end", previous_response_id=last.id)
        assert it.sent("gpt") == [*expected, "end"]


async def test_a_chain_moves_between_providers(begin: Any) -> None:
    async with begin() as it:
        previous = None
        for n, model in enumerate(EVERY):
            answer = await it.ask(f"turn {n}", model, previous_response_id=previous)
            previous = answer.id
        await it.ask("end", "gpt", previous_response_id=previous)
        assert [text for text in it.sent("gpt") if text.startswith("turn")] == [f"turn {n}" for n in range(4)]
        assert len(it.sent("gpt")) == 9


async def test_instructions_are_not_carried_over(begin: Any) -> None:
    async with begin() as it:
        one = await it.ask("one", instructions="Be brief.")
        assert "Be brief." in str(it.gw.sent("chat"))
        two = await it.ask("two", previous_response_id=one.id)
        assert "Be brief." not in str(it.gw.sent("chat"))
        assert one.instructions == "Be brief."
        assert two.instructions is None


async def test_examples_in_the_input_stay_where_they_were_said(begin: Any) -> None:
    async with begin() as it:
        said = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]
        one = await it.ask(said)
        await it.ask(said, previous_response_id=one.id)
        assert it.sent("gpt") == ["a", "b", "c", one.output_text, "a", "b", "c"]


async def test_a_tool_loop_runs_over_previous_response_ids(begin: Any) -> None:
    def script(seen: Any) -> Any:
        return Say(calls=(("call_1", "weather", '{"city":"Paris"}'),)) if len(seen.raw) < 700 else Say("sunny")

    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]
    for model, host in MODELS.items():
        calls = iter([Say(calls=(("call_1", "weather", '{"city":"Paris"}'),)), Say("It is sunny.")])
        async with begin(**{host: lambda _, calls=calls: next(calls)}) as it:
            one = await it.ask("weather?", model, tools=tools)
            (call,) = one.output
            result = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
            two = await it.openai.responses.create(model=model, input=result, tools=tools, previous_response_id=one.id)
            assert two.output_text == "It is sunny."
            assert "Paris" in str(it.gw.sent(host))


async def test_what_is_not_stored_cannot_be_gone_on_from(begin: Any) -> None:
    async with begin() as it:
        for model in EVERY:
            one = await it.ask("one", model, store=False)
            assert not getattr(one, "store", None)
            with pytest.raises(openai.BadRequestError) as refused:
                await it.ask("two", model, previous_response_id=one.id)
            assert refused.value.code == "previous_response_not_found"
            assert refused.value.param == "previous_response_id"
            assert one.id in refused.value.message


async def test_store_false_goes_on_from_a_stored_response_and_leaves_nothing(begin: Any) -> None:
    async with begin() as it:
        one = await it.ask("one")
        two = await it.ask("two", previous_response_id=one.id, store=False)
        assert it.sent("gpt") == ["one", "reply-1", "two"]
        with pytest.raises(openai.NotFoundError):
            await it.openai.responses.retrieve(two.id)
        await it.ask("three", previous_response_id=one.id)
        assert it.sent("gpt") == ["one", "reply-1", "three"]


async def test_a_key_repeated_answers_with_the_same_response(begin: Any) -> None:
    async with begin() as it:
        root = await it.ask("root")
        headers = {"Idempotency-Key": "k"}
        one = await it.ask("one", previous_response_id=root.id, extra_headers=headers)
        two = await it.ask("one", previous_response_id=root.id, extra_headers=headers)
        assert one.id == two.id
        assert len(it.gw.providers["chat"].seen) == 2
        await it.ask("on", previous_response_id=two.id)
        assert it.sent("gpt") == ["root", "reply-1", "one", "reply-2", "on"]


async def test_without_a_store_the_chain_is_refused_not_forgotten(begin: Any) -> None:
    async with begin() as it:
        one = await it.ask("one")
        it.gw.break_store()
        with pytest.raises(openai.InternalServerError) as refused:
            await it.ask("two", previous_response_id=one.id)
        assert refused.value.status_code == 503
        alone = await it.ask("alone")
        assert alone.store is False


async def test_storing_only_what_is_asked_for(begin: Any) -> None:
    async with begin("responses: {store: asked}\n") as it:
        assert (await it.ask("one")).store is False
        kept = await it.ask("two", store=True)
        assert (await it.openai.responses.retrieve(kept.id)).id == kept.id


async def test_a_full_owner_is_still_served(begin: Any) -> None:
    async with begin("sessions: {max_sessions: 1}\n") as it:
        await it.ask("one")
        two = await it.ask("two")
        assert two.store is False
        with pytest.raises(openai.RateLimitError):
            await it.ask("three", store=True)


async def test_contradictions_and_background_are_refused(begin: Any) -> None:
    async with begin() as it:
        for more, param in (
            ({"background": True}, "background"),
            ({"previous_response_id": "resp_x", "conversation": "conv_x"}, "conversation"),
            ({"conversation": "../etc"}, "conversation"),
            ({"store": "yes"}, "store"),
        ):
            with pytest.raises(openai.APIStatusError) as refused:
                await it.ask("hi", **more)
            assert refused.value.status_code in (400, 404)
            assert refused.value.param == param


async def test_agents_with_a_session_of_their_own_are_not_stored_unasked(begin: Any) -> None:
    async with begin() as it:
        assert (await it.ask("hi", extra_headers={"session_id": "s1"})).store is False
