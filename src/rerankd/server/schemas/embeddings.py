"""Request bodies of embeddings: `/v1/embeddings` of OpenAI, `/embed` and `/similarity` of TEI."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, BeforeValidator, Field

from rerankd.errors import InvalidRequestError
from rerankd.server.schemas.base import (
    MIN_LENGTH,
    BaseRequestBody,
    check_count,
    positive_or_none,
    prompt_tokens_warnings,
)
from rerankd.server.schemas.dialects import EmptyDocumentsError
from rerankd.server.schemas.field_support import NOTHING
from rerankd.server.schemas.tei import SIDES_SCHEMA
from rerankd.settings import Settings
from rerankd.types import TruncationOverrides, TruncationSide

Vectors = npt.NDArray[np.float32]
IGNORED = frozenset(
    {
        *("input_type", "task", "task_type", "prompt", "prompt_name", "late_chunking", "user", "priority"),
        *("embedding_type", "embedding_types", "output_dtype", "normalized", "modality", "add_special_tokens"),
    }
)
"""Fields of other services for embeddings that have no effect here."""


class EmptyTextError(EmptyDocumentsError):
    """No text, or an empty one."""

    def __init__(self, name: str) -> None:
        InvalidRequestError.__init__(self, f"{name} is empty.", hint="Send a text.")


def read_texts(value: Any) -> Any:
    """Return a list of texts for a text; other values as they are, for the validator.

    Raises:
        ValueError: token ids.

    Example:
        >>> read_texts("a")
        ['a']
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and any(isinstance(item, int | list) for item in value[:1]):
        raise ValueError(
            "token ids are not read, since they are another tokenizer's; send texts "
            "(OpenAIEmbeddings of LangChain does with check_embedding_ctx_length=False)"
        )
    return value


_TEXTS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
TextList = Annotated[list[str], BeforeValidator(read_texts), Field(json_schema_extra=_TEXTS_SCHEMA)]


class EmbeddingBody(BaseRequestBody, ABC):
    """Body of a request for vectors."""

    dimensions: int | None = Field(
        None,
        ge=1,
        description="Dimensions of the vectors. Another number than the model's: status 400, nothing is cut.",
    )

    @property
    @abstractmethod
    def named_texts(self) -> list[tuple[str, str]]:
        """Texts to embed, each with the name of its field."""

    def texts(self, settings: Settings) -> list[str]:
        """Return the texts to embed.

        Raises:
            EmptyTextError: there are none, or one is empty.
            PayloadTooLargeError: there are more than `max_documents`.
        """
        named = self.named_texts
        check_count(len(named), "the request", settings)
        for name, text in named:
            if not text:
                raise EmptyTextError(name)
        return [text for _, text in named]

    @property
    def warnings(self) -> list[str]:
        """Warnings about values that were changed or ignored."""
        extra = (self.model_extra or {}).items()
        ignored = [name for name, value in extra if name in IGNORED and value not in NOTHING]
        return [*super().warnings, *(f"{name} is not supported here and was ignored" for name in ignored)]

    @abstractmethod
    def to_response(self, vectors: Vectors, model: str, tokens: int, warnings: Sequence[str]) -> Any:
        """Return the content of the response.

        Args:
            vectors: unit vectors, shape (texts, dimensions), float32.
            model: name of the model.
            tokens: tokens of the texts.
            warnings: warnings about the request and about texts that were cut.
        """


