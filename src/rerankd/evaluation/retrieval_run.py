"""The first stage of the product as candidates: a set's documents are indexed, its queries asked."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rerankd.evaluation.dataset import Scores, Search
from rerankd.ranking.order import SCORE
from rerankd.retrieval.embedding import Embedder
from rerankd.retrieval.lance import LanceIndex
from rerankd.retrieval.retriever import IndexedPassage

ROWS = 5000


def searching(embedder: Embedder | None = None) -> Search:
    """A search that indexes the documents anew, one passage each, and says how long that and a query took.

    Args:
        embedder: makes vectors; None for keywords alone.
    """

    def search(queries: Mapping[str, str], documents: Mapping[str, str], depth: int) -> tuple[Scores, str]:
        with tempfile.TemporaryDirectory(prefix="rerankd-eval-") as folder:
            began = time.perf_counter()
            index = LanceIndex(Path(folder), embedder, create=True)
            rows = [IndexedPassage(name, name, 0, "", text, {}) for name, text in documents.items()]
            for start in range(0, len(rows), ROWS):
                index.add(rows[start : start + ROWS])
            index.refresh()
            spent = time.perf_counter() - began
            found, times = dict[str, dict[str, float]](), []
            for query, text in queries.items():
                began = time.perf_counter()
                hits = index.search(text, depth)
                times.append((time.perf_counter() - began) * 1000)
                found[query] = {str(hit.id): float(hit.metadata[SCORE]) for hit in hits}
        kind = f"keywords and {embedder.name}" if embedder else "keywords"
        late = float(np.quantile(times, 0.95)) if times else 0.0
        return found, f"index of {len(rows):,} documents ({kind}), made in {spent:.1f} s; a query p95 {late:.1f} ms"

    return search
