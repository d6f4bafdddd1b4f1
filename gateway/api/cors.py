"""Browsers: which pages may call the data plane, as the Fetch standard has it (feature F7).

Source: https://fetch.spec.whatwg.org/#http-cors-protocol. Management and probes are for no page but their own.
"""

from collections.abc import Mapping, Sequence

from litestar.types import Send

EXPOSED = (
    "x-request-id, x-session-id, x-session-state, x-session-history, x-session-turn, x-gateway-provider, "
    "x-gateway-attempts, x-gateway-dropped, retry-after"
)
METHODS = "GET, HEAD, POST, DELETE, OPTIONS"
MAX_AGE = "600"


def allowed_origin(headers: Mapping[str, str], allowed: Sequence[str]) -> str:
    """The page's origin if it is on the list, else ""."""
    origin = headers.get("origin", "")
    return origin if origin and (origin in allowed or "*" in allowed) else ""


def shared_with(headers: Mapping[str, str], allowed: Sequence[str]) -> list[tuple[str, str]]:
    """What a response says to the page that asked; nothing where there is no list."""
    if not allowed:
        return []
    origin = allowed_origin(headers, allowed)
    if not origin:
        return [("vary", "origin")]
    return [("access-control-allow-origin", origin), ("access-control-expose-headers", EXPOSED), ("vary", "origin")]


async def preflight(headers: Mapping[str, str], allowed: Sequence[str], send: Send) -> None:
    """Answer a browser that asks before it sends: 204 and what it may do, or 403."""
    told, status = shared_with(headers, allowed), 403
    if allowed_origin(headers, allowed):
        status = 204
        told += [
            ("access-control-allow-methods", METHODS),
            ("access-control-allow-headers", headers.get("access-control-request-headers", "*")),
            ("access-control-max-age", MAX_AGE),
        ]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in [*told, ("content-length", "0")]]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
