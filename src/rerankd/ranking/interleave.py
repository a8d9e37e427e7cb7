"""One list made of two models' scores, by team draft, in a form that the rest of the pipeline ranks as it is. Pure.

Places are told by scores: the document at place k of the merged list gets the k-th highest logit of the champion's.
So the scores that are shown fall from first to last, their distribution is the champion's, and its thresholds hold;
which of them a document has depends on both models. Rules and fusion have had their say in each ranking before they
are merged; pins have theirs afterwards.
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
class Merged:
    """What is ranked in place of what was scored.

    Attributes:
        request: without fusion, which is counted in.
        scores: one for each document.
        adjustments: pins and what is hidden; shifts are counted in. Empty without rules.
        teams: `0`, `1` or `-` for each document: whose pick it is; `-` for the common beginning, pins and hidden ones.
    """

    request: RerankRequest
    scores: list[PairScore]
    adjustments: tuple[Adjustment, ...]
    teams: str


def merge(
    request: RerankRequest,
    champion: Sequence[PairScore],
    challenger: Sequence[PairScore],
    adjustments: Sequence[Adjustment],
    seed: int,
) -> Merged:
    """Make one list.

    Args:
        request: what was asked.
        champion: its scores of the documents.
        challenger: and the other model's.
        adjustments: what rules do to each document; empty without rules.
        seed: of the coins.

    Example:
        >>> from rerankd.types import Document
        >>> first, second = ([PairScore(raw, 5, False) for raw in raws] for raws in ([3.0, 2.0, 1.0], [3.0, 1.0, 2.0]))
        >>> found = merge(RerankRequest("q", [Document("d")] * 3), first, second, (), 7)
        >>> sorted(score.raw_score for score in found.scores), found.teams[0]
        ([1.0, 2.0, 3.0], '-')
    """
    unpinned = tuple(replace(one, pin_to=0) for one in adjustments)
    rankings = [order_of(request.documents, scores, unpinned, request.fusion) for scores in (champion, challenger)]
    mixed = interleave(rankings[0], rankings[1], seed)
    shifts = [one.boost for one in adjustments] or [0.0] * len(champion)
    own = [score.raw_score + shift for score, shift in zip(champion, shifts, strict=True)]
    falling = _falling(sorted((own[place] for place in rankings[0]), reverse=True))
    logits, teams = list(own), [NEITHER] * len(champion)
    for place, document in enumerate(mixed.order):
        logits[document] = falling[place]
        team = mixed.teams[place]
        if team is not None and not (adjustments and adjustments[document].pin_to):
            teams[document] = str(team)
    scores = [replace(score, raw_score=logit) for score, logit in zip(champion, logits, strict=True)]
    said = tuple(replace(one, boost=0.0) for one in adjustments)
    return Merged(replace(request, fusion=None), scores, said, "".join(teams))


def _falling(values: list[float]) -> list[float]:
    """The same numbers, equal ones a little apart, since equal scores are ranked as documents came."""
    found: list[float] = []
    for value in values:
        found.append(min(value, math.nextafter(found[-1], -math.inf)) if found else value)
    return found
