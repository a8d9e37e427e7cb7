"""Error answers: one form for most routes, and those of text-embeddings-inference and Voyage."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict


class ErrorDetail(TypedDict):
    """What went wrong, in the form of OpenAI's and vLLM's errors.

    Attributes:
        message: what went wrong and how to fix it.
        type: stable code of the error, such as `invalid_request`.
        param: field that a strict request cannot have; null for other errors.
        code: the same code.
    """

    message: str
    type: str
    param: str | None
    code: str


class ErrorResponse(TypedDict):
    """An error; its text is in three places, since clients look for it in different ones.

    Attributes:
        error: what OpenAI's and vLLM's clients read.
        detail: what Jina's, Xinference's and Haystack's clients read.
        message: what Cohere's clients read.
        id: id of the request, as in its log lines; empty for a request that is not valid HTTP.
    """

    error: ErrorDetail
    detail: str
    message: str
    id: str


class TeiErrorResponse(TypedDict):
    """An error, as text-embeddings-inference writes it.

    Attributes:
        error: what went wrong and how to fix it.
        error_type: kind of the error.
    """

    error: str
    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Empty"]


class VoyageErrorResponse(TypedDict):
    """An error, as Voyage writes it.

    Attributes:
        detail: what went wrong and how to fix it.
    """

    detail: str
