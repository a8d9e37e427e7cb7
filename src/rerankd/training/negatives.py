"""Hard negatives: passages that look like answers but are not.

The best ones are documents that the system ranked high and users rejected; those come with the examples. If an example
has too few, its unjudged candidates and a keyword search over all passages provide more, and the base model drops those
that it scores like an answer. (sentence-transformers' `mine_hard_negatives` needs a bi-encoder, and none is available
offline; keyword search finds what fools vector search and rerankers alike.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from rerankd.evaluation.first_stage import MAX_WORK, bm25_candidates
from rerankd.training.examples import Example, normalize

Score = Callable[[str, Sequence[str]], Sequence[float]]

DEPTH = 50
OVERSAMPLING = 2  # candidates scored by the base model, per negative needed
MARGIN = 0.05  # a passage that scores within it of the best positive may be an answer


def add_negatives(
    examples: Sequence[Example],
    count: int,
    score: Score | None = None,
    margin: float = MARGIN,
    among: Sequence[Example] = (),
) -> list[Example]:
    """Fill up every example to `count` negatives if possible; unjudged candidates come first.

    Args:
        examples: cleaned examples.
        count: negatives per example.
        score: probabilities (0 to 1) of the base model for a query's passages; None to drop nothing.
        margin: a mined passage is kept if its score is below `(1 - margin)` times that of the best positive.
        among: further examples whose passages are searched.

    Returns:
        The examples in order; those with new negatives have no scores of a teacher.
    """
    passages = dict.fromkeys(
        text for example in (*examples, *among) for text in (*example.positives, *example.negatives, *example.unjudged)
    )
    texts = {str(number): text for number, text in enumerate(passages)}
    incomplete = {str(n): example for n, example in enumerate(examples) if len(example.negatives) < count}
    if not incomplete or len(texts) < 2:
        return list(examples)
    queries = {
        number: example.query
        for number, example in incomplete.items()
        if len(example.negatives) + len(example.unjudged) < OVERSAMPLING * count
    }
    if queries:  # as many passages as BM25 in memory can search
        texts = dict(itertools.islice(texts.items(), MAX_WORK // len(queries)))
    retrieved = bm25_candidates(queries, texts, DEPTH) if queries else {}
    completed = list(examples)
    for number, example in incomplete.items():
        candidates = [*example.unjudged, *(texts[doc_id] for doc_id in retrieved.get(number, ()))]
        negatives = _select(example, candidates, count - len(example.negatives), score, margin)
        if negatives:
            completed[int(number)] = replace(
                example, negatives=example.negatives + negatives, positive_scores=(), negative_scores=()
            )
    return completed


def _select(
    example: Example, candidates: Sequence[str], count: int, score: Score | None, margin: float
) -> tuple[str, ...]:
    """Return up to `count` candidates that the base model does not score like an answer."""
    known = {normalize(text) for text in (*example.positives, *example.negatives)}
    unique = list(dict.fromkeys(candidates))[:DEPTH]
    negatives = [text for text in unique if normalize(text) not in known][: OVERSAMPLING * count]
    if score is not None and negatives:
        scores = score(example.query, [*example.positives, *negatives])
        best = max(scores[: len(example.positives)])
        others = scores[len(example.positives) :]
        negatives = [text for text, value in zip(negatives, others, strict=True) if value < (1 - margin) * best]
    return tuple(negatives[:count])
