"""The request body of `/v1/rerank`: the union of Cohere, Jina, vLLM, Infinity, Xinference, Voyage and llama.cpp."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from rerankd._common.validation import to_query
from rerankd.errors import InvalidRequestError
from rerankd.server.schemas.base import (
    MIN_LENGTH,
    ScoringRequestBody,
    beside,
    check_count,
    instruction_of,
    positive_or_none,
    prompt_tokens_warnings,
    unread_options,
)
from rerankd.server.schemas.dialects import EmptyDocumentsError
from rerankd.server.schemas.field_support import RequestForm
from rerankd.server.schemas.fusion import FusionName, resolve_fusion
from rerankd.server.schemas.spans import RelevantSpansField
from rerankd.server.schemas.text import TEXT_SCHEMA, Text, list_of_one, read_text
from rerankd.settings import Settings
from rerankd.types import Document, Fusion, SpanOptions, TruncationOverrides

MAX_ID = 512
MAX_CHUNKS = 1000


class RerankRequestBody(ScoringRequestBody):
    """Request to rank documents by relevance to a query."""

    form: ClassVar[RequestForm | None] = "union"

    query: Text = Field(description="The query.")
    documents: Annotated[
        list[Any],
        BeforeValidator(list_of_one),
        Field(
            json_schema_extra={"anyOf": [{"type": "array", "items": TEXT_SCHEMA, "minItems": 1}, TEXT_SCHEMA]},
            description="The documents to rank; a single text is one document.",
        ),
    ]
    top_n: int | None = Field(None, description="Number of documents to return; null, 0 or less for all.")
    top_k: int | None = Field(None, description="Alias of top_n.")
    return_documents: bool | None = Field(None, description="Set to true to return the texts.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Lowest score of a document that is returned, from 0 to 1 even with raw_scores."
    )
    score_threshold: float | None = Field(None, ge=0, le=1, description="Alias of threshold.")
    fusion: FusionName | None = Field(
        None, description="Fusion of the model's order with the first stage's, or with documents[].score."
    )
    fusion_weight: float | None = Field(None, ge=0, le=100, description="Weight of the first stage; the model has 1.")
    explain: bool | None = Field(
        None, description="Set to true for raw scores, truncation, chunks, rules and timings in the response."
    )
    rank_fields: list[str] | None = Field(None, description="Fields of document objects that are ranked on.")
    max_tokens_per_doc: int | None = Field(None, ge=1, description="Maximum tokens of a document.")
    max_tokens_per_query: int | None = Field(None, description="Maximum tokens of the query.")
    max_chunks_per_doc: int | None = Field(
        None, description="Maximum chunks of a document; above 1, long documents are scored in chunks."
    )
    overlap_tokens: int | None = Field(None, ge=0, description="Tokens that neighbouring chunks share.")
    truncation: bool | Literal["only_second", "longest_first"] | None = Field(
        None, description="Truncation strategy; false refuses pairs that are too long."
    )
    truncate_prompt_tokens: int | None = Field(
        None, description="Alias of max_length; -1 for the model's own maximum. Values below 8 are raised to 8."
    )
    truncation_side: Literal["left", "right"] | None = Field(None, description="Side that is truncated.")
    relevant_spans: RelevantSpansField = Field(
        None, description="Sentences of the returned documents that answer the query; each is scored like a document."
    )
    kwargs: Any = Field(None, description="JSON, as Xinference takes it, whose instruction is an alias of instruction.")

    @field_validator("truncation", mode="wrap")
    @classmethod
    def _check_truncation(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError:  # it has one fault for each of the types
            raise ValueError("Input should be true, false, 'only_second' or 'longest_first'") from None

    @property
    def requested_instruction(self) -> str | None:
        """Instruction of the request, under whichever name."""
        return super().requested_instruction or instruction_of(self.kwargs)

    def _instructions(self) -> dict[str, str | None]:
        return super()._instructions() | {"kwargs.instruction": instruction_of(self.kwargs)}

    @property
    def ranking_query(self) -> str:
        """Query of the ranking."""
        return to_query(self.query)

    def ranking_documents(self, settings: Settings) -> list[Document]:
        """Return the documents to rank."""
        if not self.documents:
            raise EmptyDocumentsError("documents")
        check_count(len(self.documents), "documents", settings)
        return [self._document(item, position) for position, item in enumerate(self.documents)]

    @property
    def limit(self) -> int | None:
        """Number of documents to return; None for all."""
        return positive_or_none(self.top_n if self.top_n is not None else self.top_k)

    @property
    def lowest_score(self) -> float | None:
        """Lowest score of a document that is returned; None for no threshold."""
        return self.score_threshold if self.threshold is None else self.threshold

    def truncation_overrides(self) -> TruncationOverrides:
        """Return the overrides of the model's truncation."""
        prompt_tokens, chunks = positive_or_none(self.truncate_prompt_tokens), positive_or_none(self.max_chunks_per_doc)
        return TruncationOverrides(
            max_length=self.max_length if prompt_tokens is None else max(prompt_tokens, MIN_LENGTH),
            truncation=self.truncation if isinstance(self.truncation, str) else None,
            truncation_side=self.truncation_side,
            long_documents=self.long_documents or ("chunk" if chunks is not None and chunks > 1 else None),
            chunk_overlap=self.overlap_tokens,
            max_chunks=None if chunks is None else min(chunks, MAX_CHUNKS),
            max_query_tokens=positive_or_none(self.max_tokens_per_query),
            max_document_tokens=positive_or_none(self.max_tokens_per_doc),
            allow_truncation=self.truncation is not False,
        )

    def rank_fusion(self, settings: Settings) -> Fusion | None:
        """Return the fusion with the first stage's order; None for the model's order alone."""
        return resolve_fusion(self.fusion, self.fusion_weight, settings)

    @property
    def span_options(self) -> SpanOptions | None:
        """Request for the sentences that answer the query; None for none."""
        return None if self.relevant_spans is None else self.relevant_spans.options

    def _changed_values(self) -> list[str]:
        prompt_tokens = positive_or_none(self.truncate_prompt_tokens)
        return [
            *super()._changed_values(),
            *unread_options("kwargs", self.kwargs),
            *beside("top_k", self.top_k, "top_n", self.top_n),
            *beside("score_threshold", self.score_threshold, "threshold", self.threshold),
            *beside("max_length", self.max_length, "truncate_prompt_tokens", prompt_tokens),
            *self._rank_fields_warnings(),
            *self._span_warnings(),
            *prompt_tokens_warnings(self.truncate_prompt_tokens),
        ]

    def _rank_fields_warnings(self) -> list[str]:
        if not self.rank_fields or any(isinstance(item, dict) for item in self.documents):
            return []
        return ["rank_fields is for documents that are objects and was ignored"]

    def _span_warnings(self) -> list[str]:
        if self.relevant_spans is None:
            return []
        count = "relevant_spans count in the text that rank_fields make, `name: value` in lines, and not in one field"
        joined = bool(self.rank_fields) and any(isinstance(item, dict) for item in self.documents)
        return [*self.relevant_spans.warnings, *([count] if joined and self.span_options else [])]

    def returned_document(self, index: int) -> dict[str, Any]:
        """Return a document as a response returns it: an object as it was sent, another form as an object with `text`.

        Args:
            index: position of the document in the request, from 0.
        """
        item = self.documents[index]
        if isinstance(item, dict) and (self.rank_fields or isinstance(item.get("text"), str)):
            return item
        return {"text": self._document(item, index).text}

    def _document(self, item: Any, position: int) -> Document:
        if isinstance(item, str):
            return Document(item)
        if isinstance(item, dict) and self.rank_fields:
            lines = [
                f"{name}: {item[name]}" for name in self.rank_fields if isinstance(item.get(name), str | int | float)
            ]
            if lines:
                return _to_document(item, "\n".join(lines))
        try:
            text = read_text(item)
        except ValueError as error:
            raise InvalidRequestError(f"documents.{position}: {error}.") from None
        if not isinstance(text, str):
            raise InvalidRequestError(f"documents.{position} is not a text.", hint='Send strings or {"text": "..."}.')
        return _to_document(item, text)


class InfinityRequestBody(RerankRequestBody):
    """The same request at the paths of Infinity."""

    form: ClassVar[RequestForm | None] = "infinity"


class VoyageRequestBody(RerankRequestBody):
    """The same request at the paths of Voyage."""

    form: ClassVar[RequestForm | None] = "voyage"


def _to_document(item: Any, text: str) -> Document:
    """Return a document with the id, the first stage's score and the metadata that the client sent with it."""
    if not isinstance(item, dict):
        return Document(text)
    identity, score, metadata = item.get("id"), item.get("score"), item.get("metadata")
    fields = metadata if isinstance(metadata, dict) else {}
    if isinstance(score, int | float) and not isinstance(score, bool):
        fields = fields | {"score": float(score)}
    is_usable = isinstance(identity, str | int) and len(str(identity)) <= MAX_ID
    return Document(text, str(identity) if is_usable else None, fields)
