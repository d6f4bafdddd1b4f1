"""JSON schemas, both ways.

Gemini takes tools' parameters in two members: `parameters`, an OpenAPI subset that refuses a request for any keyword
it does not know, and `parametersJsonSchema`, which takes JSON Schema and passes over what it does not support. The
second one keeps more, so it is what we send; the same holds for `responseSchema` and `responseJsonSchema`.
Sources: https://ai.google.dev/api/caching#FunctionDeclaration and https://ai.google.dev/api/caching#Schema
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from gateway.dialects.gemini.wire import BROKEN, ENCODER, camel

Node: TypeAlias = dict[str, Any]

MAX_DEPTH = 64
_ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def _decode(schema: Raw | bytes) -> Node | None:
    try:
        found = msgspec.json.decode(schema)
    except BROKEN:
        return None
    return found if isinstance(found, dict) else None


def _below(node: Node, change: Callable[[Any], Any]) -> Node:
    """The same node with `change` made to each schema directly under it."""
    result = dict(node)
    for name, below in node.items():
        if name in _ONE and isinstance(below, dict):
            result[name] = change(below)
        elif name in _LISTS and isinstance(below, list):
            result[name] = [change(each) for each in below]
        elif name in _MAPS and isinstance(below, dict):
            result[name] = {key: change(each) for key, each in below.items()}
    return result


# ---------------------------------------------------------------- from Gemini


def to_json_schema(schema: Raw) -> Raw:
    """Gemini's own Schema as JSON Schema: types in lower case, `nullable` as the type null, counts as numbers."""
    node = _decode(schema)
    if node is None:
        return schema
    changed = _plain(node, 0)
    return schema if changed == node else Raw(ENCODER.encode(changed))


def _plain(given: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON
    if not isinstance(given, dict) or depth > MAX_DEPTH:
        return given
    node: Node = {_RENAMED.get(camel(name), camel(name)): below for name, below in given.items()}
    if isinstance(node.get("type"), str):
        node["type"] = node["type"].lower()
    for name in _COUNTS:
        if isinstance(node.get(name), str) and node[name].isdecimal():
            node[name] = int(node[name])
    if node.get("format") == "enum":
        del node["format"]
    if isinstance(node.get("$ref"), str):
        node["$ref"] = node["$ref"].replace("#/defs/", "#/$defs/")
    _order(node)
    return _nullable(_below(node, lambda below: _plain(below, depth + 1)))


def _order(node: Node) -> None:
    order, properties = node.pop("propertyOrdering", None), node.get("properties")
    if isinstance(order, list) and isinstance(properties, dict):
        first = {name: properties[name] for name in order if isinstance(name, str) and name in properties}
        node["properties"] = first | properties


def _nullable(node: Node) -> Node:
    if node.pop("nullable", None) is not True:
        return node
    if isinstance(node.get("type"), str):
        node["type"] = [node["type"], "null"]
    if isinstance(node.get("anyOf"), list):
        node["anyOf"] = [*node["anyOf"], {"type": "null"}]
    if isinstance(node.get("enum"), list):
        node["enum"] = [*node["enum"], None]
    return node


_RENAMED = {"defs": "$defs", "ref": "$ref"}


# ---------------------------------------------------------------- to Gemini


def for_gemini(schema: Raw) -> Raw | None:
    """A JSON schema as Gemini takes it, None where it says nothing.

    `$schema` goes. `definitions` become `$defs`. A `$ref` must stand alone: where it has neighbours, what it points to
    takes its place. A root without a type is an object's.
    """
    node = _decode(schema)
    if not node:
        return None
    changed = _Cleaner(node).clean()
    return schema if changed == node else Raw(ENCODER.encode(changed))


class _Cleaner:
    def __init__(self, root: Node) -> None:
        self._root = root

    def clean(self) -> Node:
        node: Node = self._node(self._root, ())
        node.pop("$schema", None)
        if not {"type", "$ref", "anyOf", "oneOf", "allOf"} & node.keys():
            node = {"type": "object", **node}
        return node

    def _node(self, node: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - any JSON
        if not isinstance(node, dict) or len(path) > MAX_DEPTH:
            return node
        ref = node.get("$ref")
        if isinstance(ref, str) and any(not name.startswith("$") for name in node):
            node, ref = self._alone(node, ref, path)
        result = _below(node, lambda below: self._node(below, (*path, ref if isinstance(ref, str) else "")))
        if "definitions" in result:
            result = {("$defs" if name == "definitions" else name): below for name, below in result.items()}
        if isinstance(result.get("$ref"), str):
            result["$ref"] = result["$ref"].replace("#/definitions/", "#/$defs/")
        return result

    def _alone(self, node: Node, ref: str, path: tuple[str, ...]) -> tuple[Node, str]:
        target = self._find(ref)
        if target is None or ref in path or "$ref" in target:  # unknown or endless: the reference counts, not its notes
            return {name: below for name, below in node.items() if name.startswith("$")}, ref
        return target | {name: below for name, below in node.items() if name != "$ref"}, ref

    def _find(self, ref: str) -> Node | None:
        found: Any = self._root
        for step in ref.removeprefix("#/").split("/"):
            found = found.get(step) if isinstance(found, dict) else None
        return found if isinstance(found, dict) and ref.startswith("#/") else None
