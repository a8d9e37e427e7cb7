"""What makes a ranking a bad case. Pure: looks at one trace, what was said of it, and how its model usually scores.

Each detector is a sentence that can be checked: `chosen_low` a document that was clicked, cited or praised stands low;
`top_rejected` the document put first was rejected; `demoted` the first stage's best was moved down and then chosen;
`low_margin` first and second are as good as equal; `outlier` the first document's score is far from the usual;
`disagreement` a second model puts another document first, and agrees little on the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rerankd.feedback.store import Feedback
from rerankd.traces.replay import Replay
from rerankd.traces.store import FullTrace

CHOSEN_LOW, TOP_REJECTED, DEMOTED = "chosen_low", "top_rejected", "demoted"
LOW_MARGIN, OUTLIER, DISAGREEMENT, MANUAL = "low_margin", "outlier", "disagreement", "manual"
DETECTORS = (CHOSEN_LOW, TOP_REJECTED, DEMOTED, LOW_MARGIN, OUTLIER, DISAGREEMENT, MANUAL)
WHOLE = -1  # position of a detection that is of no single document
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Bounds:
    """From where on something is remarkable.

    Attributes:
        low: place, from 1, below which a chosen document stands low.
        margin: logits between first and second below which they are as good as equal.
        outlier: robust standard deviations that a top score may be from the usual.
        agreement: Kendall's tau below which a second model disagrees.
    """

    low: int = 3
    margin: float = 0.02
    outlier: float = 5.0
    agreement: float = 0.3


@dataclass(frozen=True, slots=True)
class ScoreBaseline:
    """How a model usually scores what it puts first: median and a robust standard deviation of the logits."""

    centre: float
    spread: float

    @classmethod
    def from_scores(cls, scores: Sequence[float]) -> ScoreBaseline | None:
        """Of top scores; None where there are fewer than 100, or all are the same.

        Example:
            >>> ScoreBaseline.from_scores([0.0, 1.0, 2.0, 3.0, 4.0] * 20)
            ScoreBaseline(centre=2.0, spread=1.4826)
        """
        if len(scores) < 100:
            return None
        values = np.asarray(scores, float)
        centre = float(np.median(values))
        spread = float(np.median(np.abs(values - centre))) * MAD_TO_SIGMA
        return cls(centre, spread) if spread > 0 else None


@dataclass(frozen=True, slots=True)
class Detection:
    """A reason to look at a ranking.

    Attributes:
        detector: which of `DETECTORS`.
        position: the document's place in the request, from 0; `WHOLE` for the ranking.
        severity: how much worse it is than it should be, from 0; comparable within a detector.
        note: what was found, for people.
    """

    detector: str
    position: int
    severity: float
    note: str


def find(
    found: FullTrace, said: Iterable[Feedback] = (), usual: ScoreBaseline | None = None, bounds: Bounds | None = None
) -> list[Detection]:
    """Everything remarkable about a trace.

    Args:
        found: the trace.
        said: feedback on it.
        usual: how its model scores; None if that is not known.
        bounds: from where on something is remarkable.
    """
    bounds = bounds or Bounds()
    said = list(said)
    ranks = found.candidates.ranks
    opinions = _opinions(found, said)
    chosen = [place for place, value in opinions.items() if value > 0]
    detections = [_chosen_low(place, int(ranks[place])) for place in chosen if ranks[place] > bounds.low]
    if 0 in chosen and ranks[0] > 1:
        drop = math.log2(ranks[0])
        note = f"the first stage's best went to place {ranks[0]}, and was chosen"
        detections.append(Detection(DEMOTED, 0, drop, note))
    detections += _top_rejected(found, said, opinions)
    trace = found.trace
    if trace.margin is not None and trace.margin < bounds.margin and trace.documents > 1:
        detections.append(
            Detection(
                LOW_MARGIN, WHOLE, 1 - trace.margin / bounds.margin, f"first and second are {trace.margin:.4f} apart"
            )
        )
    if usual is not None and (away := abs(trace.top_score - usual.centre) / usual.spread) > bounds.outlier:
        note = f"the top score {trace.top_score:.2f} is {away:.1f} deviations from the usual {usual.centre:.2f}"
        detections.append(Detection(OUTLIER, WHOLE, away / bounds.outlier, note))
    return detections


def disagreement(replayed: Replay, model: str, bounds: Bounds | None = None) -> Detection | None:
    """Whether a second model sees a ranking otherwise; None if not, or if it could not be replayed."""
    bounds = bounds or Bounds()
    if replayed.skipped or replayed.tau is None or not replayed.top_changed or replayed.tau >= bounds.agreement:
        return None
    top = next((move for move in replayed.moves if move.now == 1), None)
    note = f"{model} puts another document first, Kendall's tau {replayed.tau:.2f}"
    return Detection(DISAGREEMENT, top.index if top else WHOLE, bounds.agreement - replayed.tau, note)


def _chosen_low(place: int, rank: int) -> Detection:
    return Detection(CHOSEN_LOW, place, math.log2(rank), f"document {place} was chosen from place {rank}")


def _top_rejected(found: FullTrace, said: Sequence[Feedback], opinions: Mapping[int, float]) -> list[Detection]:
    if not len(found.candidates):
        return []
    top = int(np.argmin(found.candidates.ranks))
    if opinions.get(top, 0.0) < 0:
        return [Detection(TOP_REJECTED, top, 1.0, f"document {top}, put first, was rejected")]
    whole = [item.value for item in said if item.kind == "thumb" and item.index is None and item.document_id is None]
    if whole and sum(whole) < 0:
        return [Detection(TOP_REJECTED, top, 0.5, "the ranking got more thumbs down than up")]
    return []


def place_of(found: FullTrace, item: Feedback) -> int | None:
    """Which candidate feedback is of; None for the whole ranking, and for one that is not there."""
    if item.index is not None:
        return item.index if item.index < len(found.candidates) else None
    if item.document_id is None or item.document_id not in found.candidates.ids:
        return None
    return list(found.candidates.ids).index(item.document_id)


def _opinions(found: FullTrace, said: Iterable[Feedback]) -> dict[int, float]:
    """Candidates that somebody judged: above 0 chosen, below 0 rejected. A judgement outweighs clicks."""
    clicks: dict[int, float] = {}
    judged: dict[int, float] = {}
    for item in said:
        place = place_of(found, item)
        if place is None:
            continue
        if item.kind == "thumb":
            judged[place] = judged.get(place, 0.0) + item.value
        elif item.kind == "grade":
            judged[place] = judged.get(place, 0.0) + (1.0 if item.value > 0 else -1.0)
        else:
            clicks[place] = clicks.get(place, 0.0) + 1.0
    return clicks | {place: value for place, value in judged.items() if value}


def chosen(found: FullTrace, said: Iterable[Feedback]) -> list[int]:
    """Candidates that were clicked, cited, praised or graded above 0, in their order."""
    return sorted(place for place, value in _opinions(found, said).items() if value > 0)
