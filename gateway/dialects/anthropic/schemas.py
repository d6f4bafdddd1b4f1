"""JSON schemas: what a tool's must look like, and what structured output can be constrained to.

Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs (limitations of JSON schema).
"""

from typing import Any

import msgspec
from msgspec import Raw

from gateway.dialects.anthropic.wire import FIELDS, UNREADABLE, encode

_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_COMBINED = ("anyOf", "oneOf", "allOf")
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"},
)
_KEPT = frozenset({"$ref", "enum", "const", "title", "description", "default", "type", "required"})
_DROPPED = frozenset({"$schema", "$id", "additionalProperties", "$comment"})


def tool_schema(parameters: Raw) -> tuple[Raw, str]:
    """A tool's `input_schema`, which must be an object's, and the keyword it lost or ""; untouched where it can be."""
    try:
        members = FIELDS.decode(parameters) if bytes(parameters) else {}
    except UNREADABLE:
        members = {}
    if not members:
        return _NO_PARAMETERS, ""
    combined = next((word for word in _COMBINED if word in members), "")
    if not combined and bytes(members.get("type", b"")) == b'"object"':
        return parameters, ""
    kept = {word: value for word, value in members.items() if word not in (*_COMBINED, "type")}
    return Raw(encode({"type": "object", **kept})), combined


class CannotSay(Exception):
    """The schema has something that constrained output has not."""


def output_schema(schema: Raw) -> Raw | None:
    """A schema that output can be constrained to, or None if this one cannot be said so.

    Objects are closed, as the vendor demands. Limits that it refuses (lengths, ranges, patterns) move into the
    description, where the model at least reads them.
    """
    try:
        return Raw(encode(_closed(msgspec.json.decode(schema))))
    except (CannotSay, *UNREADABLE):
        return None


def _closed(schema: object) -> dict[str, Any]:
    if not isinstance(schema, dict) or not schema:
        raise CannotSay
    closed: dict[str, Any] = {}
    hints: dict[str, Any] = {}
    for word, value in schema.items():
        _place(word, value, closed, hints)
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema:
        if not schema.get("properties") and schema.get("additionalProperties", True) is not False:
            raise CannotSay  # a free map: closed, it could only be empty
        closed["additionalProperties"] = False
    if hints:
        note = ", ".join(f"{word}: {encode(value).decode()}" for word, value in hints.items())
        before = closed.get("description")
        closed["description"] = f"{before} ({note})" if isinstance(before, str) else f"({note})"
    return closed


def _place(word: str, value: object, closed: dict[str, Any], hints: dict[str, Any]) -> None:
    match word:
        case "properties" | "$defs" | "definitions" if isinstance(value, dict):
            closed[word] = {name: _closed(inner) for name, inner in value.items()}
        case "items":
            closed[word] = _closed(value)
        case "anyOf" | "oneOf" if isinstance(value, list):
            closed["anyOf"] = [_closed(inner) for inner in value]
        case "allOf" if isinstance(value, list):
            closed[word] = [_closed(inner) for inner in value]
        case "minItems" if value in (0, 1):
            closed[word] = value
        case "format" if value in _FORMATS:
            closed[word] = value
        case _ if word in _KEPT:
            closed[word] = value
        case _ if word not in _DROPPED:
            hints[word] = value
