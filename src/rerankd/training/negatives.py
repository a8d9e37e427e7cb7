"""Hard negatives: passages that look like answers and are none.

The best are documents that our own system ranked high and users rejected; those come with the examples. Where an
example has too few, its candidates that nobody judged and keyword search over all passages give more, and the champion
drops those that it holds for answers. (sentence-transformers' `mine_hard_negatives` looks with a bi-encoder; none is at
hand offline, and keywords find what fools vector search and rerankers alike.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from rerankd.evaluation.first_stage import MAX_WORK, bm25_candidates
from rerankd.training.examples import Example, comparable

Score = Callable[[str, Sequence[str]], Sequence[float]]

DEPTH = 50
LOOKED = 2  # times as many candidates as are wanted are held against the champion
MARGIN = 0.05  # a passage that scores within it of the best answer may be one


def with_negatives(
    examples: Sequence[Example],
    count: int,
    score: Score | None = None,
    margin: float = MARGIN,
    among: Sequence[Example] = (),
) -> list[Example]:
    """Give every example `count` negatives where they can be found; candidates that nobody judged come first.

    Args:
        examples: cleaned.
        count: negatives wanted of each.
        score: probabilities (0 to 1) of the champion for a query's texts; None to drop nothing.
        margin: a found passage stays if its score is below `(1 - margin)` times that of the best answer.
        among: examples whose passages are looked through too.
    """
    passages = dict.fromkeys(
        text for one in (*examples, *among) for text in (*one.positives, *one.negatives, *one.unjudged)
    )
    texts = {str(number): text for number, text in enumerate(passages)}
    few = {str(n): e for n, e in enumerate(examples) if len(e.negatives) < count}
    if not few or len(texts) < 2:
        return list(examples)
    searched = {n: e.query for n, e in few.items() if len(e.negatives) + len(e.unjudged) < LOOKED * count}
    if searched:  # as many passages as can be looked through in memory
        texts = dict(itertools.islice(texts.items(), MAX_WORK // len(searched)))
    found = bm25_candidates(searched, texts, DEPTH) if searched else {}
    full = list(examples)
    for number, example in few.items():
        own = {comparable(text) for text in (*example.positives, *example.negatives)}
        offered = list(dict.fromkeys((*example.unjudged, *(texts[doc] for doc in found.get(number, ())))))[:DEPTH]
        wanted = count - len(example.negatives)
        offered = [text for text in offered if comparable(text) not in own][: LOOKED * wanted]
        if score is not None and offered:
            scores = score(example.query, [*example.positives, *offered])
            best = max(scores[: len(example.positives)])
            rest = scores[len(example.positives) :]
            offered = [text for text, own_score in zip(offered, rest, strict=True) if own_score < (1 - margin) * best]
        if more := tuple(offered[:wanted]):
            full[int(number)] = replace(
                example, negatives=example.negatives + more, positive_scores=(), negative_scores=()
            )
    return full
