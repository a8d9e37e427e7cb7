"""Collections that tests of evaluation share: written as files, or made up in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from rerankd.evaluation.trec import Rankings

QUERIES = {"q1": "熊猫吃什么?", "q2": "capital of France", "q3": "how high is Everest?"}
DOCUMENTS = {
    "d1": ("熊猫", "大熊猫主要吃竹子。"),
    "d2": ("", "Paris is the capital of France."),
    "d3": ("", "Everest is 8,849 metres high."),
    "d4": ("", "A capital letter begins a sentence in France and elsewhere."),
    "d5": ("", "熊猫直播是一个网站。"),
    "d6": ("Mountains", "Everest was climbed in 1953."),
}
QRELS = {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 2, "d6": 1}}
CANDIDATES = {"q1": ("d5", "d1"), "q2": ("d4", "d2", "d6"), "q3": ("d6", "d3", "d2")}


def write_folder(folder: Path, *, candidates: bool = True) -> Path:
    """Return a BEIR folder of three queries."""
    folder.mkdir(parents=True)
    queries = [json.dumps({"_id": name, "text": text}, ensure_ascii=False) for name, text in QUERIES.items()]
    corpus = [
        json.dumps({"_id": name, "title": title, "text": text}, ensure_ascii=False)
        for name, (title, text) in DOCUMENTS.items()
    ]
    judged = [f"{query}\t{name}\t{grade}" for query, grades in QRELS.items() for name, grade in grades.items()]
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    (folder / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]))
    if candidates:
        lines = [
            f"{query} Q0 {name} {rank} {10 - rank} bm25"
            for query, ranking in CANDIDATES.items()
            for rank, name in enumerate(ranking, start=1)
        ]
        (folder / "candidates.trec").write_text("\n".join(lines))
    return folder


def made_up(queries: int, depth: int, seed: int) -> tuple[dict[str, dict[str, int]], Rankings]:
    """One relevant document for each query, somewhere in its ranking, near the top more often."""
    generator = np.random.default_rng(seed)
    positions = np.minimum(generator.geometric(0.35, queries) - 1, depth - 1)
    rankings = {f"q{q}": tuple(f"d{d}" for d in range(depth)) for q in range(queries)}
    return {f"q{q}": {f"d{position}": 1} for q, position in enumerate(positions)}, rankings


def shaken(rankings: Rankings, noise: float, seed: int) -> Rankings:
    """Every document's place changed by chance, the larger the noise the more."""
    generator = np.random.default_rng(seed)
    noisy = {}
    for query, ranking in rankings.items():
        scores = np.arange(len(ranking)) + generator.normal(0, noise, len(ranking))
        noisy[query] = tuple(ranking[position] for position in np.argsort(scores, kind="stable"))
    return noisy
