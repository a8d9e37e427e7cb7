"""Request bodies of text-embeddings-inference: `/rerank` with `texts`, and `/predict`.

`max_length` and `long_documents` are extensions of ours. A `max_length` above the model's limit is an error here too,
with the status 422 that TEI gives invalid requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from rerankd.errors import InvalidRequestError
from rerankd.server.schemas.base import ScoringRequestBody, check_count, positive_or_none
from rerankd.server.schemas.dialects import EmptyDocumentsError
from rerankd.server.schemas.field_support import RequestForm
from rerankd.server.schemas.text import Text
from rerankd.settings import Settings
from rerankd.types import Document, TruncationOverrides

# Generators of clients make one constant of "Left" and "left".
SIDES_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string", "enum": ["Left", "Right"]}, {"type": "null"}]}


class _TruncatedBody(ScoringRequestBody):
    """Body with the fields of text-embeddings-inference for texts that are too long."""

    truncate: bool | None = Field(None, description="Set to false to refuse pairs that are too long.")
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = Field(
        None, description="Side that is truncated; also in lower case.", json_schema_extra=SIDES_SCHEMA
    )

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


class TeiRequestBody(_TruncatedBody):
    """Request to rank texts, as text-embeddings-inference takes it."""

    form: ClassVar[RequestForm | None] = "tei"

    query: Text = Field(description="The query.")
    texts: list[str] = Field(description="The documents to rank.", json_schema_extra={"minItems": 1})
    return_text: bool | None = Field(None, description="Set to true to return the texts.")
    top_n: int | None = Field(None, description="Number of documents to return; null, 0 or less for all.")

    @property
    def ranking_query(self) -> str:
        """Query of the ranking; it may be empty, as in text-embeddings-inference."""
        return self.query

    def ranking_documents(self, settings: Settings) -> list[Document]:
        """Return the documents to rank."""
        if not self.texts:
            raise EmptyDocumentsError("texts")
        check_count(len(self.texts), "texts", settings)
        for position, text in enumerate(self.texts):
            _check_pair(self.query, text, f"texts.{position}")
        return [Document(text) for text in self.texts]

    @property
    def limit(self) -> int | None:
        """Number of documents to return; None for all."""
        return positive_or_none(self.top_n)


def _check_pair(query: str, text: str, name: str) -> None:
    """Refuse a pair without any text; an empty query beside a document is scored, as in text-embeddings-inference."""
    if not query and not text:
        raise InvalidRequestError(f"{name}: query and document are both empty.", hint="Send a text for one of them.")


def _list_of_one_pair(value: Any) -> Any:
    """Return a list of the pair, if the value is a pair of strings itself."""
    return [value] if isinstance(value, list) and value and isinstance(value[0], str) else value


_Pair = Annotated[list[str], Field(min_length=2, max_length=2)]
_PAIR_SCHEMA = {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
_PAIRS_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "array", "items": _PAIR_SCHEMA}, _PAIR_SCHEMA]}


class PredictRequestBody(_TruncatedBody):
    """Request to score pairs, as text-embeddings-inference's `/predict` takes it."""

    form: ClassVar[RequestForm | None] = "predict"

    inputs: Annotated[list[_Pair], BeforeValidator(_list_of_one_pair)] = Field(
        description="Pairs of a query and a document, or one pair.", json_schema_extra=_PAIRS_SCHEMA
    )
    _is_one_pair: bool = PrivateAttr(False)

    @model_validator(mode="wrap")
    @classmethod
    def _note_one_pair(cls, content: Any, build: ModelWrapValidatorHandler[Self]) -> Self:
        body = build(content)
        inputs = content.get("inputs") if isinstance(content, dict) else None
        body._is_one_pair = isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], str)
        return body

    def to_response(self, scores: Sequence[float]) -> list[Any]:
        """Return the content of the response: the predictions of each pair, or those of the one that was sent."""
        rows = [[{"score": score, "label": "LABEL_0"}] for score in scores]
        return rows[0] if self._is_one_pair else rows

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs.

        Raises:
            EmptyDocumentsError: there are none.
            InvalidRequestError: query and document of a pair are both empty.
        """
        if not self.inputs:
            raise EmptyDocumentsError("inputs")
        for position, (query, text) in enumerate(self.inputs):
            _check_pair(query, text, f"inputs.{position}")
        return [(query, text) for query, text in self.inputs]
