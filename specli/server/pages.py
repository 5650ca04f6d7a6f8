"""The page at `/` and the reference at `/docs`: files of the package, which load nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

FOLDER = Path(__file__).parent / "page"

FILES = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/docs": ("docs.html", "text/html"),
    "/docs.js": ("docs.js", "text/javascript"),
}

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def routes() -> APIRouter:
    """The paths of these files."""
    router = APIRouter()
    for path, (name, kind) in FILES.items():
        router.get(path, include_in_schema=False)(_sends(FOLDER / name, kind))
    return router


def _sends(file: Path, kind: str) -> Callable[[], Awaitable[Response]]:
    content = file.read_bytes()

    async def send() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return send
