"""Request bodies of `/v1/search` and `/v1/ask`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from rerankd.server.schemas.base import BaseRequestBody
from rerankd.server.schemas.fusion import FusionName, resolve_fusion
from rerankd.server.schemas.text import Text
from rerankd.settings import Settings
from rerankd.types import Fusion


class SearchRequestBody(BaseRequestBody):
    """Request to find passages of the index that answer a question."""

    model_config = ConfigDict(extra="forbid")

    query: Text = Field(description="The question.")
    k: int | None = Field(
        None, ge=1, le=1000, description="Number of documents of the first stage; default: setting search_k."
    )
    top_n: int | None = Field(None, ge=1, le=1000, description="Maximum number of passages; default: setting top_n.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Lowest score of a passage; default: setting search_threshold."
    )
    score_threshold: float | None = Field(None, ge=0, le=1, description="Alias of threshold.")
    max_tokens: int | None = Field(
        None, ge=16, le=1_000_000, description="Token budget of all passages; default: setting search_tokens."
    )
    fusion: FusionName | None = Field(None, description="Fusion of the model's order with the first stage's.")
    fusion_weight: float | None = Field(None, ge=0, le=100, description="Weight of the first stage; the model has 1.")
    explain: bool | None = Field(
        None, description="Set to true for ranks before and after, rules, and the passages that were dropped and why."
    )

    @property
    def ranking_query(self) -> str:
        """Query of the ranking."""
        return self.query

    @property
    def lowest_passage_score(self) -> float | None:
        """Lowest score of a passage; None for the setting's."""
        return self.score_threshold if self.threshold is None else self.threshold

    def rank_fusion(self, settings: Settings) -> Fusion | None:
        """Return the fusion with the first stage's order; None for the model's order alone."""
        return resolve_fusion(self.fusion, self.fusion_weight, settings)


class AskRequestBody(SearchRequestBody):
    """Request to answer a question from the passages of the index."""

    stream: bool | None = Field(
        None, description="Set to true for a stream of server-sent events: passages, token, answer."
    )
