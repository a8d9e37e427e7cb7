"""Platt scaling: the logistic regression that turns logits into probabilities (Platt 1999).

Fitted by Newton's method with a backtracking line search (Lin, Lin and Weng 2007) towards Platt's smoothed targets,
(N+ + 1) / (N+ + 2) and 1 / (N- + 2), which keep the slope finite where the logits separate the labels completely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidRequestError

_STEPS = 100
_GRADIENT = 1e-9
_RIDGE = 1e-12

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Platt:
    """Parameters of Platt scaling: probability = sigmoid(scale * logit + offset).

    Example:
        >>> Platt(2.0, -1.0).probabilities(np.array([0.5])).tolist()
        [0.5]
    """

    scale: float
    offset: float

    def probabilities(self, logits: Values) -> Values:
        """Return probabilities of relevance, in the shape of the logits."""
        return np.exp(-np.logaddexp(0.0, -(self.scale * logits + self.offset)))


def fit_platt(logits: Values, labels: Values, *, balanced: bool = False) -> Platt:
    """Fit scale and offset to labelled logits.

    Args:
        logits: shape (pairs,).
        labels: 1 for relevant, 0 for not, shape (pairs,).
        balanced: True gives both labels the same total weight, so that a score of 0.5 favours neither.

    Raises:
        InvalidRequestError: all labels are equal, or a logit is not finite.

    Example:
        >>> platt = fit_platt(np.array([-1.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]))
        >>> round(platt.scale, 3), abs(round(platt.offset, 3))
        (1.099, 0.0)
    """
    positive = labels > 0.5
    many, few = int(positive.sum()), int((~positive).sum())
    if not many or not few:
        raise InvalidRequestError(
            "Calibration needs relevant and irrelevant pairs; all pairs have the same label.",
            hint="Pass pairs of both labels.",
        )
    if not np.isfinite(logits).all():
        raise InvalidRequestError("A score is not a number.", hint="Check the model with `rerankd models verify`.")
    centre, spread = float(logits.mean()), float(logits.std()) or 1.0
    targets = np.where(positive, (many + 1) / (many + 2), 1 / (few + 2))
    weights = np.where(positive, 0.5 / many, 0.5 / few) if balanced else np.full(len(logits), 1 / len(logits))
    scale, offset = _newton((logits - centre) / spread, targets, weights)
    return Platt(scale / spread, offset - scale * centre / spread)


def _newton(values: Values, targets: Values, weights: Values) -> tuple[float, float]:
    design = np.stack([values, np.ones_like(values)], axis=1)
    share = float(weights @ targets) / float(weights.sum())
    point = np.array([0.0, np.log(share / (1 - share))])

    def loss(at: Values) -> float:
        line = design @ at
        return float(weights @ (np.logaddexp(0.0, line) - targets * line))

    current = loss(point)
    for _ in range(_STEPS):
        line = design @ point
        probability = np.exp(-np.logaddexp(0.0, -line))
        gradient = design.T @ (weights * (probability - targets))
        if float(np.abs(gradient).max()) < _GRADIENT:
            break
        curvature = design.T @ (design * (weights * probability * (1 - probability))[:, None]) + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        length = 1.0
        while length > 1e-10 and loss(point - length * step) > current - 1e-4 * length * float(gradient @ step):
            length /= 2
        if length <= 1e-10:
            break
        point = point - length * step
        current = loss(point)
    return float(point[0]), float(point[1])
