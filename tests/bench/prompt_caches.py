"""How much of their input do sessions of 20 turns find in the providers' prompt caches?

    python tests/bench/prompt_caches.py --sessions 10 --turns 20

Three ways of keeping a conversation, over two accounts of one vendor: this gateway with X-Session-ID; a client that
resends its history through a round-robin gateway; one that stays with one account, and trims a message at a time when
the window is full. The vendors count as they say they do: OpenAI from 1,024 tokens on in steps of 128, for each account
[1]; Anthropic at marked blocks, from 1,024 tokens on, looking back at most 20 blocks [2]. A token is four bytes here.

[1] https://platform.openai.com/docs/guides/prompt-caching
[2] https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""

import argparse
import asyncio
import json
import tempfile
from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from gateway.app import create_app
from gateway.config import parse
from gateway.sessions.file.store import FileStore

LEAST, STEP, LOOK_BACK, MARKS = 1024, 128, 20, 4
WINDOW = 6000
"""Tokens of a prompt: a session of 20 turns is longer."""
SHARE_KEPT = 0.75
SYSTEM, QUESTION, REPLY = 400, 150, 300
"""Tokens."""


class Vendor(httpx.AsyncBaseTransport):
    """Both vendors. `input` and `cached` are the tokens of all requests so far."""

    def __init__(self) -> None:
        self.input = self.cached = 0
        self.bodies: list[dict[str, Any]] = []
        self._kept: dict[str, set[bytes]] = defaultdict(set)
        self._random = Random(7)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = request.headers
        account = headers.get("authorization") or headers["x-api-key"]
        return httpx.Response(200, json=self.answer(account, json.loads(request.content)))

    def answer(self, account: str, body: dict[str, Any]) -> dict[str, Any]:
        """A reply, with what it cost."""
        self.bodies.append(body)
        words = text(self._random, REPLY)
        if "max_tokens" in body:
            whole, cached = self._anthropic(account, body)
            usage = {
                "input_tokens": whole - cached, "cache_read_input_tokens": cached, "output_tokens": REPLY,
            }  # fmt: skip
            reply: dict[str, Any] = {
                "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"],
                "content": [{"type": "text", "text": words}], "stop_reason": "end_turn", "usage": usage,
            }  # fmt: skip
        else:
            whole, cached = self._openai(account, body)
            usage = {
                "prompt_tokens": whole, "completion_tokens": REPLY, "total_tokens": whole + REPLY,
                "prompt_tokens_details": {"cached_tokens": cached},
            }  # fmt: skip
            message = {"role": "assistant", "content": words}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            reply = {
                "id": "1", "object": "chat.completion", "created": 1, "model": body["model"],
                "choices": [choice], "usage": usage,
            }  # fmt: skip
        self.input += whole
        self.cached += cached
        return reply

    def _openai(self, account: str, body: dict[str, Any]) -> tuple[int, int]:
        whole = b"".join(encoded(message) for message in body["messages"])
        tokens, cached, kept = len(whole) // 4, 0, self._kept[account]
        for end in range(STEP, tokens + 1, STEP):
            prefix = sha256(whole[: end * 4]).digest()
            if prefix in kept and cached == end - STEP:
                cached = end
            kept.add(prefix)
        return tokens, cached if cached >= LEAST else 0

    def _anthropic(self, account: str, body: dict[str, Any]) -> tuple[int, int]:
        blocks, marked = blocks_of(body)
        assert len(marked) <= MARKS, "a maximum of 4 blocks with cache_control may be provided"
        sizes, digests, running = [], [], b""
        for block in blocks:
            running += block
            sizes.append(len(running) // 4)
            digests.append(sha256(running).digest())
        kept, cached = self._kept[account], 0
        for mark in marked:
            for place in range(mark, max(mark - LOOK_BACK, -1), -1):
                if digests[place] in kept:
                    cached = max(cached, sizes[place])
                    break
        kept.update(digests[mark] for mark in marked if sizes[mark] >= LEAST)
        return sizes[-1], cached


def blocks_of(body: dict[str, Any]) -> tuple[list[bytes], list[int]]:
    """Every block, in the order of the vendor's prompt, and which of them are marked."""
    blocks, marked = [], []
    for name, content in (("system", body.get("system", "")), *((m["role"], m["content"]) for m in body["messages"])):
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            plain = {member: value for member, value in block.items() if member != "cache_control"}
            if len(plain) < len(block):
                marked.append(len(blocks))
            blocks.append(name.encode() + encoded(plain))
    if "cache_control" in body:
        marked.append(len(blocks) - 1)
    return blocks, marked


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def text(random: Random, tokens: int) -> str:
    return " ".join(f"{random.randrange(1000):03d}" for _ in range(tokens))


