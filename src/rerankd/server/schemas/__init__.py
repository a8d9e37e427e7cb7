"""Request and response bodies, by topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.server.schemas.cases import CaseRequestBody, FlagRequestBody
    from rerankd.server.schemas.feedback import FeedbackItem, FeedbackRequestBody
    from rerankd.server.schemas.jobs import JobOptions, JobRequestBody, JobSubmission
    from rerankd.server.schemas.models import SwapRequestBody
    from rerankd.server.schemas.rerank import RerankRequestBody
    from rerankd.server.schemas.score import ScoreRequestBody
    from rerankd.server.schemas.search import AskRequestBody, SearchRequestBody
    from rerankd.server.schemas.tei import PredictRequestBody, TeiRequestBody

__all__ = [
    "AskRequestBody",
    "CaseRequestBody",
    "FeedbackItem",
    "FeedbackRequestBody",
    "FlagRequestBody",
    "JobOptions",
    "JobRequestBody",
    "JobSubmission",
    "PredictRequestBody",
    "RerankRequestBody",
    "ScoreRequestBody",
    "SearchRequestBody",
    "SwapRequestBody",
    "TeiRequestBody",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.server.schemas.cases": ("CaseRequestBody", "FlagRequestBody"),
        "rerankd.server.schemas.feedback": ("FeedbackItem", "FeedbackRequestBody"),
        "rerankd.server.schemas.jobs": ("JobOptions", "JobRequestBody", "JobSubmission"),
        "rerankd.server.schemas.models": ("SwapRequestBody",),
        "rerankd.server.schemas.rerank": ("RerankRequestBody",),
        "rerankd.server.schemas.score": ("ScoreRequestBody",),
        "rerankd.server.schemas.search": ("AskRequestBody", "SearchRequestBody"),
        "rerankd.server.schemas.tei": ("PredictRequestBody", "TeiRequestBody"),
    },
)
