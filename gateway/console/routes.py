"""Serves the console under /console: one page, its style, its scripts. It holds no data and needs no key itself.

The page asks for the management key and sends it to the management API with every request, so this router exists only
where that API does. All files are read once and served from memory, by their exact names.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

from litestar import HttpMethod, Request, Response, Router, route
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from msgspec import Struct

from gateway.api.guard import on_port

PATH = "/console"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing from elsewhere, nothing inline; trusted types refuse to read any text as markup."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE = "index.html"

AnyRequest = Request[Any, Any, Any]


class Asset(Struct, frozen=True):
    """A file as it is served."""

    body: bytes
    media_type: str
    etag: str


def assets() -> dict[str, Asset]:
    """Every file of the console by its name."""
    found = {}
    for path in sorted(Path(__file__).with_name("assets").iterdir()):
        body = path.read_bytes()
        found[path.name] = Asset(body, _TYPES[path.suffix], f'"{sha256(body).hexdigest()[:32]}"')
    return found


def console_router(*, managed: bool, port: int | None = None) -> Router:
    """The console, on the management API's own port if it has one; empty (404) where there is no management API."""
    if not managed:
        return Router(PATH, route_handlers=[])
    files = assets()

    @route("/", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False, sync_to_thread=False)
    def page(request: AnyRequest) -> Response[bytes]:
        # The page names its files relative to itself, so that it works below any prefix that a proxy takes off.
        if not request.scope["raw_path"].endswith(b"/"):
            return Response(b"", status_code=308, headers={**_HEADERS, "Location": f"{PATH.rsplit('/', 1)[1]}/"})
        return _answer(request, files[_PAGE])

    @route("/{name:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False, sync_to_thread=False)
    def asset(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
        if name not in files:
            raise NotFoundException
        return _answer(request, files[name])

    return Router(PATH, route_handlers=[page, asset], guards=on_port(port))


def _answer(request: AnyRequest, file: Asset) -> Response[bytes]:
    headers = {**_HEADERS, "ETag": file.etag}
    if request.headers.get("If-None-Match") == file.etag:
        return Response(b"", status_code=304, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)
