"""What the demo provider's four wire formats share: reading dictionaries from a stranger, and frames of a stream."""

import json
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

from gateway.demo.mind import Answer, Ask

Body: TypeAlias = dict[str, Any]


class BadRequest(Exception):
    """The request cannot be understood; the message is for its sender."""


class Wire(Protocol):
    """One wire format. `answer_id` is unique per answer (hex), `now` is in Unix seconds."""

    def read(self, body: Body) -> Ask:
        """The request. Raises BadRequest."""

    def whole(self, ask: Ask, answer: Answer, answer_id: str, now: int) -> Body:
        """The whole reply."""

    def stream(self, ask: Ask, answer: Answer, answer_id: str, now: int) -> Iterator[bytes]:
        """The reply as frames of a stream, one for each piece that a model would send."""

    def error(self, status: int, message: str) -> Body:
        """An error."""


def items(value: object) -> list[Body]:
    """The objects of a list; anything else is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(content: object) -> str:
    """The text of a message's content: a string, or the texts of its parts."""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in items(content) if isinstance(part.get("text"), str))


def count(content: object, *kinds: str) -> int:
    """How many parts of these types there are."""
    return sum(part.get("type") in kinds for part in items(content))


def dumps(value: object) -> str:
    """JSON as the vendors write it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def frame(value: object, event: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {dumps(value)}\n\n".encode()


def halves(text: str) -> tuple[str, str]:
    """Tool arguments in two pieces, as models stream them."""
    middle = len(text) // 2
    return text[:middle], text[middle:]
