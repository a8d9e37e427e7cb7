"""Detectors of bad cases. Pure functions of one trace, the judgements on it, and the usual scores of its model.

`chosen_low`: a chosen document has a low rank. `top_rejected`: the document at rank 1, or the ranking, was rejected.
`demoted`: the first stage's best document was moved down and then chosen. `low_margin`: ranks 1 and 2 have nearly the
same score. `outlier`: the highest score is far from the usual. `disagreement`: a second model puts another document
at rank 1 and agrees little on the rest. `feedback.judgements` defines chosen and rejected.

What rules command is no fault of a ranking: pinned documents, and those that a filter hid, are left out of all ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.judgements import Judgements, judge
from rerankd.traces.replay import Replay
from rerankd.traces.store import FullTrace

CHOSEN_LOW, TOP_REJECTED, DEMOTED = "chosen_low", "top_rejected", "demoted"
LOW_MARGIN, OUTLIER, DISAGREEMENT = "low_margin", "outlier", "disagreement"
MANUAL, LABELLED = "manual", "labelled"  # what people add: rankings that they flag, and rankings that they label
BY_HAND = (MANUAL, LABELLED)
DETECTORS = (CHOSEN_LOW, TOP_REJECTED, DEMOTED, LOW_MARGIN, OUTLIER, DISAGREEMENT, *BY_HAND)
WHOLE = -1  # position of a detection that is about the ranking, not about one document
MAD_TO_SIGMA = 1.4826
MIN_SCORES = 100


@dataclass(frozen=True, slots=True)
class DetectorThresholds:
    """Thresholds of the detectors.

    Attributes:
        low: rank, from 1, below which a chosen document counts as low.
        margin: difference of the logits at ranks 1 and 2 under which they count as equal.
        outlier: robust standard deviations between a top score and the usual.
        agreement: Kendall's tau under which a second model disagrees.
    """

    low: int = 3
    margin: float = 0.02
    outlier: float = 5.0
    agreement: float = 0.3


@dataclass(frozen=True, slots=True)
class ScoreBaseline:
    """Distribution of a model's top scores.

    Attributes:
        median: median of the logits at rank 1.
        deviation: robust standard deviation: the median absolute deviation times 1.4826.
    """

    median: float
    deviation: float

    @classmethod
    def from_scores(cls, scores: Sequence[float]) -> ScoreBaseline | None:
        """Return the baseline of top scores; None for fewer than 100, or if most are the same.

        Example:
            >>> ScoreBaseline.from_scores([0.0, 1.0, 2.0, 3.0, 4.0] * 20)
            ScoreBaseline(median=2.0, deviation=1.4826)
        """
        if len(scores) < MIN_SCORES:
            return None
        values = np.asarray(scores, float)
        median = float(np.median(values))
        deviation = float(np.median(np.abs(values - median))) * MAD_TO_SIGMA
        return cls(median, deviation) if deviation > 0 else None

    def distance(self, score: float) -> float:
        """Return the robust standard deviations between a score and the median."""
        return abs(score - self.median) / self.deviation


@dataclass(frozen=True, slots=True)
class Detection:
    """A problem that a detector found in a ranking.

    Attributes:
        detector: one of `DETECTORS`.
        position: position of the document in the request, from 0; `WHOLE` for the ranking.
        severity: severity from 0; comparable within a detector.
        note: description for people.
    """

    detector: str
    position: int
    severity: float
    note: str


def judge_trace(full: FullTrace, events: Iterable[FeedbackEvent]) -> Judgements:
    """Return the judgements that feedback on a trace amounts to."""
    hidden = np.flatnonzero(~full.candidates.shown).tolist()
    return judge(events, len(full.candidates), full.candidates.ids, hidden)


def run_detectors(
    full: FullTrace,
    events: Iterable[FeedbackEvent] = (),
    baseline: ScoreBaseline | None = None,
    thresholds: DetectorThresholds | None = None,
) -> list[Detection]:
    """Run all detectors that need no second model on a trace.

    Args:
        full: the trace.
        events: feedback on it, the oldest first.
        baseline: usual scores of its model; None if they are not known, and `outlier` finds nothing then.
        thresholds: thresholds of the detectors; None for the defaults.
    """
    thresholds = thresholds or DetectorThresholds()
    judgements = judge_trace(full, events)
    ranks, unpinned, trace = full.candidates.ranks, full.candidates.ranks_without_pins, full.trace
    detections = [
        Detection(CHOSEN_LOW, position, math.log2(rank), f"document {position} was chosen from rank {ranks[position]}")
        for position in judgements.chosen
        if (rank := int(unpinned[position])) > thresholds.low
    ]
    best = next(iter(np.flatnonzero(unpinned).tolist()), None)
    if best in judgements.chosen and unpinned[best] > 1:
        note = f"the first stage's best went to rank {ranks[best]}, and was chosen"
        detections.append(Detection(DEMOTED, best, math.log2(unpinned[best]), note))
    detections += _top_rejected(unpinned, judgements)
    if is_low(trace.margin, thresholds):
        margin = trace.margin or 0.0
        severity = 1 - margin / thresholds.margin
        detections.append(Detection(LOW_MARGIN, WHOLE, severity, f"first and second are {margin:.4f} apart"))
    if baseline is not None and (distance := baseline.distance(trace.top_score)) > thresholds.outlier:
        score = f"the top score {trace.top_score:.2f}"
        note = f"{score} is {distance:.1f} deviations from the usual {baseline.median:.2f}"
        detections.append(Detection(OUTLIER, WHOLE, distance / thresholds.outlier, note))
    return detections


def is_low(margin: float | None, thresholds: DetectorThresholds) -> bool:
    """Return True for a margin under the threshold; one below 0, in a trace of an older version, is none."""
    return margin is not None and 0 <= margin < thresholds.margin


def disagreement(replay: Replay, model: str, thresholds: DetectorThresholds | None = None) -> Detection | None:
    """Return the detection of a trace that a second model ranks differently; None if it agrees or did not run."""
    thresholds = thresholds or DetectorThresholds()
    if replay.skipped or replay.tau is None or not replay.top_changed or replay.tau >= thresholds.agreement:
        return None
    top = next((moved for moved in replay.moves if moved.now == 1), None)
    note = f"{model} puts another document first, Kendall's tau {replay.tau:.2f}"
    return Detection(DISAGREEMENT, top.index if top else WHOLE, thresholds.agreement - replay.tau, note)


def _top_rejected(ranks: npt.NDArray[np.int64], judgements: Judgements) -> list[Detection]:
    top = next(iter(np.flatnonzero(ranks == 1).tolist()), WHOLE)
    if top in judgements.rejected:
        return [Detection(TOP_REJECTED, top, 1.0, f"document {top}, put first, was rejected")]
    if judgements.is_ranking_rejected:
        return [Detection(TOP_REJECTED, top, 0.5, "the ranking got a thumbs down")]
    return []
