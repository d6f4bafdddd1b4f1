"""A vendor's SDK that repeats a request by itself: with an Idempotency-Key the provider runs once (rule S10)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anthropic
import httpx
import httpx2
import openai
import pytest

from tests.harness import CONFIG, Harness

Start = Callable[..., AbstractAsyncContextManager[Harness]]
SESSION = {"X-Session-ID": "s", "Idempotency-Key": "k1"}


class LosesAnswers(httpx.AsyncBaseTransport):
    """A network that loses the first `count` answers, whole, after the server has sent them."""

    def __init__(self, gw: Harness, count: int) -> None:
        self._inner = gw.client._transport
        self.left = count
        self.sent = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        response = await self._inner.handle_async_request(request)
        if self.left:
            self.left -= 1
            await response.aread()
            raise httpx.ReadError("lost", request=request)
        return response


@pytest.mark.parametrize("conflict", ["order", "reject"])
@pytest.mark.parametrize("stream", [False, True])
async def test_openais_retry_after_a_lost_answer_runs_the_provider_once(
    start: Start, conflict: str, *, stream: bool
) -> None:
    async with start(config=CONFIG + f"sessions: {{conflict: {conflict}}}\n") as gw:
        network = LosesAnswers(gw, 2)
        async with openai.AsyncOpenAI(
            api_key="k", base_url="http://127.0.0.1/v1", http_client=httpx.AsyncClient(transport=network)
        ) as client:
            answer = await client.chat.completions.create(
                model="gpt", messages=[{"role": "user", "content": "q"}], extra_headers=SESSION, stream=stream
            )
            if stream:
                text = "".join([chunk.choices[0].delta.content or "" async for chunk in answer if chunk.choices])
            else:
                text = answer.choices[0].message.content
        assert text == "reply-1"
        assert network.sent == 3
        assert len(gw.providers["chat"].seen) == 1
        assert len(await gw.store.turns(gw.key("s"), first=1, count=9)) == 1


class LosesAnswers2(httpx2.AsyncBaseTransport):
    """The same for an SDK on httpx's successor."""

    def __init__(self, network: LosesAnswers) -> None:
        self._network = network

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        asked = httpx.Request(request.method, str(request.url), headers=request.headers.raw, content=body)
        try:
            answer = await self._network.handle_async_request(asked)
        except httpx.ReadError:
            raise httpx2.ReadError("lost", request=request) from None
        return httpx2.Response(answer.status_code, headers=answer.headers.raw, content=await answer.aread())


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropics_retry_after_a_lost_answer_runs_the_provider_once(start: Start, *, stream: bool) -> None:
    async with start() as gw:
        network = LosesAnswers(gw, 2)
        async with anthropic.AsyncAnthropic(
            api_key="k", base_url="http://127.0.0.1", http_client=httpx2.AsyncClient(transport=LosesAnswers2(network))
        ) as client:
            asked = {"model": "opus", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}
            if stream:
                async with client.messages.stream(**asked, extra_headers=SESSION) as events:
                    answer = await events.get_final_message()
            else:
                answer = await client.messages.create(**asked, extra_headers=SESSION)
        assert answer.content[0].text == "reply-1"
        assert network.sent == 3
        assert len(gw.providers["claude"].seen) == 1
        assert len(await gw.store.turns(gw.key("s"), first=1, count=9)) == 1


async def test_openais_retry_waits_for_the_turn_that_runs(start: Start) -> None:
    async with start() as gw:
        reached, slow = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            reached.set()
            await slow.wait()

        gw.providers["chat"].meanwhile = wait
        network = LosesAnswers(gw, 0)
        async with openai.AsyncOpenAI(
            api_key="k", base_url="http://127.0.0.1/v1", http_client=httpx.AsyncClient(transport=network), max_retries=5
        ) as client:

            async def ask() -> str | None:
                answer = await client.chat.completions.create(
                    model="gpt", messages=[{"role": "user", "content": "q"}], extra_headers=SESSION
                )
                return answer.choices[0].message.content

            first = asyncio.create_task(ask())
            await asyncio.wait_for(reached.wait(), 30)
            second = asyncio.create_task(ask())
            while network.sent < 2:  # noqa: ASYNC110 - the network has no event for it
                await asyncio.sleep(0.01)
            slow.set()
            assert await asyncio.gather(first, second) == ["reply-1", "reply-1"]
        assert len(gw.providers["chat"].seen) == 1
