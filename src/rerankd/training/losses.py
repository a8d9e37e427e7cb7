"""Losses, all sentence-transformers' own: what a group of passages should come out as.

`softmax`: cross-entropy of the answer inside its group (FlagEmbedding's objective), as ListNet with labels 30 and 0.
`pairwise`: RankNet (Burges et al. 2005). `lambda`: LambdaLoss (Wang et al. 2018). `distil`: ListNet against the logits
of a stronger reranker, which the examples bring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rerankd.errors import InvalidRequestError
from rerankd.training.examples import Example

if TYPE_CHECKING:
    import torch
    from sentence_transformers import CrossEncoder

LOSSES = ("softmax", "pairwise", "lambda", "distil")
LEAST = 1e-13
CERTAIN = 30.0  # of the answer: softmax of 30 against zeros is 1


def loss_of(name: str, model: CrossEncoder, batch: int) -> torch.nn.Module:
    """The loss of that name.

    Args:
        name: one of `LOSSES`.
        model: what is trained.
        batch: pairs computed at once.

    Raises:
        InvalidRequestError: an unknown name.
    """
    from sentence_transformers.cross_encoder import losses

    if name not in LOSSES:
        raise InvalidRequestError(f"There is no loss {name!r}.", hint=f"Use one of: {', '.join(LOSSES)}.")
    if name == "pairwise":
        pairwise: torch.nn.Module = losses.RankNetLoss(model, mini_batch_size=batch)
        return pairwise
    if name == "lambda":
        listwise: torch.nn.Module = losses.LambdaLoss(model, mini_batch_size=batch)
        return listwise
    grouped: torch.nn.Module = losses.ListNetLoss(model, mini_batch_size=batch)
    return grouped


def guarded(labels: Sequence[float], logits: Sequence[float], guard: float) -> list[float]:
    """Labels of a group that also ask for the base's own order, as logarithms of what each passage should get.

    Cross-entropy to them is `1 - guard` times that to the answer and `guard` times the divergence from the base.

    Args:
        labels: of `softmax`: the answer's is the largest.
        logits: of the base, one for each passage.
        guard: share of the base's opinion, from 0 to below 1.

    Example:
        >>> [round(label, 2) for label in guarded([30.0, 0.0], [0.0, 0.0], 0.5)]
        [-0.29, -1.39]
    """
    wanted, known = _softmax(labels), _softmax(logits)
    return [math.log(max((1 - guard) * want + guard * base, LEAST)) for want, base in zip(wanted, known, strict=True)]


def _softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def labels_of(name: str, example: Example, positive: int, negatives: Sequence[int]) -> list[float]:
    """Labels of a group: one answer and some negatives, by their numbers.

    Raises:
        InvalidRequestError: distillation of an example without scores.
    """
    if name != "distil":
        return [CERTAIN if name == "softmax" else 1.0, *[0.0] * len(negatives)]
    if not example.positive_scores or (negatives and not example.negative_scores):
        raise InvalidRequestError(
            "Distillation needs pos_scores and neg_scores in every example.", hint="Add them, or use another loss."
        )
    return [example.positive_scores[positive], *(example.negative_scores[n] for n in negatives)]
