"""Two first checks of a reranker on bundled examples: scores of single pairs, and keyword traps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerankd._common.lines import split_lines
from rerankd.reranker import Reranker
from rerankd.retrieval.bm25 import rank_by_bm25
from rerankd.types import Pair

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Trap:
    """A query whose answer shares fewer words with it than the other documents do.

    Attributes:
        language: `zh` or `en`.
        query: the question.
        documents: the candidates.
        answer: position of the document that answers, from 0.
    """

    language: str
    query: str
    documents: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class TrapOutcome:
    """The rankings of a trap by keywords and by the model.

    Attributes:
        trap: the trap.
        before: ranking by keywords, best first, as positions in `trap.documents`.
        after: ranking by the model, best first.
        scores: the model's scores, in the order of `trap.documents`.
    """

    trap: Trap
    before: tuple[int, ...]
    after: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def fooled(self) -> bool:
        """True if the keyword stage put another document first."""
        return self.before[0] != self.trap.answer

    @property
    def solved(self) -> bool:
        """True if the model put the answer first."""
        return self.after[0] == self.trap.answer


def load_traps() -> list[Trap]:
    """Return the bundled traps, half of them Chinese, half English."""
    return [Trap(row["language"], row["query"], tuple(row["documents"]), row["answer"]) for row in _rows("traps.jsonl")]


def load_pairs() -> list[Pair]:
    """Return the bundled (query, document) pairs."""
    return [Pair(row["query"], row["document"]) for row in _rows("pairs.jsonl")]


def run_traps(reranker: Reranker, traps: Sequence[Trap]) -> list[TrapOutcome]:
    """Rank each trap by keywords, then rerank that ranking with the model, as a search does.

    Args:
        reranker: the model.
        traps: the traps.

    Returns:
        One outcome for each trap, in their order.

    Example:
        >>> outcomes = run_traps(Reranker(), load_traps())
        >>> all(outcome.fooled for outcome in outcomes)
        True
    """
    before = [tuple(rank_by_bm25(trap.query, trap.documents)) for trap in traps]
    candidates = [[trap.documents[i] for i in order] for trap, order in zip(traps, before, strict=True)]
    results = reranker.rank_batch([trap.query for trap in traps], candidates, top_n=None, activation="sigmoid")
    outcomes = []
    for trap, order, result in zip(traps, before, results, strict=True):
        scores = {order[ranked.index]: ranked.relevance_score for ranked in result}
        after = tuple(order[ranked.index] for ranked in result)
        outcomes.append(TrapOutcome(trap, order, after, tuple(scores[i] for i in range(len(trap.documents)))))
    return outcomes


def _rows(name: str) -> Iterator[dict[str, Any]]:
    for line in split_lines((_FOLDER / name).read_text(encoding="utf-8")):
        yield json.loads(line)
