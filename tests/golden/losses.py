"""What a conversation loses on its way through a dialect: the one table, and the same as code.

`python -m tests.golden.losses` writes docs/losses.md; `test_losses.py` holds both to what the dialects do.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from gateway.conversation import (
    AnyPart,
    Audio,
    Blob,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    merged,
)  # fmt: skip

PAGE = Path(__file__).parents[2] / "docs" / "losses.md"
CHAT, RESPONSES, ANTHROPIC, GEMINI = NAMES = ("openai_chat", "openai_responses", "anthropic", "gemini")

LOSSES: dict[str, tuple[dict[str, tuple[str, ...]], str]] = {
    "reasoning of others": (
        {CHAT: ("reasoning",), RESPONSES: ("reasoning", "content.reasoning"), ANTHROPIC: ("content.reasoning",),
         GEMINI: ("content.reasoning",)},
        "Thinking goes back only to the provider and model that made it, with its signature; elsewhere it is left out.",
    ),
    "failed tools": (
        {CHAT: ("tool_result.is_error",), RESPONSES: ("tool_result.is_error",)},
        "A tool result's mark that the tool failed; its text stays.",
    ),
    "refusals": ({ANTHROPIC: (), GEMINI: ()}, "A refusal becomes text."),
    "sound": ({RESPONSES: ("content.audio",), ANTHROPIC: ("content.audio",)}, "Sound is left out."),
    "names of files": ({GEMINI: ("content.file.name",)}, "A file's name is left out."),
    "detail of images": (
        {ANTHROPIC: ("content.image.detail",), GEMINI: ("content.image.detail",)},
        "OpenAI's detail of an image is left out.",
    ),
    "pictures in results": ({CHAT: (), GEMINI: ()}, "A picture in a tool's result follows it in the user's message."),
    "system text on the way": (
        {ANTHROPIC: (), GEMINI: ()},
        "A system message in mid-conversation becomes marked text in the user's message.",
    ),
}  # fmt: skip
"""Each loss: the dialects that have it, with the names by which it is told to the client; and what is lost."""

INTRO = """# What is lost in translation

Between two of the same dialect nothing is. Elsewhere a conversation survives but for what this table lists. The names
are those in the response header `X-Gateway-Dropped`; none means that the content stays in another form. Settings that a
provider does not have are told in the same header. Written by `python -m tests.golden.losses`, held by a property test.

"""


def page() -> str:
    """The table as it is published."""
    lines = [f"| | what is lost | {' | '.join(NAMES)} |", "| --- | --- | --- | --- | --- | --- |"]
    for title, (where, what) in LOSSES.items():
        cells = [", ".join(f"`{n}`" for n in where[d]) or "(no name)" if d in where else "" for d in NAMES]
        lines.append(f"| {title} | {what} | {' | '.join(cells)} |")
    return INTRO + "\n".join(lines) + "\n"


def told(dialect: str) -> set[str]:
    """The names by which losses in this dialect are told."""
    return {name for where, _ in LOSSES.values() for name in where.get(dialect, ())}


def essence(messages: Iterable[Message], dialect: str = "") -> list[Any]:
    """What a conversation says; with a dialect, what is left of it there."""
    said: list[Any] = []
    for message in merged(messages):
        role = "user" if message.role == "system" and _has("system text on the way", dialect) else message.role
        parts = [one for part in message.parts for one in _essence(part, dialect)]
        if said and said[-1][0] == role:
            said[-1][1].extend(parts)
        elif parts:
            said.append((role, parts))
    return [(role, _settled(parts)) for role, parts in said]


def _settled(parts: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Results in front, then what else was said, in order; calls behind it; neighbouring texts as one."""
    order = {"result": 0, "call": 2}
    out: list[tuple[Any, ...]] = []
    for part in sorted(parts, key=lambda part: order.get(part[0], 1)):
        if out and part[0] == out[-1][0] == "text":
            out[-1] = ("text", out[-1][1] + part[1])
        else:
            out.append(part)
    return out


def _has(loss: str, dialect: str) -> bool:
    return dialect in LOSSES[loss][0]


def _essence(part: AnyPart, dialect: str) -> list[tuple[Any, ...]]:  # noqa: PLR0911
    match part:
        case Text(text=text):
            return [("text", text)]
        case Refusal(text=text):
            return [("text" if _has("refusals", dialect) else "refusal", text)]
        case Reasoning():
            return []
        case Audio() if _has("sound", dialect):
            return []
        case File(name=name):
            return [("file", part.media_type, part.data or part.url, "" if _has("names of files", dialect) else name)]
        case Image(detail=detail):
            return [("image", part.data or part.url, "" if _has("detail of images", dialect) else detail)]
        case Blob():
            return [(type(part).__name__, part.data or part.url)]
        case ToolCall(id=id, name=name, arguments=arguments):
            return [("call", id, name, msgspec.json.decode(arguments))]
        case ToolResult():
            return _result(part, dialect)
    raise AssertionError(part)


def _result(part: ToolResult, dialect: str) -> list[tuple[Any, ...]]:
    text = "".join(inner.text for inner in part.content if isinstance(inner, Text))
    pictures = [one for inner in part.content if isinstance(inner, Image) for one in _essence(inner, dialect)]
    failed = part.is_error and not _has("failed tools", dialect)
    if _has("pictures in results", dialect):
        return [("result", part.call_id, text, failed, []), *pictures]
    return [("result", part.call_id, text, failed, pictures)]


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
