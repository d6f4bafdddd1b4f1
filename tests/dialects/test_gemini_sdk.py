"""Google's own SDK as the client: what it sends is understood, what we answer is what it shows."""

import json
from collections.abc import Callable

import httpx
import pytest
from google import genai
from google.genai import errors, types

from gateway.conversation import (
    Format,
    Image,
    Message,
    Origin,
    Prompt,
    Reasoning,
    Reply,
    Signature,
    Stop,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    events_of,
)
from gateway.dialects import gemini
from gateway.dialects.dialect import ReplyHead, Request
from gateway.errors import GatewayError, Kind

CLAUDE = Origin("claude", "claude-sonnet-4-5")


class Server:
    """Answers each request with the next reply of a script, as the gateway would."""

    def __init__(self, *script: Reply | GatewayError) -> None:
        self.script = list(script)
        self.requests: list[Request] = []
        self.prompts: list[Prompt] = []
        self.client = genai.Client(
            api_key="secret",
            http_options=types.HttpOptions(
                base_url="http://gateway", client_args={"transport": httpx.MockTransport(self.answer)}
            ),
        )

    def answer(self, asked: httpx.Request) -> httpx.Response:
        assert asked.headers["x-goog-api-key"] == "secret"
        model, _, method = asked.url.path.rpartition("/")[2].partition(":")
        stream = method == "streamGenerateContent"
        query = asked.url.params.get("alt", "")
        request = gemini.open_request(asked.content, model=model, stream=stream, query=query)
        self.requests.append(request)
        self.prompts.append(gemini.decode_prompt(request))
        head = ReplyHead(f"id{len(self.prompts)}", 1700000000, request)
        reply = self.script.pop(0)
        if isinstance(reply, GatewayError) and not stream:
            return httpx.Response(reply.kind.status, content=gemini.encode_error(reply, "r1"))
        if not stream:
            return httpx.Response(200, content=gemini.encode_reply(reply, head))
        encoder = gemini.reply_encoder(head)
        if isinstance(reply, GatewayError):
            return httpx.Response(200, content=gemini.KEEP_ALIVE + encoder.error(reply))
        pieces = [encoder.encode(event) for event in events_of(reply)]
        return httpx.Response(200, content=gemini.KEEP_ALIVE + gemini.KEEP_ALIVE.join(pieces))


def said(*parts, stop: Stop = Stop.END) -> Reply:
    return Reply(model="m", parts=parts, stop=stop, usage=Usage(input=3, output=2))


def test_a_request_with_everything_is_understood() -> None:
    server = Server(said(Text('{"a":1}')))

    def weather(city: str) -> str:
        """Tells the weather."""
        return city

    response = server.client.models.generate_content(
        model="gemini-3.1-pro",
        contents=["See this", types.Part.from_bytes(data=b"hi", mime_type="image/png")],
        config=types.GenerateContentConfig(
            system_instruction="Be brief.",
            temperature=0.5,
            top_k=40,
            max_output_tokens=100,
            stop_sequences=["x"],
            tools=[weather, types.Tool(google_search=types.GoogleSearch())],
            tool_config=types.ToolConfig(
                function_calling_config=types.FunctionCallingConfig(mode="ANY", allowed_function_names=["weather"])
            ),
            thinking_config=types.ThinkingConfig(thinking_level="LOW", include_thoughts=True),
            response_mime_type="application/json",
            response_json_schema={"type": "object"},
            safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="OFF")],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        ),
    )
    assert response.text == '{"a":1}'
    (prompt,) = server.prompts
    assert prompt.model == "gemini-3.1-pro"
    assert prompt.messages == (Message("user", (Text("See this"), Image(media_type="image/png", data="aGk="))),)
    assert prompt.system == (Text("Be brief."),)
    assert (prompt.temperature, prompt.top_k, prompt.max_tokens, prompt.stop) == (0.5, 40, 100, ("x",))
    tools = {tool.name: tool for tool in prompt.tools}
    assert tools.keys() == {"weather", "googleSearch"}
    assert json.loads(bytes(tools["weather"].parameters))["properties"]["city"]["type"] == "string"
    assert prompt.tool_choice == ToolChoice("tool", "weather")
    assert prompt.thinking == Thinking(effort="low", visible=True)
    assert isinstance(prompt.format, Format)
    assert prompt.extras == ("safetySettings", "tools.functionDeclarations.responseJsonSchema")


