"""What requests look like. One model for the union of Cohere, Jina, vLLM, Infinity, Xinference and llama.cpp, one for
TEI, one for pairs. Unknown fields are allowed and left alone: every client sends some."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rerankd.errors import InvalidRequestError
from rerankd.types import Document, TruncationOverrides


def _text(value: Any) -> Any:
    """A text as clients write it: a string, `{"text": ...}`, or `{"content": [{"type": "text", "text": ...}]}`."""
    if isinstance(value, str) or not isinstance(value, dict):
        return value
    if isinstance(text := value.get("text"), str):
        return text
    content = value.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        found = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        parts = [part for part in found if isinstance(part, str)]
        if parts and len(parts) == len(found):
            return "\n".join(parts)
    raise ValueError('a text is a string, {"text": "..."}, or {"content": [{"type": "text", "text": "..."}]}')


_TEXT_FORMS: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        {
            "type": "object",
            "properties": {
                "content": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                        "required": ["type", "text"],
                    },
                }
            },
            "required": ["content"],
        },
    ]
}
Text = Annotated[str, BeforeValidator(_text), Field(json_schema_extra=_TEXT_FORMS)]


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Texts = Annotated[
    list[Text],
    BeforeValidator(_one_or_more),
    Field(json_schema_extra={"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_FORMS}]}),
]
MAX_ID = 512
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class BaseRequestBody(BaseModel):
    """What all bodies share."""

    model_config = ConfigDict(extra="allow", protected_namespaces=(), hide_input_in_errors=True)

    model: str | None = Field(None, max_length=512, description="model name; the default model answers to others")
    timeout: Seconds | None = Field(None, description="seconds in which an answer is worth anything")
    cache: bool | None = Field(None, description="false computes every pair again")
    raw_scores: bool | None = Field(None, description="true gives logits instead of 0 to 1")
    use_activation: bool | None = Field(None, description="false gives logits instead of 0 to 1")
    max_length: int | None = Field(None, ge=8, description="longest pair in tokens")
    long_documents: Literal["truncate", "chunk"] | None = Field(
        None, description="chunk reads windows, the best counts"
    )

    @property
    def raw(self) -> bool:
        """Whether logits are wanted."""
        return bool(self.raw_scores) or self.use_activation is False


class RerankRequestBody(BaseRequestBody):
    """A ranking, as Cohere, Jina, vLLM, Infinity, Xinference, Voyage and llama.cpp ask for it."""

    query: Text = Field(description="the question")
    documents: Annotated[list[Any], Field(json_schema_extra={"type": "array", "items": _TEXT_FORMS, "minItems": 1})]
    top_n: int | None = Field(None, description="documents to return; null, 0 or less for all")
    top_k: int | None = Field(None, description="another name of top_n")
    return_documents: bool | None = Field(None, description="true returns the texts")
    threshold: float | None = Field(
        None, ge=0, le=1, description="lowest score of a document that is returned, from 0 to 1 also with raw_scores"
    )
    fusion: Literal["none", "weighted", "rrf"] | None = Field(
        None, description="how the first stage's order, or documents[].score, counts beside the model's"
    )
    fusion_weight: float | None = Field(None, ge=0, le=100, description="of the first stage; the model's is 1")
    explain: bool | None = Field(None, description="true adds raw scores, truncation, chunks and timings")
    rank_fields: list[str] | None = Field(None, description="fields of document objects that are read")
    max_tokens_per_doc: int | None = Field(None, description="tokens of a document read at most")
    max_tokens_per_query: int | None = Field(None, description="tokens of the query read at most")
    max_chunks_per_doc: int | None = Field(None, description="above 1, a long document is read in so many windows")
    overlap_tokens: int | None = Field(None, ge=0, description="tokens that neighbouring windows share")
    truncation: bool | Literal["only_second", "longest_first"] | None = Field(
        None, description="false refuses what is too long; or how pairs are cut"
    )
    truncate_prompt_tokens: int | None = Field(None, description="longest pair in tokens; -1 for the model's own")
    truncation_side: Literal["left", "right"] | None = Field(None, description="side that is cut off")

    @property
    def kept(self) -> int | None:
        """How many documents to return."""
        wanted = self.top_n if self.top_n is not None else self.top_k
        return wanted if wanted is not None and wanted > 0 else None

    def truncation_overrides(self, warnings: list[str]) -> TruncationOverrides:
        """How pairs are cut; what cannot be followed is said in `warnings`."""
        length = self.max_length
        if self.truncate_prompt_tokens is not None and self.truncate_prompt_tokens > 0:
            length = _at_least(self.truncate_prompt_tokens, 8, "truncate_prompt_tokens", warnings)
        chunks = self.max_chunks_per_doc
        chunked = self.long_documents or ("chunk" if chunks is not None and chunks > 1 else None)
        return TruncationOverrides(
            max_length=length,
            truncation=self.truncation if isinstance(self.truncation, str) else None,
            truncation_side=self.truncation_side,
            long_documents=chunked,
            chunk_overlap=self.overlap_tokens,
            max_chunks=min(chunks, 1000) if chunks is not None and chunks > 0 else None,
            max_query_tokens=_positive(self.max_tokens_per_query),
            max_document_tokens=_positive(self.max_tokens_per_doc),
            allow_truncation=self.truncation is not False,
        )

    def read_documents(self) -> list[Document]:
        """The documents' texts.

        Raises:
            InvalidRequestError: one is not a text; the message says which.
        """
        return [self._document(item, place) for place, item in enumerate(self.documents)]

    def _document(self, item: Any, place: int) -> Document:
        if isinstance(item, str):
            return Document(item)
        if isinstance(item, dict) and self.rank_fields:
            read = [
                f"{name}: {item[name]}" for name in self.rank_fields if isinstance(item.get(name), str | int | float)
            ]
            if read:
                return _named(item, "\n".join(read))
        try:
            text = _text(item)
        except ValueError as error:
            raise InvalidRequestError(f"documents.{place}: {error}.") from None
        if not isinstance(text, str):
            raise InvalidRequestError(f"documents.{place} is not a text.", hint='Send strings or {"text": "..."}.')
        return _named(item, text)


class TeiRequestBody(BaseRequestBody):
    """A ranking as text-embeddings-inference asks for it."""

    query: Text = Field(description="the question")
    texts: list[str] = Field(description="documents", json_schema_extra={"minItems": 1})
    truncate: bool | None = Field(None, description="false refuses what is too long")
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = Field(None, description="side cut off")
    return_text: bool | None = Field(None, description="true returns the texts")
    top_n: int | None = Field(None, description="documents to return; null, 0 or less for all")

    @property
    def kept(self) -> int | None:
        """How many documents to return."""
        return self.top_n if self.top_n is not None and self.top_n > 0 else None

    def truncation_overrides(self) -> TruncationOverrides:
        """How pairs are cut."""
        side: Literal["left", "right"] | None = None
        if self.truncation_direction:
            side = "left" if self.truncation_direction.lower() == "left" else "right"
        return TruncationOverrides(
            max_length=self.max_length,
            long_documents=self.long_documents,
            truncation_side=side,
            allow_truncation=self.truncate is not False,
        )


class ScoreRequestBody(BaseRequestBody):
    """Pairs as vLLM's `/score` takes them: one query with N documents, or N with N."""

    text_1: Texts | None = Field(None, description="queries")
    text_2: Texts | None = Field(None, description="documents")
    queries: Texts | None = Field(None, description="another name of text_1")
    documents: Texts | None = Field(None, description="another name of text_2")
    data_1: Texts | None = Field(None, description="another name of text_1")
    data_2: Texts | None = Field(None, description="another name of text_2")
    items: Texts | None = Field(None, description="another name of text_2")
    truncate_prompt_tokens: int | None = Field(None, description="longest pair in tokens; -1 for the model's own")

    def pairs(self) -> list[tuple[str, str]]:
        """The pairs.

        Raises:
            InvalidRequestError: a side is missing, or they do not match.
        """
        first = next((side for side in (self.text_1, self.queries, self.data_1) if side is not None), None)
        second = next(
            (side for side in (self.text_2, self.documents, self.data_2, self.items) if side is not None), None
        )
        if not first or not second:
            raise InvalidRequestError("Both sides are needed.", hint="Send text_1 (queries) and text_2 (documents).")
        if len(first) == 1:
            return [(first[0], text) for text in second]
        if len(first) != len(second):
            raise InvalidRequestError(
                f"{len(first)} queries and {len(second)} documents do not match.",
                hint="Send one query with any number of documents, or as many of each.",
            )
        return list(zip(first, second, strict=True))

    def truncation_overrides(self) -> TruncationOverrides:
        """How pairs are cut."""
        length = self.max_length or _positive(self.truncate_prompt_tokens)
        return TruncationOverrides(max_length=max(length, 8) if length else None, long_documents=self.long_documents)


class PredictRequestBody(BaseRequestBody):
    """Pairs as text-embeddings-inference's `/predict` takes them."""

    inputs: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(description="[query, document] pairs")
    truncate: bool | None = Field(None, description="false refuses what is too long")


class SwapRequestBody(BaseModel):
    """A model to put under a name."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(min_length=1, max_length=1024, description="bundled model, folder, or org/name[@revision]")


def _positive(value: int | None) -> int | None:
    return value if value is not None and value > 0 else None


def _at_least(value: int, least: int, name: str, warnings: list[str]) -> int:
    if value < least:
        warnings.append(f"{name} was raised to {least}")
    return max(value, least)


def _named(item: Any, text: str) -> Document:
    """A document with its id, the first stage's score and its metadata, where the caller sends them."""
    if not isinstance(item, dict):
        return Document(text)
    name, score, metadata = item.get("id"), item.get("score"), item.get("metadata")
    about = metadata if isinstance(metadata, dict) else {}
    if isinstance(score, int | float) and not isinstance(score, bool):
        about = about | {"score": float(score)}
    named = isinstance(name, str | int) and len(str(name)) <= MAX_ID
    return Document(text, str(name) if named else None, about)
