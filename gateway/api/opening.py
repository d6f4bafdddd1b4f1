"""What a conversation began with: by that alone some coding agents can be recognised, which name no session.

Gemini CLI, qwen-code, aider and others send their whole history each time, so its beginning names it. That is good
enough for affinity, never for a history: two conversations may begin alike.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Raw

MOST_MESSAGES: Final = 8
MOST_CHARACTERS: Final = 16_384
_LISTS: Final = ("messages", "contents", "input")
_ITEMS: Final = msgspec.json.Decoder(list[Raw])


def opening(fields: Mapping[str, Raw]) -> str:
    """A digest of the text before the first reply, "" if there is none. Roles other than the user's are left out.

    Only text counts: cache marks and signatures of the first message change while a conversation goes on.
    """
    digest, size = sha256(), 0
    try:
        for text in _before_reply(next((fields[name] for name in _LISTS if name in fields), Raw(b"[]"))):
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
            size += len(text)
            if size > MOST_CHARACTERS:
                break
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a text, or nothing that a dialect knows
        return ""
    return digest.hexdigest()[:32] if size else ""


def _before_reply(messages: Raw) -> Iterator[str]:
    for raw in _ITEMS.decode(messages)[:MOST_MESSAGES]:
        item = msgspec.json.decode(raw)
        if not isinstance(item, dict):
            return
        if item.get("role") in ("system", "developer"):
            continue
        if item.get("role", "user") != "user" or item.get("type", "message") != "message":
            return
        yield from _texts(item.get("content", item.get("parts")))


def _texts(content: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(text := part.get("text"), str):
                yield text
