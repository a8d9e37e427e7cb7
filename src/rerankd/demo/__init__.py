"""The two classic first checks of a reranker: basic scores, and the keyword trap."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        answer: place of the one that answers.
    """

    language: str
    query: str
    documents: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class TrapOutcome:
    """What two rankings made of a trap.

    Attributes:
        trap: the trap.
        before: documents by keywords, best first, as places in `trap.documents`.
        after: documents by the model, best first.
        scores: the model's scores by place in `trap.documents`.
    """

    trap: Trap
    before: tuple[int, ...]
    after: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def fooled(self) -> bool:
        """Whether the keyword stage put something else first."""
        return self.before[0] != self.trap.answer

    @property
    def solved(self) -> bool:
        """Whether the model put the answer first."""
        return self.after[0] == self.trap.answer


def _rows(name: str) -> Iterator[dict[str, Any]]:
    for line in (_FOLDER / name).read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def load_traps() -> list[Trap]:
    """The bundled traps, half Chinese, half English."""
    rows = list(_rows("traps.jsonl"))
    return [Trap(row["language"], row["query"], tuple(row["documents"]), row["answer"]) for row in rows]


def load_pairs() -> list[Pair]:
    """The bundled pairs for basic scoring."""
    return [Pair(row["query"], row["document"]) for row in _rows("pairs.jsonl")]


def run_traps(reranker: Reranker, traps: list[Trap]) -> list[TrapOutcome]:
    """Rank every trap by keywords, then give that ranking to the model, as a search would."""
    before = [tuple(rank_by_bm25(trap.query, trap.documents)) for trap in traps]
    candidates = [[trap.documents[i] for i in order] for trap, order in zip(traps, before, strict=True)]
    results = reranker.rank_batch([trap.query for trap in traps], candidates, top_n=None)
    outcomes = []
    for trap, order, result in zip(traps, before, results, strict=True):
        scores = {order[ranked.index]: ranked.relevance_score for ranked in result}
        after = tuple(order[ranked.index] for ranked in result)
        outcomes.append(TrapOutcome(trap, order, after, tuple(scores[i] for i in range(len(trap.documents)))))
    return outcomes
