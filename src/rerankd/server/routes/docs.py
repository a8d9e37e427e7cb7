"""`/docs`, with every file served by us: it works without a network."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from rerankd.errors import NotFoundError

STATIC = Path(__file__).parents[1] / "static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
_FILES = {path.name: path for path in STATIC.iterdir() if path.suffix in _TYPES}


async def docs() -> FileResponse:
    """Return the interactive API documentation."""
    return _file("docs.html")


async def asset(name: str) -> FileResponse:
    """Return a file of the page."""
    return _file(name)


def _file(name: str) -> FileResponse:
    path = _FILES.get(name)
    if path is None:
        raise NotFoundError(f"There is no file {name[:100]!r}.", hint="Open /docs.")
    return FileResponse(path, media_type=_TYPES[path.suffix])


def docs_router() -> APIRouter:
    """Return the routes of `/docs` and its files."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/docs", docs, methods=["GET"])
    router.add_api_route("/docs/{name}", asset, methods=["GET"])
    return router
