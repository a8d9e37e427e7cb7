"""Answers that hold vectors: OpenAI's embeddings. Those of text-embeddings-inference are bare arrays of numbers."""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from rerankd.server.schemas.responses.dialects import PromptUsage, WarningsMeta


class Embedding(TypedDict):
    """A text's vector.

    Attributes:
        object: always `embedding`.
        index: position of the text in the request, from 0.
        embedding: numbers of a vector of length 1; with `encoding_format` `base64` the bytes of little-endian float32.
    """

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


@with_config(
    ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}],
                    "model": "e5-small",
                    "usage": {"prompt_tokens": 7, "total_tokens": 7},
                }
            ]
        }
    )
)
class EmbeddingResponse(TypedDict):
    """Vectors of texts, in their order.

    Attributes:
        object: always `list`.
        data: the vectors.
        model: name of the model.
        usage: tokens of the texts.
        meta: warnings; absent if there is nothing to say.
    """

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: PromptUsage
    meta: NotRequired[WarningsMeta]
