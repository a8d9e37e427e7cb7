"""The request body of vLLM's `/score`, with the names of Jina and Cohere for its two sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from rerankd._common.plural import counted
from rerankd._common.validation import to_query
from rerankd.errors import InvalidRequestError
from rerankd.server.schemas.base import (
    MIN_LENGTH,
    ScoringRequestBody,
    beside,
    positive_or_none,
    prompt_tokens_warnings,
)
from rerankd.server.schemas.field_support import RequestForm
from rerankd.server.schemas.text import Texts
from rerankd.types import TruncationOverrides

QUERIES = ("text_1", "queries", "data_1")
DOCUMENTS = ("text_2", "documents", "data_2", "items")
SIDES = frozenset({*QUERIES, *DOCUMENTS} - {"documents"})


class ScoreRequestBody(ScoringRequestBody):
    """Request to score pairs: one query with N documents, or N queries with N documents."""

    form: ClassVar[RequestForm | None] = "score"

    text_1: Texts | None = Field(None, description="The queries.")
    text_2: Texts | None = Field(None, description="The documents.")
    queries: Texts | None = Field(None, description="Alias of text_1.")
    documents: Texts | None = Field(None, description="Alias of text_2.")
    data_1: Texts | None = Field(None, description="Alias of text_1.")
    data_2: Texts | None = Field(None, description="Alias of text_2.")
    items: Texts | None = Field(None, description="Alias of text_2.")
    truncate_prompt_tokens: int | None = Field(
        None, description="Alias of max_length; -1 for the model's own maximum. Values below 8 are raised to 8."
    )

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs.

        Raises:
            InvalidRequestError: a side is missing, or the numbers of queries and documents do not match.
        """
        queries = next((side for side in self._sides(QUERIES).values()), None)
        documents = next((side for side in self._sides(DOCUMENTS).values()), None)
        if not queries or not documents:
            raise InvalidRequestError(
                "Both queries and documents are required.", hint="Send text_1 (queries) and text_2 (documents)."
            )
        queries = [to_query(query) for query in queries]
        if len(queries) == 1:
            return [(queries[0], document) for document in documents]
        if len(queries) != len(documents):
            raise InvalidRequestError(
                f"{counted(len(queries), 'query', 'queries')} and {counted(len(documents), 'document')} do not match.",
                hint="Send one query with any number of documents, or as many of each; /v1/rerank/batch takes many "
                "queries with documents of their own.",
            )
        return list(zip(queries, documents, strict=True))

    def truncation_overrides(self) -> TruncationOverrides:
        """Return the overrides of the model's truncation."""
        max_length = self.max_length or positive_or_none(self.truncate_prompt_tokens)
        return TruncationOverrides(
            max_length=max(max_length, MIN_LENGTH) if max_length else None, long_documents=self.long_documents
        )

    def _changed_values(self) -> list[str]:
        warnings = super()._changed_values()
        for names in (QUERIES, DOCUMENTS):
            sides = list(self._sides(names).items())
            for name, texts in sides[1:]:
                warnings += beside(name, texts, *sides[0])
        prompt_tokens = positive_or_none(self.truncate_prompt_tokens)
        if self.max_length:
            return [*warnings, *beside("truncate_prompt_tokens", prompt_tokens, "max_length", self.max_length)]
        return [*warnings, *prompt_tokens_warnings(self.truncate_prompt_tokens)]

    def _sides(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Return the texts of one side by the names under which they were sent, the one that counts first."""
        return {name: texts for name in names if (texts := getattr(self, name)) is not None}
