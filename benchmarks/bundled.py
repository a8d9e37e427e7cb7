"""The bundled models against the machine's int8 peak: 50 documents, every pair 150 tokens long."""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks import peak, workload
from rerankd import Reranker
from rerankd.models.architecture import Architecture
from rerankd.models.files import load_model
from rerankd.models.reference import BUNDLED

DOCUMENTS = 50
TOKENS = 150
TURNS = 15


def measure(threads: int) -> dict[str, Any]:
    """Return the median seconds of each bundled model, and the time of its matrix products at the int8 peak."""
    rate = peak.int8_gops(threads)
    rows = []
    for name in BUNDLED:
        seconds = _seconds(name, threads)
        needed = operations(load_model(name).manifest.architecture, DOCUMENTS, TOKENS) / rate / 1e9
        rows.append(
            {
                "model": name,
                "seconds": round(seconds, 4),
                "seconds_at_limit": round(needed, 4),
                "to_limit": round(seconds / needed, 2),
            }
        )
    return {"documents": DOCUMENTS, "tokens": TOKENS, "turns": TURNS, "peak_int8_gops": round(rate), "rows": rows}


def operations(shape: Architecture, pairs: int, length: int) -> float:
    """Return the operations of the matrix products; the bundled models need every token in all layers."""
    linear = length * (8 * shape.hidden * shape.hidden + 4 * shape.hidden * shape.intermediate)
    attention = 4 * length * length * shape.hidden
    return float(pairs * shape.layers * (linear + attention))


def _seconds(name: str, threads: int) -> float:
    reranker = Reranker(name, max_length=TOKENS, threads=threads)
    taken = []
    for turn, (query, documents) in enumerate(workload.requests(TURNS + 2, DOCUMENTS)[0]):
        pairs = [(query, " ".join([text] * (1 + 8 * TOKENS // max(1, len(text))))) for text in documents]
        started = time.perf_counter()
        reranker.score(pairs, activation="none")
        if turn > 1:
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)
