"""Calibration of a model by Platt scaling (Platt 1999), checked by cross-validation over queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rerankd.compiler.platt import Platt, fit_platt
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.calibration_pairs import LabelledPairs
from rerankd.evaluation.reliability import Reliability, measure_reliability

FOLDS = 5
SEED = 20_260_103


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration and its effect.

    Attributes:
        platt: parameters fitted on all pairs.
        before: reliability of the model's own scores (the sigmoid of its logits).
        after: reliability of calibrated scores; the scores of each fold are fitted on the other folds' queries.
        queries: number of queries.
    """

    platt: Platt
    before: Reliability
    after: Reliability
    queries: int


def calibrate(pairs: LabelledPairs, *, balanced: bool = False) -> Calibration:
    """Fit Platt scaling, and check it on held-out queries (five folds).

    Args:
        pairs: logits with labels.
        balanced: weigh both labels the same in the fit. Scores are then not shares of relevant candidates, and the
            reliability diagram after calibration shows it.

    Raises:
        InvalidRequestError: too few queries, one label only, or logits that rank irrelevant pairs higher.
    """
    query_ids = np.unique(np.asarray(pairs.query_ids))
    if len(query_ids) < 2 * FOLDS:
        raise InvalidRequestError(
            f"Calibration needs pairs of at least {2 * FOLDS} queries; there are {len(query_ids)}.",
            hint="Pass more pairs.",
        )
    platt = fit_platt(pairs.logits, pairs.labels, balanced=balanced)
    if platt.scale <= 0:
        raise InvalidRequestError(
            f"The model scores irrelevant pairs higher (slope {platt.scale:.3f}); calibration would reverse its order.",
            hint="Check the labels, or train the model for this data.",
        )
    shuffled = np.random.default_rng(SEED).permutation(len(query_ids)) % FOLDS
    fold_of = dict(zip(query_ids.tolist(), shuffled.tolist(), strict=True))
    folds = np.array([fold_of[query_id] for query_id in pairs.query_ids])
    calibrated = np.empty_like(pairs.logits)
    for fold in range(FOLDS):
        held_out = folds == fold
        if len(set(pairs.labels[~held_out].tolist())) < 2:
            raise InvalidRequestError(
                "Too few queries have relevant pairs for a check on held-out queries.", hint="Pass more pairs."
            )
        fitted = fit_platt(pairs.logits[~held_out], pairs.labels[~held_out], balanced=balanced)
        calibrated[held_out] = fitted.probabilities(pairs.logits[held_out])
    return Calibration(
        platt=platt,
        before=measure_reliability(Platt(1.0, 0.0).probabilities(pairs.logits), pairs.labels, pairs.query_ids),
        after=measure_reliability(calibrated, pairs.labels, pairs.query_ids),
        queries=len(query_ids),
    )
