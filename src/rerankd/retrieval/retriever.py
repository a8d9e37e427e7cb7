"""The first stage as everything else sees it: a query goes in, some fifty documents come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from rerankd.ranking.order import RRF_CONSTANT, SCORE
from rerankd.types import Document

DEFAULT_K = 50


class Retriever(Protocol):
    """A first stage. Called from any thread."""

    def search(self, query: str, k: int = DEFAULT_K) -> list[Document]:
        """The `k` documents that match best, best first.

        Each has its score in `metadata["score"]` and, where it is known, its origin in `metadata["source"]`.

        Raises:
            RerankdError: it cannot be asked now, or not like that.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class IndexedPassage:
    """A passage as an index keeps it.

    Attributes:
        id: unique in the index.
        source: the file it came from, as the user named it.
        part: its number in the file, from 0.
        digest: of the file's content and of how it was cut.
        text: what models read.
        metadata: anything else.
    """

    id: str
    source: str
    part: int
    digest: str
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file that is in the index completely.

    Attributes:
        source: its name.
        digest: of its content and of how it was cut.
        passages: how many it gave.
    """

    source: str
    digest: str
    passages: int


class Index(Retriever, Protocol):
    """A first stage that documents can be put into."""

    def __len__(self) -> int: ...

    def write_lock(self) -> AbstractContextManager[None]:
        """Keep other writers out, as far as that can be done."""
        ...

    def files(self) -> dict[str, IndexedFile]:
        """The files that are in the index completely, by name."""
        ...

    def sources(self) -> dict[tuple[str, str], int]:
        """Passages by file and digest, of incomplete files too."""
        ...

    def add(self, rows: Sequence[IndexedPassage], complete: Sequence[IndexedFile] = ()) -> None:
        """Put passages in, then say which files are complete."""
        ...

    def remove(self, sources: Iterable[str], keep: str | None = None) -> None:
        """Take files out; those passages that have the digest `keep` stay."""
        ...

    def refresh(self) -> None:
        """Bring what searching needs up to what is there."""
        ...


def with_score(document: Document, score: float) -> Document:
    """A document with the first stage's score in its metadata."""
    return Document(document.text, document.id, {**document.metadata, SCORE: score})


def reciprocal_rank_fusion(
    rankings: Sequence[Iterable[Document]], k: int, constant: int = RRF_CONSTANT
) -> list[Document]:
    """Several rankings as one (Cormack, Clarke and Buettcher 2009); documents are the same where their ids are.

    Args:
        rankings: best first.
        k: how many to keep.
        constant: the formula's k.

    Example:
        >>> a, b = Document("a", "1"), Document("b", "2")
        >>> [found.id for found in reciprocal_rank_fusion([[a, b], [b]], 2)]
        ['2', '1']
    """
    points: dict[str, float] = {}
    known: dict[str, Document] = {}
    for ranking in rankings:
        for place, document in enumerate(ranking, 1):
            name = document.id if document.id is not None else document.text
            points[name] = points.get(name, 0.0) + 1 / (constant + place)
            known.setdefault(name, document)
    best = sorted(points, key=lambda name: -points[name])[:k]
    return [with_score(known[name], points[name]) for name in best]
