"""One list interleaved from two models' scores by team draft, in a form that is ranked like any scores. Pure.

Positions are expressed as scores: the document at position k of the interleaved list gets the k-th highest logit of the
champion. So scores fall from first to last, their distribution is the champion's, and its thresholds hold; the document
that has each of them depends on both models. Rules and fusion act on each ranking before the two are interleaved; pins
act on the interleaved list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rerankd.ranking.order import order_of
from rerankd.ranking.team_draft import interleave
from rerankd.types import Adjustment, PairScore, RerankRequest

NEITHER = "-"


@dataclass(frozen=True, slots=True)
class InterleavedScores:
    """Scores that stand for an interleaved list.

    Attributes:
        request: the request without fusion, which is part of the scores already.
        scores: one score for each document.
        adjustments: pins and filters of the rules; boosts are part of the scores already. Empty without rules.
        teams: one character for each document: `0` if the champion's ranking picked it, `1` if the challenger's did,
            `-` for the common beginning of both rankings, pinned documents and filtered ones.
    """

    request: RerankRequest
    scores: list[PairScore]
    adjustments: tuple[Adjustment, ...]
    teams: str


def interleave_scores(
    request: RerankRequest,
    champion: Sequence[PairScore],
    challenger: Sequence[PairScore],
    adjustments: Sequence[Adjustment],
    seed: int,
) -> InterleavedScores:
    """Interleave the rankings of two models.

    Args:
        request: the request.
        champion: the champion's scores of its documents.
        challenger: the challenger's scores.
        adjustments: effect of the rules on each document; empty without rules.
        seed: seed of the coin flips.

    Example:
        >>> from rerankd.types import Document
        >>> first, second = ([PairScore(raw, 5, False) for raw in raws] for raws in ([3.0, 2.0, 1.0], [3.0, 1.0, 2.0]))
        >>> interleaved = interleave_scores(RerankRequest("q", [Document("d")] * 3), first, second, (), 7)
        >>> sorted(score.raw_score for score in interleaved.scores), interleaved.teams[0]
        ([1.0, 2.0, 3.0], '-')
    """
    unpinned = tuple(replace(adjustment, pin_to=0) for adjustment in adjustments)
    rankings = [order_of(request.documents, scores, unpinned, request.fusion) for scores in (champion, challenger)]
    draft = interleave(rankings[0], rankings[1], seed)
    boosts = [adjustment.boost for adjustment in adjustments] or [0.0] * len(champion)
    boosted = [score.raw_score + boost for score, boost in zip(champion, boosts, strict=True)]
    falling = _strictly_falling(sorted((boosted[document] for document in rankings[0]), reverse=True))
    logits, teams = list(boosted), [NEITHER] * len(champion)
    for position, document in enumerate(draft.order):
        logits[document] = falling[position]
        team = draft.teams[position]
        if team is not None and not (adjustments and adjustments[document].pin_to):
            teams[document] = str(team)
    return InterleavedScores(
        request=replace(request, fusion=None),
        scores=[replace(score, raw_score=logit) for score, logit in zip(champion, logits, strict=True)],
        adjustments=tuple(replace(adjustment, boost=0.0) for adjustment in adjustments),
        teams="".join(teams),
    )


def _strictly_falling(values: list[float]) -> list[float]:
    """Lower equal numbers by the smallest step: documents of equal score would be ranked in request order."""
    falling: list[float] = []
    for value in values:
        falling.append(min(value, math.nextafter(falling[-1], -math.inf)) if falling else value)
    return falling
