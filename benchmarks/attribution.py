"""Sentences of answers matched to passages: `python -m benchmarks.attribution`.

The claims are about the demo's handbook: true ones in other words, ones on matters that it does not mention, and ones
that contradict it in a number. Each is scored with the five passages that keyword search finds for it.
"""

from __future__ import annotations

import json
from pathlib import Path

from rerankd import Reranker
from rerankd._common.sentences import sentences
from rerankd.demo.shop import load_sections
from rerankd.retrieval.attribution import DEFAULT_SUPPORT
from rerankd.retrieval.bm25 import rank_by_bm25
from rerankd.retrieval.figures import figures
from rerankd.types import Document

CLAIMS = Path(__file__).with_name("claims.jsonl")
PASSAGE_TOKENS, PASSAGES = 160, 5
THRESHOLDS = (0.2, 0.3, DEFAULT_SUPPORT, 0.4, 0.5, 0.6)


def passages(reranker: Reranker, language: str) -> list[Document]:
    """Return the handbook in passages of whole sentences, without what the archive repeats."""
    tokenizer, found = reranker.files.tokenizer(), list[Document]()
    for section in load_sections(language):
        if str(section.id).startswith("archive"):
            continue
        pending = ""
        for sentence in sentences(section.text):
            if pending and len(tokenizer.encode(pending + sentence).ids) > PASSAGE_TOKENS:
                found.append(Document(pending, section.id))
                pending = ""
            pending += sentence
        found.append(Document(pending, section.id))
    return found


def main() -> None:
    """Print how many claims of each kind get a passage, by threshold."""
    reranker = Reranker("mini")
    texts = {language: passages(reranker, language) for language in ("en", "zh")}
    scores: dict[str, list[float]] = {"supported": [], "unsupported": [], "contradicted": []}
    right: list[float] = []  # scores of the claims whose best passage is from the section with the answer
    for line in CLAIMS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        known = texts[row["language"]]
        order = rank_by_bm25(row["claim"], [passage.text for passage in known])[:PASSAGES]
        ranked = reranker.rank(row["claim"], [known[i] for i in order], activation="sigmoid")
        stated = figures(row["claim"])
        best = next((each for each in ranked if stated <= figures(each.document.text)), None)
        scores[row["kind"]].append(best.relevance_score if best else 0.0)
        if best and row["kind"] == "supported" and row["heading"] in str(best.document.id):
            right.append(best.relevance_score)
    for threshold in THRESHOLDS:
        counts = [f"{kind} {_at_least(values, threshold)} of {len(values)}" for kind, values in scores.items()]
        print(f"{threshold:4.2f}: attributed: {', '.join(counts)}; to the right section {_at_least(right, threshold)}")


def _at_least(values: list[float], threshold: float) -> int:
    return sum(value >= threshold for value in values)


if __name__ == "__main__":
    main()
