"""Request bodies of `/tokenize` and its inverse, for clients of text-embeddings-inference and of vLLM."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rerankd.server.schemas.embeddings import TextList

Ids = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=200_000)]


def _list_of_ids(value: Any) -> Any:
    """Return a list of the ids, if the value is a list of ids itself."""
    return [value] if isinstance(value, list) and value and not isinstance(value[0], list) else value


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=(), hide_input_in_errors=True)

    model: str | None = Field(None, max_length=512, description="Model name, of a reranker or an embedding model.")


class TeiTokenizeRequestBody(_Body):
    """Texts to tokenize, as text-embeddings-inference takes them."""

    inputs: TextList = Field(description="A text, or a list of texts.")
    add_special_tokens: bool | None = Field(None, description="Set to false for the text alone.")


class TokenizeRequestBody(_Body):
    """Text to tokenize, as vLLM takes it."""

    prompt: str = Field(description="The text.")
    add_special_tokens: bool | None = Field(None, description="Set to false for the text alone.")
    return_token_strs: bool | None = Field(None, description="Set to true for the tokens as text, too.")


class DecodeRequestBody(_Body):
    """Ids of tokens to turn into text, as text-embeddings-inference takes them."""

    ids: Annotated[list[Ids], BeforeValidator(_list_of_ids)] = Field(
        description="Ids of a text, or of several texts.",
        json_schema_extra={
            "anyOf": [
                {"type": "array", "items": {"type": "integer", "minimum": 0}},
                {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0}}},
            ]
        },
    )
    skip_special_tokens: bool | None = Field(None, description="Set to false to keep special tokens.")


class DetokenizeRequestBody(_Body):
    """Ids of tokens to turn into text, as vLLM takes them."""

    tokens: Ids = Field(description="Ids of a text.")
