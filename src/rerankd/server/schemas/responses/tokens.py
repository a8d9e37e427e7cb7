"""Answers of `/tokenize` and its inverse, for clients of text-embeddings-inference and of vLLM."""

from __future__ import annotations

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict


@with_config(
    ConfigDict(json_schema_extra={"examples": [{"id": 9217, "text": "panda", "special": False, "start": 0, "stop": 5}]})
)
class TeiToken(TypedDict):
    """A token, as text-embeddings-inference writes it.

    Attributes:
        id: id of the token.
        text: the text that it stands for; the name of a special token.
        special: true for a token that the model's template adds.
        start: first character of the text, from 0; null for a special token.
        stop: character after the last; null for a special token.
    """

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


@with_config(
    ConfigDict(
        json_schema_extra={"examples": [{"count": 3, "max_model_len": 512, "tokens": [0, 9217, 2], "token_strs": None}]}
    )
)
class TokenizeResponse(TypedDict):
    """Tokens of a text, as vLLM writes them.

    Attributes:
        count: number of tokens.
        max_model_len: longest input of the model, in tokens.
        tokens: ids of the tokens.
        token_strs: the tokens as text; null unless the request asks for them.
    """

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


@with_config(ConfigDict(json_schema_extra={"examples": [{"prompt": "panda food"}]}))
class DetokenizeResponse(TypedDict):
    """The text of ids, as vLLM writes it.

    Attributes:
        prompt: the text.
    """

    prompt: str
