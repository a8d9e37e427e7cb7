"""Files of the pages: our own, and libraries whose version is in their name."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from rerankd.errors import NotFoundError
from rerankd.server.paths import CONSOLE

STATIC = Path(__file__).with_name("static")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FILES = {path.name: path for path in STATIC.iterdir() if path.suffix in _TYPES}
# Pages name our own files with the package's version, so that a new version loads new files.
_CACHED = {"cache-control": "public, max-age=604800"}


async def static_file(name: str) -> FileResponse:
    """Return a file."""
    path = _FILES.get(name)
    if path is None:
        raise NotFoundError(f"There is no file {name[:100]!r}.", hint=f"Open {CONSOLE}.")
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=_CACHED)


def static_router() -> APIRouter:
    """Return the route of the files."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route(f"{CONSOLE}/static/{{name}}", static_file, methods=["GET"])
    return router
