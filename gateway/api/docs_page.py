"""The OpenAPI document as a page for people: no scripts, and nothing from elsewhere."""

import re
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from shlex import quote
from typing import Any
from urllib.parse import urlencode

import msgspec

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def page_of(document: Mapping[str, Any], source: str) -> Iterator[str]:
    """The page, in pieces. `source` is where the document itself is."""
    about = document["info"]
    title, style = escape(about["title"]), files("gateway.api").joinpath("docs.css").read_text("utf-8")
    groups = _grouped(document["paths"])
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    yield f"<meta name=viewport content='width=device-width'><style>{style}</style>"
    yield f"<nav aria-label='Routes'><strong>{title}</strong>"
    for name, operations in groups.items():
        yield f"<h2>{escape(name.capitalize())}</h2><ul>"
        for path, method, _ in operations:
            named = f"{_verb(method)}<span class=path>{escape(_short(path))}</span>"
            yield f"<li><a href='#{_anchor(method, path)}'>{named}</a>"
        yield "</ul>"
    yield f"<h2>More</h2><ul><li><a href='#errors'>Errors</a><li><a href='{source}'>openapi.json</a></ul></nav>"
    yield f"<main><h1>{title} <small>{escape(about['version'])}</small></h1><p>{_said(about['description'])}</p>"
    for name, operations in groups.items():
        yield f"<h2>{escape(name.capitalize())}</h2>"
        for path, method, operation in operations:
            yield from _operation(document, path, method, operation)
    yield from _errors(groups)
    yield "</main>"


Operation = tuple[str, str, Mapping[str, Any]]


def _grouped(paths: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """Routes by their tag, shorter paths first."""
    found: dict[str, list[Operation]] = {}
    for path in sorted(paths):
        for method, operation in paths[path].items():
            found.setdefault(operation["tags"][0], []).append((path, method, operation))
    order = ("sessions", "keys", "providers", "configuration", "figures")
    return dict(sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def _operation(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<article id='{_anchor(method, path)}'><h3>{_verb(method)}<span class=path>{escape(path)}</span></h3>"
    yield f"<p>{_said(operation.get('description') or operation.get('summary') or '')}</p>"
    yield from _table("Parameters", [
        (each["name"], _type(document, each.get("schema", {})), each.get("description", ""))
        for each in operation.get("parameters", ()) if each["in"] != "header"
    ])  # fmt: skip
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(document, body.get("schema", {}))
        yield f"<h4>Body, {escape(media)}</h4>"
        if about := schema.get("description") or operation["requestBody"].get("description"):
            yield f"<p>{_said(about)}</p>"
        needed, members = schema.get("required", ()), schema.get("properties", {})
        yield from _table("", [
            (name if name in needed else f"{name}?", _type(document, inner), inner.get("description", ""))
            for name, inner in members.items()
        ])  # fmt: skip
    yield from _example(document, path, method, operation)
    yield "</article>"


def _example(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    for status, reply in operation["responses"].items():
        for body in reply.get("content", {}).values():
            if status[0] == "2" and "example" in body:
                asked = _command(path, method, operation)
                yield f"<details><summary>Example</summary><pre>{escape(asked)}</pre>"
                if about := _resolved(document, body.get("schema", {})).get("description"):
                    yield f"<p>{_said(about)}</p>"
                yield f"<pre>{escape(_shown(body['example']))}</pre></details>"


def _command(path: str, method: str, operation: Mapping[str, Any]) -> str:
    """The request that the example answers, for a shell."""
    given = {each["name"]: each for each in operation.get("parameters", ()) if "example" in each}
    path = re.sub(r"{(\w+)}", lambda match: str(given[match[1]]["example"]) if match[1] in given else match[0], path)
    query = {name: _plain(each["example"]) for name, each in given.items() if each["in"] == "query"}
    url = path + (f"?{urlencode(query)}" if query else "")
    lines = [f'curl -X {method.upper()} "$GATEWAY_URL{url}"', '-H "Authorization: Bearer $GATEWAY_MANAGEMENT_KEY"']
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        said = body.get("example")
        data = "@export.jsonl" if isinstance(said, str) else msgspec.json.encode(said).decode()
        lines += [f"-H 'Content-Type: {media}'", f"--data-binary {quote(data)}"]
    return " \\\n  ".join(lines)


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _errors(groups: Mapping[str, list[Operation]]) -> Iterator[str]:
    told = {
        status: reply["description"]
        for operations in groups.values() for _, _, operation in operations
        for status, reply in operation["responses"].items() if status[0] != "2"
    }  # fmt: skip
    yield '<h2 id=errors>Errors</h2><article><p>Every one is <code>{"error": {"code", "message"}}</code>.</p>'
    yield from _table("", [(status, "", text) for status, text in sorted(told.items())])
    yield "</article>"


def _table(title: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
    if not rows:
        return
    yield (f"<h4>{escape(title)}</h4>" if title else "") + "<table>"
    for name, kind, about in rows:
        yield f"<tr><td><code>{escape(name)}</code><td class=type>{escape(kind)}<td>{_said(about)}"
    yield "</table>"


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def _type(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    schema = _resolved(document, schema)
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if several := schema.get("oneOf") or schema.get("anyOf"):
        return " | ".join(dict.fromkeys(_type(document, one) for one in several if one.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of {_type(document, schema.get('items', {}))}"
    return str(schema.get("type", "anything"))


def _said(text: str) -> str:
    """Prose, its code set apart."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(" ".join(text.split())))


def _verb(method: str) -> str:
    return f"<span class='verb {escape(method)}'>{escape(method.upper())}</span>"


def _anchor(method: str, path: str) -> str:
    return f"{method}-" + re.sub(r"\W+", "-", _short(path)).strip("-")


def _short(path: str) -> str:
    return path.removeprefix("/v0/management")
