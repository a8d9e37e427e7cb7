"""FastAPI application of one instance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from rerankd._common.version import __version__
from rerankd.errors import MethodNotAllowedError, NotFoundError
from rerankd.server.browser_guard import BrowserGuard
from rerankd.server.context import current_request
from rerankd.server.middleware import RequestMiddleware
from rerankd.server.paths import CONSOLE, closest_path
from rerankd.server.request_parsing import first_fault
from rerankd.server.routes.cases import case_router
from rerankd.server.routes.docs import docs_router
from rerankd.server.routes.embeddings import embedding_router
from rerankd.server.routes.feedback import feedback_router
from rerankd.server.routes.health import health_router
from rerankd.server.routes.jobs import job_router
from rerankd.server.routes.mcp import McpEndpoint, running
from rerankd.server.routes.models import model_router
from rerankd.server.routes.passages import passage_router
from rerankd.server.routes.rerank import rerank_router
from rerankd.server.routes.search import search_router
from rerankd.server.routes.tokenize import tokenize_router
from rerankd.server.schemas.openapi_document import openapi_document
from rerankd.server.service import Service


def create_app(
    service: Service, *, is_local: bool = False, pages: Sequence[APIRouter] = (), api: bool = True
) -> FastAPI:
    """Return the application of an instance; its lifespan starts and closes the instance.

    Args:
        service: the instance.
        is_local: True if it listens on a loopback address. Without keys and `allowed_hosts` it then serves loopback
            names alone.
        pages: routes of pages to serve besides the API, such as the console's.
        api: False to serve the pages alone, with the probes and metrics.

    Example:
        >>> app = create_app(open_service(load_settings()))  # doctest: +SKIP
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        startup = asyncio.create_task(service.start())
        async with running(mcp):
            yield
        await service.close()
        await startup

    app = FastAPI(
        title="rerankd",
        version=__version__,
        summary="Reranking for RAG, compatible with the clients of Cohere, Jina, Voyage, vLLM, TEI and Infinity.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.openapi = partial(openapi_document, app)  # type: ignore[method-assign]  # as FastAPI documents it
    app.state.service = service
    mcp = McpEndpoint(app, service.settings) if api and service.settings.mcp else None
    routers = (*(_api_routers(service) if api else ()), health_router(service), *pages)
    if mcp is not None:
        routers = (*routers, mcp.router())
    for router in routers:
        app.include_router(router)
    routes = app.state.routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)
    posts = [route for route in routes if "POST" in route.methods]
    settings = service.settings
    guard = BrowserGuard(settings.allowed_hosts, settings.cors_origins, lambda: is_local and not service.keys.required)
    app.add_middleware(RequestMiddleware, service=service, paths=_fixed_paths(posts), guard=guard)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=[
                "authorization",
                "content-type",
                "idempotency-key",
                "x-api-key",
                "api-key",
                "x-request-id",
                "x-request-timeout",
                "x-rerankd-user",
                "x-rerankd-session",
                "x-rerankd-strict",
            ],
            expose_headers=[
                "x-request-id",
                "retry-after",
                "x-rerankd-model-version",
                "x-rerankd-experiment",
                "x-rerankd-warnings",
            ],
        )
    return app


def _api_routers(service: Service) -> tuple[APIRouter, ...]:
    return (
        rerank_router(service),
        embedding_router(service),
        tokenize_router(service),
        job_router(service),
        feedback_router(service),
        case_router(service),
        search_router(service),
        passage_router(service),
        model_router(service),
        docs_router(),
    )


async def _http_error(request: Request, error: Exception) -> Response:
    """Turn the framework's own errors, unknown path or method, into ours; `RequestMiddleware` writes them."""
    path = request.url.path[:100]
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = ", ".join(_allowed_methods(request))
        current_request.get().headers += [(b"allow", allowed.encode())]
        raise MethodNotAllowedError(
            f"{path} does not accept {request.method[:20]}.", hint=f"Use {allowed}; {_overview(request)}."
        )
    closest = closest_path(request.url.path, _fixed_paths(request.app.state.routes))
    overview = _overview(request)
    hint = f"Use {closest}; {overview}." if closest else f"{overview[0].upper()}{overview[1:]}."
    raise NotFoundError(f"The path {path} does not exist.", hint=hint)


def _overview(request: Request) -> str:
    """Return where to look for what there is, for the hint of an error."""
    has_docs = any(route.path == "/docs" for route in request.app.state.routes)
    return "see /docs for the API" if has_docs else f"the pages are at {CONSOLE}; this server has no API"


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods that the path of a request accepts, those of all its routes."""
    routes: list[APIRoute] = request.app.state.routes
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in matching for method in route.methods or ()})


async def _parameter_error(request: Request, error: Exception) -> Response:
    """Turn the framework's error of a parameter in path or query into ours, as of a field in a body."""
    fault = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    raise first_fault({**fault, "loc": fault["loc"][1:]})


def _fixed_paths(routes: Iterable[APIRoute]) -> frozenset[str]:
    """Return the paths of routes that have no parameters."""
    return frozenset(route.path for route in routes if "{" not in route.path)
