"""A client that leaves a gateway process before the end of its quick turn is answered from the session next time."""

import json
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.chaos.cut_streams import CONFIG
from tests.processes import Running, provider, running, until
from tests.scripted import Say, Scripted

WAIT = 0.03
"""Seconds that the provider takes: so few that nobody listens meanwhile for the client to leave."""


def request_of(gateway: Running, text: str, *, stream: bool) -> bytes:
    host = urlsplit(gateway.url).netloc
    body = json.dumps({"model": "gpt", "stream": stream, "messages": [{"role": "user", "content": text}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}x-session-id: s\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def connected(gateway: Running) -> socket.socket:
    address = urlsplit(gateway.url)
    return socket.create_connection((address.hostname, address.port), timeout=10)


def ask_and_leave(gateway: Running, text: str, **how: Any) -> None:
    with connected(gateway) as client:
        client.sendall(request_of(gateway, text, **how))


def ask(gateway: Running, text: str, **how: Any) -> tuple[str, str]:
    """The session's state, and all of the answer."""
    with connected(gateway) as client:
        client.sendall(
            request_of(gateway, text, **how).replace(b"\r\nx-session", b"\r\nconnection: close\r\nx-session")
        )
        data = b""
        while more := client.recv(1 << 16):
            data += more
    head, _, body = data.decode().partition("\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    return fields["x-session-state"], body


def asked(scripted: Scripted) -> list[str]:
    return [seen.body["messages"][-1]["content"] for seen in scripted.seen]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_turn_whose_client_left_is_replayed(tmp_path: Path, *, stream: bool) -> None:
    with provider(lambda seen: Say(f"to {seen.body['messages'][-1]['content']}", wait=WAIT)) as (scripted, url):
        config = CONFIG.format(store="file", folder=tmp_path, redis="", url=url)
        with running(config) as gateway:
            assert ask(gateway, "a", stream=stream)[0] == "new"
            ask_and_leave(gateway, "b", stream=stream)
            until(lambda: asked(scripted) == ["a", "b"])
            time.sleep(WAIT * 10)
            state, body = ask(gateway, "b", stream=stream)
            assert state == "replayed"
            assert "b" in body
            assert asked(scripted) == ["a", "b"]
