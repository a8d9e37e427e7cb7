"""Training groups: one positive with negatives of the same query, and the labels that a loss needs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from rerankd.training.examples import Example
from rerankd.training.losses import distillation_labels, labels_of
from rerankd.training.negatives import Score
from rerankd.training.options import TrainOptions


def training_groups(
    examples: Sequence[Example], general: Sequence[Example], options: TrainOptions, epochs: int
) -> list[dict[str, Any]]:
    """Draw the rows of the trainer's data set, with other negatives in each epoch.

    Args:
        examples: of the domain.
        general: examples to replay against forgetting.
        options: group size, replay share, loss and seed.
        epochs: passes over the examples.

    Returns:
        Rows with `query`, `docs` (the positive first) and `label`.
    """
    draw = random.Random(options.seed)  # noqa: S311  a reproducible draw, not a secret
    rows = []
    for _ in range(epochs):
        chosen = list(examples)
        if general and options.replay:
            count = round(len(examples) * options.replay / (1 - options.replay))
            chosen += [draw.choice(general) for _ in range(count)]
        draw.shuffle(chosen)
        for example in chosen:
            positive = draw.randrange(len(example.positives))
            count = min(options.group_size - 1, len(example.negatives))
            negatives = draw.sample(range(len(example.negatives)), count)
            passages = [example.positives[positive], *(example.negatives[index] for index in negatives)]
            label = labels_of(options.loss, example, positive, negatives)
            rows.append({"query": example.query, "docs": passages, "label": label})
    return rows


def with_distillation(rows: Sequence[dict[str, Any]], score: Score, weight: float) -> list[dict[str, Any]]:
    """Mix the base model's own distribution over each group into its labels.

    Args:
        rows: of `training_groups` with the loss `softmax`.
        score: logits of the base model for a query's passages.
        weight: share of the base model, from 0 to below 1.
    """
    return [
        row | {"label": distillation_labels(row["label"], score(row["query"], row["docs"]), weight)} for row in rows
    ]
