"""Selection of passages after reranking: score threshold, near-duplicates, number of passages and token budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rerankd.retrieval.answer import Passage
from rerankd.retrieval.duplicates import duplicates
from rerankd.retrieval.retriever import DEFAULT_K
from rerankd.retrieval.splitting import TokenOffsets
from rerankd.types import RankedDocument

DEFAULT_TOP_N = 5
DEFAULT_THRESHOLD = 0.15
DEFAULT_BUDGET = 2000


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Sizes and limits of a search.

    Attributes:
        k: number of candidates to retrieve.
        top_n: maximum number of passages to keep.
        threshold: lowest relevance score of a kept passage, 0 to 1; 0 keeps all.
        budget: maximum number of tokens of all kept passages together.
    """

    k: int = DEFAULT_K
    top_n: int = DEFAULT_TOP_N
    threshold: float = DEFAULT_THRESHOLD
    budget: int = DEFAULT_BUDGET


def select_passages(ranking: Sequence[RankedDocument], options: SearchOptions, offsets: TokenOffsets) -> list[Passage]:
    """Decide which candidates become numbered passages.

    A pinned document ignores the threshold. A passage that does not fit into the rest of the budget is skipped for the
    next one; the first is truncated instead, so that there is always something to answer from.

    Args:
        ranking: reranked candidates, best first.
        options: limits.
        offsets: token offsets of a text.

    Returns:
        One passage for each candidate, in the same order.
    """
    duplicate_of = duplicates([ranked.document.text for ranked in ranking])
    passages: list[Passage] = []
    number, budget_left = 0, options.budget
    for position, ranked in enumerate(ranking):
        pinned = any(rule.action == "pin" for rule in ranked.rules)
        if ranked.relevance_score < options.threshold and not pinned:
            passages.append(Passage(0, ranked, "threshold"))
        elif position in duplicate_of:
            original = ranking[duplicate_of[position]].document
            passages.append(Passage(0, ranked, "duplicate", "" if original.id is None else str(original.id)))
        elif number == options.top_n:
            passages.append(Passage(0, ranked, "top_n"))
        else:
            spans = offsets(ranked.document.text)
            if len(spans) > budget_left and number:
                passages.append(Passage(0, ranked, "budget"))
                continue
            if len(spans) > budget_left:
                truncated = ranked.document.text[: spans[budget_left - 1][1]]
                ranked = replace(ranked, document=replace(ranked.document, text=truncated))
            number, budget_left = number + 1, budget_left - len(spans)
            passages.append(Passage(number, ranked))
    return passages
