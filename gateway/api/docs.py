"""The OpenAPI document of a router, and the routes that it is had from."""

from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Litestar, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from msgspec import Struct

from gateway import __version__
from gateway.api.docs_page import POLICY, page_of
from gateway.api.guard import KEY_HEADER

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
    schemas = document["components"].setdefault("schemas", {})
    _describe(schemas)
    schemas["Error"] = _ERROR
    examples = msgspec.json.decode(files("gateway.api").joinpath("examples.json").read_bytes())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            example = examples.get(f"{method.upper()} {path.removeprefix(router.path)}")
            if example is not None:
                _illustrate(operation, example)
            operation["responses"].update(_errors(method, path))
    return document


def _describe(schemas: Mapping[str, dict[str, Any]]) -> None:
    """What the structs of the API say of themselves."""
    for struct in _inheriting(Struct):
        schema = schemas.get(struct.__name__, {})
        ours = struct.__module__.startswith("gateway.api.") and schema.get("properties", {}).keys()
        if struct.__doc__ and ours == set(struct.__struct_fields__):
            schema.setdefault("description", " ".join(struct.__doc__.split()))


def _inheriting(kind: type[Struct]) -> Iterator[type[Struct]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from _inheriting(inner)


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
        page = "".join(page_of(document(), "openapi.json"))
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": POLICY})

    return [openapi, docs]
