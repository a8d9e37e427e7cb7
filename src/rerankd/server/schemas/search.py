"""What questions to the index look like."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rerankd.server.schemas.rerank import Seconds, Text


class SearchRequestBody(BaseModel):
    """A question."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), hide_input_in_errors=True)

    query: Text = Field(description="the question")
    k: int | None = Field(None, ge=1, le=1000, description="documents of the first stage; search_k if not given")
    top_n: int | None = Field(None, ge=1, le=1000, description="passages kept at most; 5 if not given")
    threshold: float | None = Field(
        None, ge=0, le=1, description="lowest score of a passage that answers; search_threshold if not given"
    )
    max_tokens: int | None = Field(
        None, ge=16, le=1_000_000, description="tokens of all passages at most; search_tokens if not given"
    )
    model: str | None = Field(None, max_length=512, description="name of the reranking model")
    fusion: Literal["none", "weighted", "rrf"] | None = Field(
        None, description="how the first stage counts in the order"
    )
    fusion_weight: float | None = Field(None, ge=0, le=100, description="its weight; the model's is 1")
    timeout: Seconds | None = Field(None, description="seconds in which an answer is worth anything")
    cache: bool | None = Field(None, description="false computes every pair again")
    explain: bool | None = Field(
        None, description="true adds places before and after, rules, and what was dropped and why"
    )


class AskRequestBody(SearchRequestBody):
    """A question that wants an answer."""

    stream: bool | None = Field(None, description="true sends events as they come: passages, token, answer")