@pytest.mark.parametrize("streamed", [True, False])
def test_thoughts_calls_and_usage_arrive(*, streamed: bool) -> None:
    calls = ToolCall("t1", "f", '{"a":1}'), ToolCall("t2", "g", "{}")
    server = Server(
        said(Reasoning("hm", Signature("s", "anthropic", CLAUDE)), Text("Hi"), *calls, stop=Stop.TOOL_CALLS)
    )
    models = server.client.models
    if streamed:
        responses = list(models.generate_content_stream(model="m", contents="Hi"))
    else:
        responses = [models.generate_content(model="m", contents="Hi")]
    parts = [part for each in responses for part in each.candidates[0].content.parts]
    assert "".join(part.text for part in parts if part.text and part.thought) == "hm"
    assert "".join(part.text for part in parts if part.text and not part.thought) == "Hi"
    found = [part.function_call for part in parts if part.function_call]
    assert [(call.id, call.name, call.args) for call in found] == [("t1", "f", {"a": 1}), ("t2", "g", {})]
    assert responses[-1].candidates[0].finish_reason is types.FinishReason.STOP
    assert responses[-1].usage_metadata.total_token_count == 5
    assert server.requests[0].query == ("sse" if streamed else "")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_chat_sends_back_what_was_said(*, streamed: bool) -> None:
    first = (Reasoning("hm", Signature("\u00ff?>" * 5, "anthropic", CLAUDE)), Text("Hello there"))
    server = Server(said(*first), said(Text("Bye")))
    chat = server.client.chats.create(model="m")
    for text in ("Hi", "And?"):
        if streamed:
            list(chat.send_message_stream(text))
        else:
            chat.send_message(text)
    assert server.prompts[1].messages == (
        Message("user", (Text("Hi"),)),
        Message("assistant", first),
        Message("user", (Text("And?"),)),
    )
    spoken = gemini.spoken(server.requests[1]).messages
    assert len(spoken) == 3
    assert gemini.decode_messages(spoken[1:2]) == (Message("assistant", first),)


@pytest.mark.parametrize("streamed", [True, False])
def test_the_sdks_own_tool_loop_runs(*, streamed: bool) -> None:
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    calls = ToolCall("t1", "add", '{"a":1,"b":2}'), ToolCall("t2", "add", '{"a":3,"b":4}')
    server = Server(said(*calls, stop=Stop.TOOL_CALLS), said(Text("3 and 7")))
    config = types.GenerateContentConfig(tools=[add])
    models = server.client.models
    if streamed:
        last = list(models.generate_content_stream(model="m", contents="Add", config=config))
        text = "".join(each.text or "" for each in last)
    else:
        text = models.generate_content(model="m", contents="Add", config=config).text
    assert text == "3 and 7"
    messages = server.prompts[1].messages
    assert messages[1] == Message("assistant", calls)
    results = [part for message in messages[2:] for part in message.parts]
    assert [(part.call_id, part.name) for part in results if isinstance(part, ToolResult)] == [
        ("t1", "add"),
        ("t2", "add"),
    ]
    assert results[0].content == (Text('{"result":3}'),)


@pytest.mark.parametrize(
    ("kind", "status"), [(Kind.INVALID, "INVALID_ARGUMENT"), (Kind.NOT_FOUND, "NOT_FOUND"), (Kind.CONFLICT, "ABORTED")]
)
@pytest.mark.parametrize("streamed", [True, False])
def test_errors_are_raised_with_code_and_status(kind: Kind, status: str, *, streamed: bool) -> None:
    server = Server(GatewayError(kind, "No such thing."))
    models = server.client.models
    ask: Callable[..., object] = models.generate_content
    if streamed:

        def ask(**given) -> object:
            return list(models.generate_content_stream(**given))

    with pytest.raises(errors.ClientError) as caught:
        ask(model="m", contents="Hi")
    assert (caught.value.code, caught.value.status, caught.value.message) == (kind.status, status, "No such thing.")


def test_a_filtered_reply_is_seen_as_such() -> None:
    server = Server(said(stop=Stop.FILTERED))
    response = server.client.models.generate_content(model="m", contents="Hi")
    assert response.text is None
    assert response.candidates[0].finish_reason is types.FinishReason.SAFETY


def test_the_path_is_the_sdks_but_for_its_version() -> None:
    server = Server(said(Text("x")), said(Text("x")))
    seen: list[str] = []
    answer = server.answer

    def watching(asked: httpx.Request) -> httpx.Response:
        seen.append(asked.url.raw_path.decode())
        return answer(asked)

    options = types.HttpOptions(
        base_url="http://gateway", api_version="v1beta", client_args={"transport": httpx.MockTransport(watching)}
    )
    client = genai.Client(api_key="secret", http_options=options)
    client.models.generate_content(model="gemini-3.1-pro", contents="Hi")
    list(client.models.generate_content_stream(model="gemini-3.1-pro", contents="Hi"))
    assert seen == [gemini.path("gemini-3.1-pro", stream=False), gemini.path("gemini-3.1-pro", stream=True)]
