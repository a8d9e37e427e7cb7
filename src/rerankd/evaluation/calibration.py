"""Calibration of one model: Platt's fit, and what it does to pairs of queries that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rerankd.compiler.platt import Platt, fit_platt
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.calibration_pairs import LabelledPairs
from rerankd.evaluation.reliability import Reliability, reliability

FOLDS = 5
SEED = 20_260_103


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found.

    Attributes:
        platt: fitted on all pairs.
        before: the model's own scores (the sigmoid of its logits) against the labels.
        after: calibrated scores against the labels, each fitted on the other folds' queries.
        queries: how many the pairs belong to.
    """

    platt: Platt
    before: Reliability
    after: Reliability
    queries: int


def calibrate(pairs: LabelledPairs, *, balanced: bool = False) -> Calibration:
    """Fit, and check on held-out queries (five folds).

    Args:
        pairs: logits with labels.
        balanced: let both labels weigh the same in the fit. Scores are then not shares of relevant candidates, and the
            diagram after shows it.

    Raises:
        InvalidRequestError: too few queries, one label only, or logits that order labels backwards.
    """
    names = np.unique(np.asarray(pairs.groups))
    if len(names) < 2 * FOLDS:
        raise InvalidRequestError(
            f"Calibration needs pairs of at least {2 * FOLDS} queries; there are {len(names)}.", hint="Pass more pairs."
        )
    platt = fit_platt(pairs.logits, pairs.labels, balanced=balanced)
    if platt.scale <= 0:
        raise InvalidRequestError(
            f"The model scores irrelevant pairs higher (slope {platt.scale:.3f}); its order would turn round.",
            hint="Check the labels, or train the model for this data.",
        )
    order = np.random.default_rng(SEED).permutation(len(names)) % FOLDS
    fold = dict(zip(names.tolist(), order.tolist(), strict=True))
    folds = np.array([fold[group] for group in pairs.groups])
    held_out = np.empty_like(pairs.logits)
    for number in range(FOLDS):
        own = folds == number
        if len(set(pairs.labels[~own].tolist())) < 2:
            raise InvalidRequestError(
                "Too few queries have relevant pairs for a check on held-out queries.", hint="Pass more pairs."
            )
        fitted = fit_platt(pairs.logits[~own], pairs.labels[~own], balanced=balanced)
        held_out[own] = fitted.probabilities(pairs.logits[own])
    return Calibration(
        platt,
        reliability(Platt(1.0, 0.0).probabilities(pairs.logits), pairs.labels, pairs.groups),
        reliability(held_out, pairs.labels, pairs.groups),
        len(names),
    )
