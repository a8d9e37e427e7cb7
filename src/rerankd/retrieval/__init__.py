"""Retrieval: the first stage that returns candidates, ingestion of documents, and answers with citations (RAG)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.retrieval.answer import Answer, Passage, SearchResult
    from rerankd.retrieval.ingest import IngestOptions
    from rerankd.retrieval.lance import LanceIndex
    from rerankd.retrieval.rag import Rag
    from rerankd.retrieval.retriever import Index, Retriever
    from rerankd.retrieval.selection import SearchOptions

__all__ = [
    "Answer",
    "Index",
    "IngestOptions",
    "LanceIndex",
    "Passage",
    "Rag",
    "Retriever",
    "SearchOptions",
    "SearchResult",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.retrieval.answer": (
            "Answer",
            "Passage",
            "SearchResult",
        ),
        "rerankd.retrieval.ingest": ("IngestOptions",),
        "rerankd.retrieval.lance": ("LanceIndex",),
        "rerankd.retrieval.rag": ("Rag",),
        "rerankd.retrieval.retriever": (
            "Index",
            "Retriever",
        ),
        "rerankd.retrieval.selection": ("SearchOptions",),
    },
)
