"""GET / of a browser in, the page to try the service on out; its files are in `static/`."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import re
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sovits_service.api.deps import context_of
from sovits_service.api.stored import file_response

_LOADED = ("jobs.js", "page.css", "page.js", "sound.js", "strings.js", "words.js")  # by index.html and by each other
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-cache",  # asked for again each time, so that page and service are of one version
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "media-src 'self' blob:; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
}


def wants_front_page(request: Request) -> bool:
    """Whether a request for `/` comes from a browser that asks for nothing to be said."""
    return not request.query_params and "text/html" in request.headers.get("accept", "")


def front_page(request: Request) -> Response:
    """The page; behind a proxy that puts a prefix before all paths, with the prefix as the base of its links."""
    root = request.scope["root_path"]
    base = f'<base href="{html.escape(root)}/">' if root else ""
    data = _read("index.html").replace(b"<head>", f"<head>{base}".encode(), 1)
    if context_of(request).jobs is None:
        data = data.replace(b'id="jobs-card"', b'id="jobs-card" hidden', 1)
    return _answer(request, "index.html", data)


def docs_headers(page: bytes) -> dict[str, str]:
    """Headers of the interactive documentation, which allow its one inline script by that script's hash.

    Swagger UI sets styles of single elements, shows its icons as `data:` images, and plays answers from `blob:`
    addresses; everything else comes from this service.
    """
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _INLINE_SCRIPT.findall(page)]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in digests)])
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}


def add_page_files(router: APIRouter) -> None:
    """Add the routes of what the page loads."""
    for name in _LOADED:
        router.add_api_route(f"/page/{name}", _file_route(name), methods=["GET", "HEAD"], include_in_schema=False)


def _file_route(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def file(request: Request) -> Response:
        return _answer(request, name, _read(name))

    return file


def _answer(request: Request, name: str, data: bytes) -> Response:
    etag = f'"{hashlib.sha256(data).hexdigest()}"'
    return file_response(request, data, etag, media_type=_TYPES[PurePath(name).suffix], headers=_HEADERS, is_kept=False)


@functools.cache
def _read(name: str) -> bytes:
    return (files("sovits_service.api") / "static" / name).read_bytes()
