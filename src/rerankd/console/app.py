"""Routers of the console's pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from starlette.requests import Request

from rerankd.console import ask, compare, evaluation, experiments, history, label, models, monitor, traces
from rerankd.console.pages import NavigationItem, PageRenderer
from rerankd.console.router import ConsoleRouter
from rerankd.console.sign_in import sign_in_router
from rerankd.console.static_files import static_router
from rerankd.console.visitor import Visitor
from rerankd.errors import NotFoundError
from rerankd.server.paths import CONSOLE
from rerankd.server.service import Service

NAVIGATION = (
    NavigationItem("compare", f"{CONSOLE}/compare"),
    NavigationItem("traces", f"{CONSOLE}/traces"),
    NavigationItem("label", f"{CONSOLE}/label"),
    NavigationItem("evaluation", f"{CONSOLE}/evaluation"),
    NavigationItem("monitor", f"{CONSOLE}/monitor"),
    NavigationItem("experiments", f"{CONSOLE}/experiments", admin_only=True),
    NavigationItem("models", f"{CONSOLE}/models", admin_only=True),
    NavigationItem("ask", f"{CONSOLE}/ask"),
)
PARTS = (compare, traces, label, evaluation, monitor, experiments, models, history, ask)


def console_routers(service: Service) -> list[APIRouter]:
    """Return the routers of all pages of the console.

    Args:
        service: the instance.
    """
    renderer = PageRenderer(NAVIGATION)
    router = ConsoleRouter(service, renderer)
    for part in PARTS:
        part.register(router, service)
    router.page("/{path:path}", "error.html", _not_found)  # the last: it takes what no other takes
    return [
        static_router(),
        sign_in_router(service, renderer),
        _start_router(is_alone=service.pages_only),
        router.routes,
    ]


async def _not_found(request: Request, visitor: Visitor) -> Mapping[str, Any]:
    raise NotFoundError(f"The page {request.url.path[:100]} does not exist.", hint=f"Start at {CONSOLE}.")


def _start_router(*, is_alone: bool) -> APIRouter:
    """Return the routes that lead to the start page, also from the root of a server of pages alone."""

    async def start(_: Request) -> Response:
        return RedirectResponse(NAVIGATION[0].path, 303)

    other = APIRouter(include_in_schema=False)
    for path in (CONSOLE, "/") if is_alone else (CONSOLE,):
        other.add_api_route(path, start, methods=["GET"], name=f"start {path}")
    return other
