"""Candidates from the product's own first stage: the documents of a dataset are indexed, its queries searched."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rerankd.evaluation.dataset import Scores, SearchFunction
from rerankd.ranking.order import SCORE
from rerankd.retrieval.embedding import Embedder
from rerankd.retrieval.lance import LanceIndex
from rerankd.retrieval.retriever import IndexedPassage

BATCH_ROWS = 5000


def index_search(embedder: Embedder | None = None) -> SearchFunction:
    """Return a function that indexes a dataset's documents, one passage each, and searches its queries.

    Its description says how long indexing and a query took.

    Args:
        embedder: embeds passages and queries; None for keywords alone.
    """

    def search(queries: Mapping[str, str], documents: Mapping[str, str], depth: int) -> tuple[Scores, str]:
        with tempfile.TemporaryDirectory(prefix="rerankd-eval-") as folder:
            started = time.perf_counter()
            index = LanceIndex(Path(folder), embedder, create=True)
            passages = [IndexedPassage(doc_id, doc_id, 0, "", text, {}) for doc_id, text in documents.items()]
            for start in range(0, len(passages), BATCH_ROWS):
                index.add(passages[start : start + BATCH_ROWS])
            index.refresh()
            seconds = time.perf_counter() - started
            scores, milliseconds = dict[str, dict[str, float]](), []
            for query_id, query in queries.items():
                started = time.perf_counter()
                hits = index.search(query, depth)
                milliseconds.append((time.perf_counter() - started) * 1000)
                scores[query_id] = {str(hit.id): float(hit.metadata[SCORE]) for hit in hits}
        kind = f"keywords and {embedder.name}" if embedder else "keywords"
        p95 = float(np.quantile(milliseconds, 0.95)) if milliseconds else 0.0
        description = (
            f"index of {len(passages):,} documents ({kind}), made in {seconds:.1f} s; a query p95 {p95:.1f} ms"
        )
        return scores, description

    return search
