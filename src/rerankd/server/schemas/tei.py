"""Request bodies of text-embeddings-inference: `/rerank` with `texts`, and `/predict`.

`max_length` and `long_documents` are extensions of ours. A `max_length` above the model's limit is an error here too,
with the status 422 that TEI gives invalid requests.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rerankd._common.validation import to_query
from rerankd.server.schemas.base import ScoringRequestBody, check_count, positive_or_none
from rerankd.server.schemas.dialects import EmptyDocumentsError
from rerankd.server.schemas.text import Text
from rerankd.settings import Settings
from rerankd.types import Document, TruncationOverrides


class TeiRequestBody(ScoringRequestBody):
    """Request to rank texts, as text-embeddings-inference takes it."""

    query: Text = Field(description="The query.")
    texts: list[str] = Field(description="The documents to rank.", json_schema_extra={"minItems": 1})
    truncate: bool | None = Field(None, description="Set to false to refuse pairs that are too long.")
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = Field(
        None, description="Side that is truncated."
    )
    return_text: bool | None = Field(None, description="Set to true to return the texts.")
    top_n: int | None = Field(None, description="Number of documents to return; null, 0 or less for all.")

    @property
    def ranking_query(self) -> str:
        """Query of the ranking."""
        return to_query(self.query)

    def ranking_documents(self, settings: Settings) -> list[Document]:
        """Return the documents to rank."""
        if not self.texts:
            raise EmptyDocumentsError("texts")
        check_count(len(self.texts), "texts", settings)
        return [Document(text) for text in self.texts]

    @property
    def limit(self) -> int | None:
        """Number of documents to return; None for all."""
        return positive_or_none(self.top_n)

    def truncation_overrides(self) -> TruncationOverrides:
        """Return the overrides of the model's truncation."""
        side: Literal["left", "right"] | None = None
        if self.truncation_direction:
            side = "left" if self.truncation_direction.lower() == "left" else "right"
        return TruncationOverrides(
            max_length=self.max_length,
            long_documents=self.long_documents,
            truncation_side=side,
            allow_truncation=self.truncate is not False,
        )


class PredictRequestBody(ScoringRequestBody):
    """Request to score pairs, as text-embeddings-inference's `/predict` takes it."""

    inputs: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(
        description="Pairs of a query and a document."
    )
    truncate: bool | None = Field(None, description="Set to false to refuse pairs that are too long.")

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs.

        Raises:
            EmptyDocumentsError: there are none.
        """
        if not self.inputs:
            raise EmptyDocumentsError("inputs")
        return [(query, text) for query, text in self.inputs]

    def truncation_overrides(self) -> TruncationOverrides:
        """Return the overrides of the model's truncation."""
        return TruncationOverrides(max_length=self.max_length, allow_truncation=self.truncate is not False)
