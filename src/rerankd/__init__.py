"""rerankd: the second pass of retrieval. Reads question and candidate together and puts what answers first.

Importing the package loads neither a model nor a heavy library; each is loaded where it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rerankd._common.version import __version__

if TYPE_CHECKING:
    from rerankd.async_reranker import AsyncReranker
    from rerankd.client import AsyncClient, Client
    from rerankd.errors import (
        AuthenticationError,
        CorruptModelError,
        DeadlineExceededError,
        InvalidInputFileError,
        InvalidRequestError,
        MissingDependencyError,
        ModelError,
        ModelNotFoundError,
        OverloadedError,
        PayloadTooLargeError,
        PermissionDeniedError,
        RateLimitedError,
        RequestCancelledError,
        RerankdError,
        RetryableError,
        ScoringError,
        UnavailableError,
        UnsupportedModelError,
        VerificationError,
    )
    from rerankd.reranker import Reranker
    from rerankd.types import Document, Pair, RankedDocument, RerankResult, Usage

_HOMES = {
    "rerankd.async_reranker": ("AsyncReranker",),
    "rerankd.client": ("AsyncClient", "Client"),
    "rerankd.reranker": ("Reranker",),
    "rerankd.types": ("Document", "Pair", "RankedDocument", "RerankResult", "Usage"),
    "rerankd.errors": (
        "AuthenticationError",
        "CorruptModelError",
        "DeadlineExceededError",
        "InvalidInputFileError",
        "InvalidRequestError",
        "MissingDependencyError",
        "ModelError",
        "ModelNotFoundError",
        "OverloadedError",
        "PayloadTooLargeError",
        "PermissionDeniedError",
        "RateLimitedError",
        "RequestCancelledError",
        "RerankdError",
        "RetryableError",
        "ScoringError",
        "UnavailableError",
        "UnsupportedModelError",
        "VerificationError",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncClient",
    "AsyncReranker",
    "AuthenticationError",
    "Client",
    "CorruptModelError",
    "DeadlineExceededError",
    "Document",
    "InvalidInputFileError",
    "InvalidRequestError",
    "MissingDependencyError",
    "ModelError",
    "ModelNotFoundError",
    "OverloadedError",
    "Pair",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "RankedDocument",
    "RateLimitedError",
    "RequestCancelledError",
    "RerankResult",
    "RerankdError",
    "Reranker",
    "RetryableError",
    "ScoringError",
    "UnavailableError",
    "UnsupportedModelError",
    "Usage",
    "VerificationError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'rerankd' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
