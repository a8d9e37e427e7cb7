"""rerankd: a reranker for retrieval, as a library, a service and a client of the service.

Importing the package loads neither a model nor a large library; each is loaded where it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports
from rerankd._common.version import __version__

if TYPE_CHECKING:
    from rerankd.async_reranker import AsyncReranker
    from rerankd.client import AsyncClient, Client
    from rerankd.errors import (
        AuthenticationError,
        BodyTimeoutError,
        ConflictError,
        CorruptModelError,
        CrossOriginError,
        DeadlineExceededError,
        HostNotAllowedError,
        InvalidInputFileError,
        InvalidRequestError,
        MethodNotAllowedError,
        MissingDependencyError,
        ModelError,
        ModelNotFoundError,
        NotFoundError,
        OverloadedError,
        PayloadTooLargeError,
        PermissionDeniedError,
        PromotionRefusedError,
        RateLimitedError,
        RequestCancelledError,
        RerankdError,
        RetryableError,
        ScoringError,
        UnavailableError,
        UnsupportedFieldError,
        UnsupportedMediaTypeError,
        UnsupportedModelError,
        VerificationError,
    )
    from rerankd.reranker import Reranker
    from rerankd.types import Document, Pair, RankedDocument, RerankResult, Span, SpanOptions, Usage

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.async_reranker": ("AsyncReranker",),
        "rerankd.client": ("AsyncClient", "Client"),
        "rerankd.reranker": ("Reranker",),
        "rerankd.types": ("Document", "Pair", "RankedDocument", "RerankResult", "Span", "SpanOptions", "Usage"),
        "rerankd.errors": (
            "AuthenticationError",
            "BodyTimeoutError",
            "ConflictError",
            "CorruptModelError",
            "CrossOriginError",
            "DeadlineExceededError",
            "HostNotAllowedError",
            "InvalidInputFileError",
            "InvalidRequestError",
            "MethodNotAllowedError",
            "MissingDependencyError",
            "ModelError",
            "ModelNotFoundError",
            "NotFoundError",
            "OverloadedError",
            "PayloadTooLargeError",
            "PermissionDeniedError",
            "PromotionRefusedError",
            "RateLimitedError",
            "RequestCancelledError",
            "RerankdError",
            "RetryableError",
            "ScoringError",
            "UnavailableError",
            "UnsupportedFieldError",
            "UnsupportedMediaTypeError",
            "UnsupportedModelError",
            "VerificationError",
        ),
    },
)

__all__ = [
    "AsyncClient",
    "AsyncReranker",
    "AuthenticationError",
    "BodyTimeoutError",
    "Client",
    "ConflictError",
    "CorruptModelError",
    "CrossOriginError",
    "DeadlineExceededError",
    "Document",
    "HostNotAllowedError",
    "InvalidInputFileError",
    "InvalidRequestError",
    "MethodNotAllowedError",
    "MissingDependencyError",
    "ModelError",
    "ModelNotFoundError",
    "NotFoundError",
    "OverloadedError",
    "Pair",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "PromotionRefusedError",
    "RankedDocument",
    "RateLimitedError",
    "RequestCancelledError",
    "RerankResult",
    "RerankdError",
    "Reranker",
    "RetryableError",
    "ScoringError",
    "Span",
    "SpanOptions",
    "UnavailableError",
    "UnsupportedFieldError",
    "UnsupportedMediaTypeError",
    "UnsupportedModelError",
    "Usage",
    "VerificationError",
    "__version__",
]


def __dir__() -> list[str]:
    return __all__