class EmbeddingRequestBody(EmbeddingBody):
    """Request for vectors, as OpenAI takes it."""

    input: TextList = Field(description="A text, or a list of texts. Token ids: status 400.")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64 for the bytes of little-endian float32."
    )
    truncate_prompt_tokens: int | None = Field(
        None,
        description="Longest text in tokens, up to the model's limit; -1 for the default, 512 or the model's limit. "
        "Values below 8 are raised to 8.",
    )

    @property
    def named_texts(self) -> list[tuple[str, str]]:
        """Texts to embed, each with the name of its field."""
        if not self.input:
            raise EmptyTextError("input")
        return [(f"input.{position}", text) for position, text in enumerate(self.input)]

    def truncation_overrides(self) -> TruncationOverrides:
        """Return the overrides of the model's truncation."""
        length = positive_or_none(self.truncate_prompt_tokens)
        return TruncationOverrides(max_length=max(length, MIN_LENGTH) if length else None)

    @property
    def warnings(self) -> list[str]:
        """Warnings about values that were changed or ignored."""
        return [*super().warnings, *prompt_tokens_warnings(self.truncate_prompt_tokens)]

    def to_response(self, vectors: Vectors, model: str, tokens: int, warnings: Sequence[str]) -> Any:
        """Return the content of the response."""
        is_base64 = self.encoding_format == "base64"
        content: dict[str, Any] = {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": to_base64(vector) if is_base64 else to_json(vector),
                }
                for index, vector in enumerate(vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return content | {"meta": {"warnings": list(warnings)}} if warnings else content


class _TeiBody(EmbeddingBody):
    """Options of text-embeddings-inference that both of its bodies have."""

    truncate: bool | None = Field(None, description="Set to false to refuse texts that are too long.")
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = Field(
        None, description="Side that is truncated; also in lower case.", json_schema_extra=SIDES_SCHEMA
    )

    def truncation_overrides(self) -> TruncationOverrides:
        """Return the overrides of the model's truncation."""
        side: TruncationSide | None = None
        if self.truncation_direction:
            side = "left" if self.truncation_direction.lower() == "left" else "right"
        return TruncationOverrides(truncation_side=side, allow_truncation=self.truncate is not False)


class EmbedRequestBody(_TeiBody):
    """Request for vectors, as text-embeddings-inference's `/embed` takes it."""

    inputs: TextList = Field(description="A text, or a list of texts.")
    normalize: bool | None = Field(None, description="The vectors have length 1; false: status 422.")

    @property
    def named_texts(self) -> list[tuple[str, str]]:
        """Texts to embed, each with the name of its field."""
        if self.normalize is False:
            raise InvalidRequestError(
                "normalize is false, and vectors have length 1 here.", hint="Leave normalize out; cosines are the same."
            )
        if not self.inputs:
            raise EmptyTextError("inputs")
        return [(f"inputs.{position}", text) for position, text in enumerate(self.inputs)]

    def to_response(self, vectors: Vectors, model: str, tokens: int, warnings: Sequence[str]) -> Any:
        """Return the content of the response, a bare array of vectors."""
        return to_json(vectors)


class SimilarityInputs(BaseModel):
    """A sentence, and those that it is compared with."""

    source_sentence: str = Field(description="The sentence that the others are compared with.")
    sentences: list[str] = Field(min_length=1, description="Sentences to compare with it.")


class SimilarityRequestBody(_TeiBody):
    """Request for cosines of vectors, as text-embeddings-inference's `/similarity` takes it."""

    inputs: SimilarityInputs = Field(description="A sentence, and those that it is compared with.")

    @property
    def named_texts(self) -> list[tuple[str, str]]:
        """Texts to embed, each with the name of its field."""
        sentences = enumerate(self.inputs.sentences)
        source = ("inputs.source_sentence", self.inputs.source_sentence)
        return [source, *((f"inputs.sentences.{position}", text) for position, text in sentences)]

    def to_response(self, vectors: Vectors, model: str, tokens: int, warnings: Sequence[str]) -> Any:
        """Return the content of the response, the cosine of each sentence with the first."""
        return to_json(vectors[1:] @ vectors[0])


def to_json(numbers: Vectors) -> orjson.Fragment:
    """Return numbers as JSON, with the digits that float32 has."""
    return orjson.Fragment(orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY))


def to_base64(vector: Vectors) -> str:
    """Return the bytes of a vector, little-endian float32, in base64.

    Example:
        >>> to_base64(np.array([1.0], np.float32))
        'AACAPw=='
    """
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
