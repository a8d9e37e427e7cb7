"""HTTP routes, by topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.server.routes.cases import case_router
    from rerankd.server.routes.docs import docs_router
    from rerankd.server.routes.embeddings import EMBEDDING_PATHS, embedding_router
    from rerankd.server.routes.feedback import feedback_router
    from rerankd.server.routes.health import health_router
    from rerankd.server.routes.jobs import job_router
    from rerankd.server.routes.models import model_router
    from rerankd.server.routes.rerank import SCORING_PATHS, rerank_router
    from rerankd.server.routes.search import search_router
    from rerankd.server.routes.tokenize import tokenize_router

__all__ = [
    "EMBEDDING_PATHS",
    "SCORING_PATHS",
    "case_router",
    "docs_router",
    "embedding_router",
    "feedback_router",
    "health_router",
    "job_router",
    "model_router",
    "rerank_router",
    "search_router",
    "tokenize_router",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.server.routes.cases": ("case_router",),
        "rerankd.server.routes.docs": ("docs_router",),
        "rerankd.server.routes.embeddings": ("EMBEDDING_PATHS", "embedding_router"),
        "rerankd.server.routes.feedback": ("feedback_router",),
        "rerankd.server.routes.health": ("health_router",),
        "rerankd.server.routes.jobs": ("job_router",),
        "rerankd.server.routes.models": ("model_router",),
        "rerankd.server.routes.rerank": ("SCORING_PATHS", "rerank_router"),
        "rerankd.server.routes.search": ("search_router",),
        "rerankd.server.routes.tokenize": ("tokenize_router",),
    },
)
