"""An index that keeps what it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rerankd.retrieval.retriever import DEFAULT_K, IndexedFile, IndexedPassage
from rerankd.types import Document


class MemoryIndex:
    """The passages of files, as lists."""

    def __init__(self) -> None:
        self.passages: list[IndexedPassage] = []
        self.complete: dict[str, IndexedFile] = {}

    def __len__(self) -> int:
        return len(self.passages)

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        yield

    def files(self) -> dict[str, IndexedFile]:
        return dict(self.complete)

    def sources(self) -> dict[tuple[str, str], int]:
        return {(row.source, row.digest): 1 for row in self.passages}

    def add(self, rows: Sequence[IndexedPassage], complete: Sequence[IndexedFile] = ()) -> None:
        self.passages += rows
        self.complete |= {file.source: file for file in complete}

    def remove(self, sources: Iterable[str], keep: str | None = None) -> None:
        gone = set(sources)
        self.passages = [row for row in self.passages if row.source not in gone or row.digest == keep]

    def rows(self, source: str | None = None) -> list[dict[str, Any]]:
        return [asdict(row) for row in self.passages if source in (None, row.source)]

    def refresh(self) -> None:
        """Nothing is to be done."""

    def search(self, query: str, k: int = DEFAULT_K) -> list[Document]:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held."""