# ---------------------------------------------------------------- three ways


CONFIG = """
providers:
  openai: {kind: openai, base_url: "http://openai/v1", keys: [account-1, account-2]}
  claude: {kind: anthropic, base_url: "http://claude", keys: [account-1, account-2]}
models:
  openai: {context_tokens: WINDOW, targets: [{provider: openai, model: gpt-5}]}
  anthropic: {context_tokens: WINDOW, targets: [{provider: claude, model: claude-sonnet-4-5}]}
""".replace("WINDOW", str(WINDOW))


def request(kind: str, model: str, system: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    if kind == "anthropic":
        return {"model": model, "max_tokens": 1000, "system": system, "messages": messages}
    return {"model": model, "messages": [{"role": "system", "content": system}, *messages]}


async def with_sessions(kind: str, sessions: int, turns: int) -> Vendor:
    """This gateway: each client sends its newest message."""
    vendor, random = Vendor(), Random(1)
    path = "/v1/messages" if kind == "anthropic" else "/v1/chat/completions"
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(str(Path(folder, "sessions")))
        app = create_app(
            parse(CONFIG, {}), sessions=store, transport=vendor, registry=CollectorRegistry(), finished=lambda _: None
        )
        wires = httpx.ASGITransport(app)
        async with app.lifespan(), httpx.AsyncClient(transport=wires, base_url="http://127.0.0.1") as http:
            for turn in range(turns):
                for session in range(sessions):
                    question = {"role": "user", "content": text(random, QUESTION)}
                    body = request(kind, kind, f"{session} {text(Random(session), SYSTEM)}", [question])
                    answer = await http.post(path, json=body, headers={"x-session-id": f"s{session}"})
                    assert answer.status_code == 200, answer.text
                    assert answer.headers["x-session-turn"] == str(turn + 1)
    return vendor


def resending(kind: str, sessions: int, turns: int, *, sticky: bool, by_message: bool) -> Vendor:
    """Clients that keep their history, straight at the vendor; all of them mark the end for Anthropic."""
    vendor, random, count = Vendor(), Random(1), 0
    histories: dict[int, list[dict[str, str]]] = defaultdict(list)
    for _ in range(turns):
        for session in range(sessions):
            messages = histories[session]
            messages.append({"role": "user", "content": text(random, QUESTION)})
            trim(messages, by_message=by_message)
            body = request(kind, "model", f"{session} {text(Random(session), SYSTEM)}", messages)
            if kind == "anthropic":
                body["cache_control"] = {"type": "ephemeral"}
            count += 1
            reply = vendor.answer(f"account-{(session if sticky else count) % 2}", body)
            said = reply["content"][0]["text"] if kind == "anthropic" else reply["choices"][0]["message"]["content"]
            messages.append({"role": "assistant", "content": said})
    return vendor


def trim(messages: list[dict[str, str]], *, by_message: bool) -> None:
    """Into the window: down to it a message at a time, or down to a share of it a turn at a time."""
    size = SYSTEM + sum(len(encoded(message)) // 4 for message in messages)
    if size <= WINDOW:
        return
    limit, step = (WINDOW, 1) if by_message else (WINDOW * SHARE_KEPT, 2)
    while size > limit and len(messages) > step:
        size -= sum(len(encoded(message)) // 4 for message in messages[:step])
        del messages[:step]


async def measure(kind: str, sessions: int, turns: int) -> dict[str, float]:
    """The share of input tokens that was served from a cache, for each way."""
    vendors = {
        "this gateway": await with_sessions(kind, sessions, turns),
        "round robin": resending(kind, sessions, turns, sticky=False, by_message=False),
        "one account, a message at a time": resending(kind, sessions, turns, sticky=True, by_message=True),
    }
    return {way: vendor.cached / vendor.input for way, vendor in vendors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Shares of input tokens served from prompt caches.")
    parser.add_argument("--sessions", type=int, default=9, help="an odd number, so that round robin changes accounts")
    parser.add_argument("--turns", type=int, default=20)
    args = parser.parse_args()
    for kind in ("openai", "anthropic"):
        for way, share in asyncio.run(measure(kind, args.sessions, args.turns)).items():
            print(f"{kind:<10} {way:<34} {share:6.1%}")  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
