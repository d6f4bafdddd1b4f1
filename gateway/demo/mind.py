"""What the demo provider says: a pure function of what it is sent, so that memory can be seen.

It knows nothing between requests. If it knows a name, the name was in the messages it was given.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct

Schema: TypeAlias = Mapping[str, Any]

_NAME = re.compile(r"\bmy name is (\w[\w'-]*)", re.IGNORECASE)
_ASKS_NAME = re.compile(r"\bwhat(?:.s| is) my name\b", re.IGNORECASE)
_ASKS_FIRST = re.compile(r"\bwhat did i (?:say|ask|write) first\b", re.IGNORECASE)
_ASKS_COUNT = re.compile(r"\bhow many messages have i sent\b", re.IGNORECASE)
_PLACE = re.compile(r"\bin ([A-Z]\w+(?: [A-Z]\w+)*)")
_WORD = re.compile(r"\s*\S+\s*")
_CACHE_STEP = 128
_CACHE_MINIMUM = 1024
_IMAGE_TOKENS = 85
_DEEPEST = 8

ANY_OBJECT: Schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
"""Stands in where a caller wants JSON and says no more."""


class Heard(Struct, frozen=True):
    """One message as the demo provider sees it; `results` are what tools answered."""

    role: str
    text: str = ""
    images: int = 0
    results: tuple[str, ...] = ()


class Offered(Struct, frozen=True):
    """A tool the caller offers."""

    name: str
    schema: Schema


class Ask(Struct, frozen=True, kw_only=True):
    """A request, whatever its wire format. `choice` is auto, none, required or a tool's name.

    `schema` is what a structured answer has to fit, None for a plain one. `usage`: a stream ends with the counts.
    """

    model: str
    stream: bool
    heard: tuple[Heard, ...]
    system: str = ""
    tools: tuple[Offered, ...] = ()
    choice: str = "auto"
    schema: Schema | None = None
    usage: bool = True


class Answer(Struct, frozen=True, kw_only=True):
    """Text, or a call of the tool named `tool`. Tokens: `cached` is the part of `input` that was seen before."""

    text: str = ""
    tool: str = ""
    arguments: str = ""
    input: int = 0
    cached: int = 0
    output: int = 0


def answer(ask: Ask) -> Answer:
    """The answer to a request; the same request gets the same answer."""
    tool = _tool_to_call(ask)
    newest = ask.heard[-1] if ask.heard else Heard("user")
    if tool is not None:
        arguments = json.dumps(fitting(tool.schema, newest.text), ensure_ascii=False)
        given = Answer(tool=tool.name, arguments=arguments)
    elif ask.schema is not None:
        given = Answer(text=json.dumps(fitting(ask.schema, newest.text), ensure_ascii=False))
    else:
        given = Answer(text=_say(ask.heard[:-1], newest))
    before = tokens(ask.system) + sum(map(_weight, ask.heard[:-1]))
    before += sum(tokens(json.dumps(tool.schema)) for tool in ask.tools)
    return Answer(
        text=given.text,
        tool=given.tool,
        arguments=given.arguments,
        input=before + _weight(newest),
        cached=before // _CACHE_STEP * _CACHE_STEP if before >= _CACHE_MINIMUM else 0,
        output=tokens(given.text) + tokens(given.tool) + tokens(given.arguments) + 1,
    )


def words(text: str) -> list[str]:
    """The text in the pieces that a stream sends; joined they are the text."""
    return _WORD.findall(text) or ([text] if text else [])


def tokens(text: str) -> int:
    """About as many tokens as a real model would count."""
    return -(-len(text) // 4)


def fitting(schema: Schema, text: str = "") -> Any:  # noqa: ANN401 - JSON is anything
    """A value that fits a JSON schema; a place named in `text` is used for the first plain string."""
    place = _PLACE.search(text)
    return _fit(schema, schema, place[1] if place else "example", 0)


def _weight(heard: Heard) -> int:
    return 4 + tokens(heard.text) + sum(map(tokens, heard.results)) + _IMAGE_TOKENS * heard.images


def _tool_to_call(ask: Ask) -> Offered | None:
    if not ask.tools or ask.choice == "none" or not ask.heard or ask.heard[-1].results:
        return None
    text = ask.heard[-1].text.lower()
    for tool in ask.tools:
        if ask.choice == tool.name or tool.name.lower() in text or tool.name.lower().replace("_", " ") in text:
            return tool
    return ask.tools[0] if ask.choice == "required" or "weather" in text else None


def _say(earlier: tuple[Heard, ...], newest: Heard) -> str:
    if newest.results:
        return f"The tool says: {' and '.join(newest.results)}"
    known = _from_memory((*earlier, newest), newest.text)
    if known:
        return known
    pictures = f"I see {_count(newest.images, 'image')} in your message. " if newest.images else ""
    name = _NAME.search(newest.text)
    said = f"Nice to meet you, {name[1]}." if name else f'You said: "{newest.text}".' if newest.text else "Hello."
    seen = f"I see {_count(len(earlier), 'earlier message')}." if earlier else "I see no earlier messages."
    return f"{pictures}{said} {seen}"


def _from_memory(heard: tuple[Heard, ...], question: str) -> str:
    mine = [message for message in heard if message.role == "user" and not message.results]
    if _ASKS_NAME.search(question):
        names = [name[1] for message in mine if (name := _NAME.search(message.text))]
        return f"Your name is {names[-1]}." if names else "You have not told me your name."
    if _ASKS_FIRST.search(question):
        return f'You said first: "{mine[0].text}"'
    if _ASKS_COUNT.search(question):
        return f"You have sent {_count(len(mine), 'message')}."
    return ""


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _fit(schema: Any, root: Schema, word: str, depth: int) -> Any:  # noqa: ANN401 - JSON is anything
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    if isinstance(reference := schema.get("$ref"), str):
        return _fit(_resolve(reference, root), root, word, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if choices := schema.get("enum"):
        return choices[0]
    for key in ("anyOf", "oneOf", "allOf"):
        if choices := schema.get(key):
            return _fit(choices[0], root, word, depth + 1)
    return _fit_type(schema, root, word, depth)


def _fit_type(schema: Schema, root: Schema, word: str, depth: int) -> Any:  # noqa: ANN401 - JSON is anything
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match str(kind[0] if isinstance(kind, list) else kind).lower():
        case "object":
            properties = schema.get("properties", {})
            wanted = schema.get("required", properties)
            return {name: _fit(properties.get(name, {}), root, word, depth + 1) for name in wanted}
        case "array":
            item = schema.get("items", {})
            return [_fit(item, root, word, depth + 1) for _ in range(max(1, schema.get("minItems", 1)))]
        case "integer" | "number":
            return schema.get("minimum", min(1, schema.get("maximum", 1)))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return word


def _resolve(reference: str, root: Schema) -> Any:  # noqa: ANN401 - JSON is anything
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found
