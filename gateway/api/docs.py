"""The OpenAPI document of a router, and a page that shows it without scripts or anything from elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Litestar, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from gateway import __version__
from gateway.api.guard import KEY_HEADER

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, .path { font-family: ui-monospace, monospace } article { border-top: 1px solid GrayText; padding: .5rem 0 }
pre { overflow: auto; padding: .6rem .8rem; border: 1px solid GrayText; border-radius: .4rem; max-height: 24rem }
summary { cursor: pointer }
table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; vertical-align: top } h2 { font-size: 1.1rem }
"""


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "examples": ["session_not_found"]},
                "message": {"type": "string", "examples": ["There is no such session."]},
                "owners": {
                    "type": "array",
                    "items": {"type": "object"},
                    "description": "With the code ambiguous_session: who has a session of this id.",
                },
            },
        }
    },
}
_FAILURES = {
    "400": "The request is wrong; the message says what.",
    "401": "The management key is missing or wrong.",
    "404": "There is no such thing.",
    "409": "It is in the way of another, or an id means several.",
    "413": "The body is too large.",
    "429": "This address is locked out.",
    "503": "The store is away, or sessions are off; see Retry-After.",
}


def document_of(router: Router, *, title: str, description: str) -> dict[str, Any]:
    """The OpenAPI document of everything in the router."""
    schemes = {
        "bearer": SecurityScheme(type="http", scheme="bearer", description="The management key."),
        "header": SecurityScheme(type="apiKey", name=KEY_HEADER, security_scheme_in="header"),
    }
    config = OpenAPIConfig(
        title=title,
        version=__version__,
        description=description,
        use_handler_docstrings=True,
        components=Components(security_schemes=schemes),  # type: ignore[arg-type]
        security=[{"bearer": []}, {"header": []}],
        path="/openapi-of-this-router",
    )
    document = Litestar([router], openapi_config=config, logging_config=None).openapi_schema.to_schema()
    document["components"].setdefault("schemas", {})["Error"] = _ERROR
    examples = msgspec.json.decode(files("gateway.api").joinpath("examples.json").read_bytes())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            example = examples.get(f"{method.upper()} {path.removeprefix(router.path)}")
            if example is not None:
                _illustrate(operation, example)
            operation["responses"].update(_errors(method, path))
    return document


def _illustrate(operation: dict[str, Any], example: Mapping[str, Any]) -> None:
    """A request that was answered, and its answer."""
    for parameter in operation.get("parameters", ()):
        name, place = parameter["name"], parameter["in"]
        if name in example.get(place, ()):
            parameter["example"] = example[place][name]
    said = [(operation.get("requestBody", {}), example["request"])]
    said += [(reply, example["response"]) for status, reply in operation["responses"].items() if status[0] == "2"]
    for body, value in said:
        for media in body.get("content", {}).values():
            media.get("schema", {}).pop("examples", None)
            media["example"] = value


def _errors(method: str, path: str) -> dict[str, Any]:
    """What every operation may answer beside what its handler says."""
    told = dict(_FAILURES)
    if "{" not in path:
        told.pop("404")
    if "{" not in path and method != "post":
        told.pop("409")
    schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": text, "content": schema} for status, text in told.items()}


def docs_routes(document: Callable[[], dict[str, Any]]) -> list[HTTPRouteHandler]:
    """Handlers for `/openapi.json` and `/docs`. The document is made when it is asked for."""

    @get("/openapi.json", include_in_schema=False, sync_to_thread=False, media_type="application/json")
    def openapi() -> dict[str, Any]:
        return document()

    @get("/docs", include_in_schema=False, sync_to_thread=False, media_type="text/html")
    def docs() -> Response[str]:
        page = "".join(_page(document(), "openapi.json"))
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    return [openapi, docs]


def _page(document: Mapping[str, Any], source: str) -> Iterator[str]:
    about = document["info"]
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(about['title'])}</title>"
    yield "<meta name=viewport content='width=device-width'>"
    yield f"<style>{_STYLE}</style><h1>{escape(about['title'])} {escape(about['version'])}</h1>"
    yield f"<p>{escape(about['description'])} The same for programs: <a href='{source}'>{source}</a>.</p>"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(method, path, operation)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<article><h2 class=path>{escape(method.upper())} {escape(path)}</h2>"
    yield f"<p>{escape(operation.get('description') or operation.get('summary') or '')}</p><table>"
    for parameter in operation.get("parameters", ()):
        yield f"<tr><td><code>{escape(parameter['name'])}</code><td>in the {escape(parameter['in'])}"
        yield f"<td>{escape(parameter.get('description', ''))}"
    for status, response in operation.get("responses", {}).items():
        yield f"<tr><td>{escape(str(status))}<td colspan=2>{escape(response.get('description', ''))}"
    yield "</table>"
    yield from _example("Request", operation.get("requestBody", {}))
    for status, response in operation.get("responses", {}).items():
        yield from _example(f"Answer {status}", response)
    yield "</article>"


def _example(title: str, body: Mapping[str, Any]) -> Iterator[str]:
    for media in body.get("content", {}).values():
        if media.get("example") is not None:
            value = media["example"]
            shown = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode()
            yield f"<details><summary>{escape(title)}</summary><pre>{escape(shown)}</pre></details>"
