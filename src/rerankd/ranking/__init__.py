"""From the scores of a request to its result: rules, fusion, order, threshold, activation. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.ranking.activation import activate
    from rerankd.ranking.finish import RequestScores
    from rerankd.ranking.interleave import InterleavedScores, interleave_scores
    from rerankd.ranking.order import fused, order_of, rank_documents
    from rerankd.ranking.team_draft import Interleaved

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.ranking.activation": ("activate",),
        "rerankd.ranking.finish": ("RequestScores",),
        "rerankd.ranking.interleave": (
            "InterleavedScores",
            "interleave_scores",
        ),
        "rerankd.ranking.order": (
            "fused",
            "order_of",
            "rank_documents",
        ),
        "rerankd.ranking.team_draft": ("Interleaved",),
    },
)

__all__ = [
    "Interleaved",
    "InterleavedScores",
    "RequestScores",
    "activate",
    "fused",
    "interleave_scores",
    "order_of",
    "rank_documents",
]
