"""Interfaces of the first stage: a query goes in, about fifty candidate documents come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from rerankd.ranking.order import RRF_CONSTANT, SCORE
from rerankd.types import Document

DEFAULT_K = 50


class Retriever(Protocol):
    """A first-stage retriever. Thread-safe."""

    def search(self, query: str, k: int = DEFAULT_K) -> list[Document]:
        """Return the best `k` documents, best first.

        Each has its score in `metadata["score"]` and, if known, its origin in `metadata["source"]`.

        Raises:
            RerankdError: the retriever is unavailable, or the query is invalid.
        """
        ...

    def close(self) -> None:
        """Release connections and files."""
        ...


@runtime_checkable
class PassageReader(Protocol):
    """A first stage whose passages can be read one by one. Thread-safe."""

    def read(self, identity: str) -> Document | None:
        """Return a passage by its id; None if there is none."""
        ...

    def page(self, offset: int, limit: int) -> list[Document]:
        """Return the passages from a position on, in the order in which the index holds them.

        Args:
            offset: number of passages to skip.
            limit: number of passages to return.
        """
        ...


@dataclass(frozen=True, slots=True)
class IndexedPassage:
    """A passage as an index stores it.

    Attributes:
        id: id, unique in the index.
        source: path of its file, as the user gave it.
        part: number of the passage in its file, from 0.
        digest: digest of the file's content and the split options.
        text: text that models read.
        metadata: other fields.
    """

    id: str
    source: str
    part: int
    digest: str
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file all of whose passages are in the index.

    Attributes:
        source: path of the file, as the user gave it.
        digest: digest of its content and the split options.
        passages: number of its passages.
    """

    source: str
    digest: str
    passages: int


class Index(Retriever, Protocol):
    """A retriever that documents can be added to."""

    def __len__(self) -> int: ...

    def write_lock(self) -> AbstractContextManager[None]:
        """Exclude other writers, where the index supports it."""
        ...

    def files(self) -> dict[str, IndexedFile]:
        """Return the completely indexed files by name."""
        ...

    def sources(self) -> dict[tuple[str, str], int]:
        """Return the number of passages by file and digest, partly indexed files included."""
        ...

    def add(self, rows: Sequence[IndexedPassage], complete: Sequence[IndexedFile] = ()) -> None:
        """Add passages, then mark the files that are complete."""
        ...

    def remove(self, sources: Iterable[str], keep: str | None = None) -> None:
        """Remove files from the index, except for passages with the digest `keep`."""
        ...

    def rows(self, source: str | None = None) -> list[dict[str, Any]]:
        """Return the passages of a file, or of all files, sorted by source and part.

        Each has `id`, `source`, `part`, `digest`, `text` and `metadata`, which is JSON.
        """
        ...

    def refresh(self) -> None:
        """Update the search indexes after additions and removals."""
        ...


def with_score(document: Document, score: float) -> Document:
    """Return the document with the first stage's score in its metadata."""
    return Document(document.text, document.id, {**document.metadata, SCORE: score})


def reciprocal_rank_fusion(
    rankings: Sequence[Iterable[Document]], k: int, constant: int = RRF_CONSTANT
) -> list[Document]:
    """Fuse rankings by reciprocal ranks (Cormack, Clarke and Buettcher 2009); documents are matched by id.

    Args:
        rankings: rankings, best first.
        k: number of documents to return.
        constant: k in the formula `1 / (k + rank)`.

    Example:
        >>> a, b = Document("a", "1"), Document("b", "2")
        >>> [document.id for document in reciprocal_rank_fusion([[a, b], [b]], 2)]
        ['2', '1']
    """
    scores: dict[str, float] = {}
    documents: dict[str, Document] = {}
    for ranking in rankings:
        for rank, document in enumerate(ranking, 1):
            key = document.text if document.id is None else str(document.id)
            scores[key] = scores.get(key, 0.0) + 1 / (constant + rank)
            documents.setdefault(key, document)
    best = sorted(scores, key=lambda key: -scores[key])[:k]
    return [with_score(documents[key], scores[key]) for key in best]
