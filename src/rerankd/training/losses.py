"""Losses over a group of passages, all from sentence-transformers.

`softmax`: cross-entropy of the positive within its group (FlagEmbedding's objective), as ListNet with labels 30 and 0.
`pairwise`: RankNet (Burges et al. 2005). `lambda`: LambdaLoss (Wang et al. 2018). `distil`: ListNet against the logits
of a stronger reranker, which the examples contain.
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
MIN_PROBABILITY = 1e-13
POSITIVE_LABEL = 30.0  # the softmax of 30 against zeros is 1


def loss_of(name: str, model: CrossEncoder, mini_batch_size: int) -> torch.nn.Module:
    """Return the loss with that name.

    Args:
        name: one of `LOSSES`.
        model: model to train.
        mini_batch_size: pairs computed at once.

    Raises:
        InvalidRequestError: an unknown name.
    """
    from sentence_transformers.cross_encoder import losses

    if name not in LOSSES:
        raise InvalidRequestError(f"Unknown loss {name!r}.", hint=f"Use one of: {', '.join(LOSSES)}.")
    if name == "pairwise":
        pairwise: torch.nn.Module = losses.RankNetLoss(model, mini_batch_size=mini_batch_size)
        return pairwise
    if name == "lambda":
        listwise: torch.nn.Module = losses.LambdaLoss(model, mini_batch_size=mini_batch_size)
        return listwise
    grouped: torch.nn.Module = losses.ListNetLoss(model, mini_batch_size=mini_batch_size)
    return grouped


def distillation_labels(labels: Sequence[float], logits: Sequence[float], weight: float) -> list[float]:
    """Mix a group's labels with the base model's own distribution (self-distillation).

    The labels are log probabilities. Cross-entropy against them is `1 - weight` times that against the positive plus
    `weight` times the divergence from the base model.

    Args:
        labels: labels of the loss `softmax`, one per passage.
        logits: logits of the base model, one per passage.
        weight: share of the base model, from 0 to below 1.

    Example:
        >>> [round(label, 2) for label in distillation_labels([30.0, 0.0], [0.0, 0.0], 0.5)]
        [-0.29, -1.39]
    """
    targets, base = _softmax(labels), _softmax(logits)
    mixed = [(1 - weight) * target + weight * probability for target, probability in zip(targets, base, strict=True)]
    return [math.log(max(probability, MIN_PROBABILITY)) for probability in mixed]


def _softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def labels_of(name: str, example: Example, positive: int, negatives: Sequence[int]) -> list[float]:
    """Return the labels of a group: one positive and some negatives.

    Args:
        name: one of `LOSSES`.
        example: the example.
        positive: index of the positive.
        negatives: indices of the negatives.

    Raises:
        InvalidRequestError: `distil` with an example that has no scores.
    """
    if name != "distil":
        return [POSITIVE_LABEL if name == "softmax" else 1.0, *[0.0] * len(negatives)]
    if not example.positive_scores or (negatives and not example.negative_scores):
        raise InvalidRequestError(
            "Distillation needs pos_scores and neg_scores in every example.", hint="Add them, or use another loss."
        )
    return [example.positive_scores[positive], *(example.negative_scores[n] for n in negatives)]
