"""`GET /v1/models` in the shape that the asking SDK reads (feature A6): only the headers tell them apart."""

from collections.abc import Iterable, Mapping

from gateway.routing.table import Table, may_use

Document = dict[str, object]

EPOCH = "1970-01-01T00:00:00Z"


def visible(table: Table, patterns: Iterable[str]) -> list[str]:
    """The models that a key may use, in the configured order; wildcards are not names."""
    patterns = tuple(patterns)
    return [name for name in table.names() if may_use(patterns, name)]


def shape_of(headers: Mapping[str, str], path: str) -> str:
    """Which vendor's SDK asks."""
    if path.startswith("/v1beta") or "x-goog-api-key" in headers:
        return "gemini"
    return "anthropic" if "anthropic-version" in headers else "openai"


def one(name: str, shape: str) -> Document:
    """One model."""
    match shape:
        case "gemini":
            methods = ["generateContent", "streamGenerateContent", "countTokens"]
            return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}
        case "anthropic":
            return {"type": "model", "id": name, "display_name": name, "created_at": EPOCH}
        case _:
            return {"id": name, "object": "model", "created": 0, "owned_by": "gateway"}


def listing(names: list[str], shape: str) -> Document:
    """All of them."""
    models = [one(name, shape) for name in names]
    match shape:
        case "gemini":
            return {"models": models}
        case "anthropic":
            ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
            return {"data": models, "has_more": False, **ends}
        case _:
            return {"object": "list", "data": models}
