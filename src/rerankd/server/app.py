"""FastAPI application of one instance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from rerankd._common.version import __version__
from rerankd.errors import NotFoundError
from rerankd.server.context import current_request
from rerankd.server.middleware import RequestMiddleware
from rerankd.server.routes.cases import case_router
from rerankd.server.routes.docs import docs_router
from rerankd.server.routes.feedback import feedback_router
from rerankd.server.routes.health import health_router
from rerankd.server.routes.jobs import job_router
from rerankd.server.routes.models import model_router
from rerankd.server.routes.rerank import rerank_router
from rerankd.server.routes.search import search_router
from rerankd.server.service import Service


def create_app(service: Service) -> FastAPI:
    """Return the application of an instance; its lifespan starts and closes the instance.

    Args:
        service: the instance.

    Example:
        >>> app = create_app(open_service(load_settings()))  # doctest: +SKIP
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        startup = asyncio.create_task(service.start())
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
    app.state.service = service
    for router in (
        rerank_router(service),
        job_router(service),
        feedback_router(service),
        case_router(service),
        search_router(service),
        model_router(service),
        health_router(service),
        docs_router(),
    ):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(RequestMiddleware, service=service)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
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
            ],
            expose_headers=["x-request-id", "retry-after", "x-rerankd-model-version", "x-rerankd-experiment"],
        )
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    """Turn the framework's own errors, unknown path or method, into ours; `RequestMiddleware` writes them."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        allowed = (getattr(error, "headers", None) or {}).get("Allow", "")
        current_request.get().headers += [(b"allow", allowed.encode())]
        not_found = NotFoundError(
            f"{request.url.path[:100]} does not accept {request.method}.", hint="See /docs for the API."
        )
    else:
        not_found = NotFoundError(f"The path {request.url.path[:100]} does not exist.", hint="See /docs for the API.")
    not_found.status = status
    raise not_found
