"""One way to speak to the gateway for each client dialect, and to read what comes back, whole or streamed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from tests.harness import Harness

Turns = Sequence[tuple[str, str]]
"""Who says what: `user` or `assistant`, and a text."""


class Dialect(Protocol):
    """How a client of one vendor says things."""

    def request(self, model: str, said: Turns, *, stream: bool, system: str, tool: str) -> tuple[str, dict[str, Any]]:
        """A path and a body."""

    def result(self, call: str, text: str) -> dict[str, Any]:
        """What a tool answered, as a message."""

    def put(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        """These in the place of the request's messages."""

    def read(self, data: dict[str, Any]) -> str:
        """The text in a whole reply, or in one event of a stream."""


class Chat:
    def request(self, model: str, said: Turns, *, stream: bool, system: str, tool: str) -> tuple[str, dict[str, Any]]:
        messages = [{"role": "system", "content": system}] if system else []
        messages += [{"role": role, "content": text} for role, text in said]
        body: dict[str, Any] = {"model": model, "messages": messages, "stream": stream}
        if tool:
            body["tools"] = [{"type": "function", "function": {"name": tool, "parameters": {"type": "object"}}}]
        return "/v1/chat/completions", body

    def result(self, call: str, text: str) -> dict[str, Any]:
        return {"role": "tool", "tool_call_id": call, "content": text}

    def put(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        body["messages"] = messages

    def read(self, data: dict[str, Any]) -> str:
        choice = (data.get("choices") or [{}])[0]
        return (choice.get("message") or choice.get("delta") or {}).get("content") or ""


class Claude:
    def request(self, model: str, said: Turns, *, stream: bool, system: str, tool: str) -> tuple[str, dict[str, Any]]:
        messages = [{"role": role, "content": text} for role, text in said]
        body: dict[str, Any] = {"model": model, "max_tokens": 64, "messages": messages, "stream": stream}
        if system:
            body["system"] = system
        if tool:
            body["tools"] = [{"name": tool, "input_schema": {"type": "object"}}]
        return "/v1/messages", body

    def result(self, call: str, text: str) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": text}]}

    def put(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        body["messages"] = messages

    def read(self, data: dict[str, Any]) -> str:
        if "content" in data:
            return "".join(block.get("text", "") for block in data["content"])
        return data.get("delta", {}).get("text", "")


class Responses:
    def request(self, model: str, said: Turns, *, stream: bool, system: str, tool: str) -> tuple[str, dict[str, Any]]:
        items = [{"role": role, "content": text} for role, text in said]
        body: dict[str, Any] = {"model": model, "input": items, "stream": stream}
        if system:
            body["instructions"] = system
        if tool:
            body["tools"] = [{"type": "function", "name": tool, "parameters": {"type": "object"}, "strict": False}]
        return "/v1/responses", body

    def result(self, call: str, text: str) -> dict[str, Any]:
        return {"type": "function_call_output", "call_id": call, "output": text}

    def put(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        body["input"] = messages

    def read(self, data: dict[str, Any]) -> str:
        if data.get("type") == "response.output_text.delta":
            return str(data["delta"])
        parts = [part for item in data.get("output", []) for part in item.get("content", [])]
        return "".join(part.get("text", "") for part in parts)


class Google:
    def request(self, model: str, said: Turns, *, stream: bool, system: str, tool: str) -> tuple[str, dict[str, Any]]:
        roles = {"user": "user", "assistant": "model"}
        body: dict[str, Any] = {"contents": [{"role": roles[role], "parts": [{"text": text}]} for role, text in said]}
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if tool:
            body["tools"] = [{"functionDeclarations": [{"name": tool}]}]
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{method}", body

    def result(self, call: str, text: str) -> dict[str, Any]:
        response = {"id": call, "name": "look", "response": {"result": text}}
        return {"role": "user", "parts": [{"functionResponse": response}]}

    def put(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        body["contents"] = messages

    def read(self, data: dict[str, Any]) -> str:
        parts = [part for one in data.get("candidates", []) for part in one.get("content", {}).get("parts", [])]
        return "".join(part.get("text", "") for part in parts)


CLIENTS: dict[str, Dialect] = {"chat": Chat(), "claude": Claude(), "responses": Responses(), "google": Google()}
"""By the provider of the same dialect."""


@dataclass
class Voice:
    """A client of one dialect that asks one provider, whole or streamed."""

    gw: Harness
    client: str
    provider: str
    stream: bool

    async def ask(self, *said: str, session: str = "s", system: str = "", tool: str = "", **headers: str) -> "Heard":
        """Say this; what was said before is given in turns, beginning with the user's."""
        turns = [("assistant" if place % 2 else "user", text) for place, text in enumerate(said)]
        path, body = self._request(turns, system=system, tool=tool)
        return await self._post(path, body, session, headers)

    async def answer(self, call: str, text: str, session: str = "s", **headers: str) -> "Heard":
        """Send what a tool answered, and nothing else."""
        path, body = self._request([], system="", tool="")
        CLIENTS[self.client].put(body, [CLIENTS[self.client].result(call, text)])
        return await self._post(path, body, session, headers)

    def _request(self, said: Turns, *, system: str, tool: str) -> tuple[str, dict[str, Any]]:
        model = f"m-{self.provider}"
        return CLIENTS[self.client].request(model, said, stream=self.stream, system=system, tool=tool)

    async def _post(self, path: str, body: dict[str, Any], session: str, headers: dict[str, str]) -> "Heard":
        named = {"x_session_id": session, **headers} if session else headers
        return Heard(self, await self.gw.post(path, body, **named))

    @property
    def asked(self) -> int:
        """How often the provider was asked."""
        return len(self.gw.providers[self.provider].seen)

    @property
    def told(self) -> list[str]:
        """The conversation in the provider's newest request: one letter of the role and a text each."""
        return conversation(self.gw.sent(self.provider))

    async def kept(self, session: str = "s") -> list[bool]:
        """The stored turns, each by whether it is complete."""
        turns = await self.gw.store.turns(self.gw.key(session), first=1, count=99)
        return [not turns[number].incomplete for number in sorted(turns)]


@dataclass
class Heard:
    """What came back."""

    voice: Voice
    answer: httpx.Response

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def state(self) -> str:
        return self.answer.headers.get("x-session-state", "")

    @property
    def history(self) -> str:
        return self.answer.headers.get("x-session-history", "")

    @property
    def text(self) -> str:
        """The reply's."""
        read = CLIENTS[self.voice.client].read
        if not self.voice.stream or self.status != 200:
            return read(self.answer.json())
        lines = self.answer.text.splitlines()
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
        return "".join(read(json.loads(one)) for one in data)


def conversation(body: dict[str, Any]) -> list[str]:
    """The conversation in a request of any dialect. Calls are `c:` and their tool, results `r:` and their text."""
    found = [f"s:{text}" for name in ("system", "instructions", "systemInstruction") if (text := _text(body.get(name)))]
    for message in body.get("messages") or body.get("contents") or body.get("input") or []:
        found += _said(message)
    return found


def _said(message: dict[str, Any]) -> list[str]:
    kind, role = message.get("type"), message.get("role", "")
    if kind == "function_call":
        return [f"c:{message['name']}"]
    if kind == "function_call_output":
        return [f"r:{_text(message['output'])}"]
    if role == "tool":
        return [f"r:{_text(message['content'])}"]
    calls = [f"c:{call['function']['name']}" for call in message.get("tool_calls") or []]
    content = message.get("content") or message.get("parts") or ""
    for part in content if isinstance(content, list) else []:
        if part.get("type") == "tool_use" or "functionCall" in part:
            calls.append(f"c:{part.get('name') or part['functionCall']['name']}")
        elif part.get("type") == "tool_result":
            calls.append(f"r:{_text(part['content'])}")
        elif "functionResponse" in part:
            calls.append(f"r:{next(iter(part['functionResponse']['response'].values()))}")
    text = _text(content)
    letter = {"model": "a", "developer": "s"}.get(role, role[:1])
    return ([f"{letter}:{text}"] if text else []) + calls


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content.get("parts", []) if isinstance(content, dict) else content or []
    return "".join(part.get("text", "") for part in parts)
