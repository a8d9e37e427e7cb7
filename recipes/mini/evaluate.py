"""Step 7: measure the finished file on documents that training never saw, against the first stage.

Each pack's BM25 top 50 is reranked for a fixed sample of its held-out queries. nDCG@10 (gain = grade) and RR@10 by
ir_measures; the interval is a paired bootstrap over queries of the difference to BM25.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ir_measures  # type: ignore[import-untyped]
import numpy as np
from ir_measures import RR, nDCG

from rerankd import Reranker

from . import data

QUERIES = 200
MEASURES = (nDCG @ 10, RR @ 10)


def _run(ranked: list[str]) -> dict[str, float]:
    """Strictly decreasing scores, because evaluators break ties by document id."""
    return {doc_id: float(len(ranked) - place) for place, doc_id in enumerate(ranked)}


def _per_query(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> dict[Any, np.ndarray]:
    found: dict[Any, dict[str, float]] = {measure: dict.fromkeys(qrels, 0.0) for measure in MEASURES}
    for metric in ir_measures.iter_calc(list(MEASURES), qrels, run):
        found[metric.measure][metric.query_id] = metric.value
    return {measure: np.array([values[query] for query in qrels]) for measure, values in found.items()}


def _interval(difference: np.ndarray, draws: int = 2000) -> list[float]:
    generator = np.random.default_rng(3)
    means = difference[generator.integers(0, len(difference), (draws, len(difference)))].mean(axis=1)
    return [round(float(np.quantile(means, q)), 4) for q in (0.025, 0.975)]


def evaluate_pack(pack: data.Pack, reranker: Reranker, limit: int = QUERIES) -> dict[str, Any]:
    """Measures of one pack: first stage, model, difference with its 95 % interval."""
    chosen = pack.held_out_queries
    if len(chosen) > limit:
        chosen = sorted(random.Random(23).sample(chosen, limit))
    # A query may have further answers on the training side; only held-out documents count as found.
    qrels = {q: {d: g for d, g in pack.qrels[q].items() if d in pack.held_out} for q in chosen}
    before = {q: _run(pack.candidates.get(q, [])) for q in chosen}
    after = {}
    for query in chosen:
        candidates = pack.candidates.get(query, [])
        result = reranker.rank(pack.queries[query], [pack.corpus[d] for d in candidates], None)
        after[query] = _run([candidates[ranked.index] for ranked in result])
    first, second = _per_query(qrels, before), _per_query(qrels, after)
    row: dict[str, Any] = {"pack": pack.name, "queries": len(chosen)}
    for measure in MEASURES:
        row[f"bm25 {measure}"] = round(float(first[measure].mean()), 4)
        row[f"mini {measure}"] = round(float(second[measure].mean()), 4)
    difference = second[nDCG @ 10] - first[nDCG @ 10]
    return row | {"delta": round(float(difference.mean()), 4), "interval": _interval(difference)}


def evaluate(
    root: Path, model: str, out: Path | None, limit: int = QUERIES, packs: Sequence[str] = data.PACKS
) -> list[dict[str, Any]]:
    """Evaluate a model on packs, print a row for each, and write the rows to `out` as JSON."""
    reranker = Reranker(model)
    rows = []
    for name in packs:
        rows.append(evaluate_pack(data.load_pack(root, name), reranker, limit))
        print(json.dumps(rows[-1]), flush=True)
    if out is not None:
        out.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def main() -> None:
    """Measure a model, the bundled one by default."""
    parser = argparse.ArgumentParser(description="Measure a model on held-out documents against BM25.")
    parser.add_argument("--data", type=Path, required=True, help="folder with dev/")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--packs", nargs="+", choices=data.PACKS, default=data.PACKS)
    parser.add_argument("--queries", type=int, default=QUERIES, help="held-out queries per pack")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    evaluate(arguments.data, arguments.model, arguments.out, arguments.queries, arguments.packs)


if __name__ == "__main__":
    main()
