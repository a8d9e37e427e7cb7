"""Scores and orders of the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.recorded.inputs import DOCUMENTS, NAMED, PAIRS, QUERIES, RULES, TINY


def record(folder: Path) -> dict[str, Any]:
    """Return what `Reranker` answers."""
    from rerankd import Document, RerankdError, Reranker

    rules = folder / "rules.yaml"
    rules.write_text(RULES, encoding="utf-8")
    mini, ruled = Reranker(threads=2), Reranker(threads=2, rules=rules)
    short = Reranker(threads=2, max_length=64, long_documents="chunk", chunk_overlap=8, max_chunks=5)
    both = Reranker(threads=2, max_length=48, truncation="longest_first", max_batch_tokens=256)
    tiny = Reranker(str(TINY))
    english, chinese, traditional, emoji = QUERIES
    documents = [Document(one["text"], one["id"], one["metadata"] | {"score": one["score"]}) for one in NAMED]
    results = {
        "rank": mini.rank(chinese, DOCUMENTS),
        "rank all": mini.rank(english, DOCUMENTS, top_n=None),
        "rank logits": mini.rank(traditional, DOCUMENTS, activation="none"),
        "rank softmax": mini.rank(emoji, DOCUMENTS, top_n=3, activation="softmax"),
        "rank threshold": mini.rank(chinese, DOCUMENTS, threshold=0.5),
        "rank nothing": mini.rank(chinese, []),
        "rank weighted": mini.rank(english, documents, fusion="weighted"),
        "rank rrf": mini.rank(english, documents, top_n=None, fusion="rrf", fusion_weight=2.0),
        "rank rrf by order": mini.rank(chinese, DOCUMENTS, fusion="rrf"),
        "rank short": mini.rank(chinese, DOCUMENTS, max_length=32),
        "rank chunks": short.rank(chinese, DOCUMENTS, top_n=None),
        "rank longest first": both.rank(english * 5, DOCUMENTS, top_n=None),
        "rank rules": ruled.rank(emoji, documents, top_n=None),
        "rank rules english": ruled.rank(english, documents, top_n=None),
        "rank tiny": tiny.rank(chinese, DOCUMENTS, top_n=None),
    }
    recorded: dict[str, Any] = {name: asdict(result) for name, result in results.items()}
    recorded["rank_batch"] = [
        asdict(one) for one in mini.rank_batch(QUERIES, [DOCUMENTS[:4], [], DOCUMENTS[4:8], [""]])
    ]
    recorded["score"] = mini.score(PAIRS).tolist()
    recorded["score logits"] = {"logits": mini.score(PAIRS, activation="none", batch_size=2).tolist()}
    recorded["score softmax"] = mini.score(PAIRS, activation="softmax").tolist()
    recorded["score tiny"] = {"logits": tiny.score(PAIRS, activation="none").tolist()}
    recorded["properties"] = [
        {"model": one.model, "version": one.version, "backend": one.backend, "max_length": one.max_length}
        for one in (mini, short, tiny)
    ]
    refused: dict[str, Callable[[], object]] = {
        "empty query": lambda: mini.rank("", DOCUMENTS),
        "not documents": lambda: mini.rank(english, [1]),  # type: ignore[list-item]
        "top_n of 0": lambda: mini.rank(english, DOCUMENTS, top_n=0),
        "max_length": lambda: mini.rank(english, DOCUMENTS, max_length=100_000),
        "activation": lambda: mini.rank(english, DOCUMENTS, activation="relu"),  # type: ignore[arg-type]
        "threshold": lambda: mini.rank(english, DOCUMENTS, threshold=2.0),
        "fusion": lambda: mini.rank(english, DOCUMENTS, fusion="sum"),
        "unmatched": lambda: mini.rank_batch([english], []),
        "no pairs": lambda: mini.score([("a",)]),  # type: ignore[list-item]
        "no model": lambda: Reranker("./nowhere"),
    }
    for name, call in refused.items():
        try:
            call()
        except RerankdError as error:
            recorded[f"refused: {name}"] = {"class": type(error).__name__, "code": error.code, "status": error.status}
        else:
            recorded[f"refused: {name}"] = None
    return recorded
