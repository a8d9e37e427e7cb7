"""From raw examples to training, validation and general sides: clean, exclude leaks, split, find negatives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rerankd._common.plural import counted
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.dataset import Dataset
from rerankd.reranker import Reranker
from rerankd.training.examples import MIN_EXAMPLES, CleaningReport, Example, clean, split
from rerankd.training.leaks import LeakReport, exclude_leaks
from rerankd.training.negatives import Score, add_negatives
from rerankd.training.options import TrainOptions


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Examples that are ready to train on.

    Attributes:
        training: examples to train on.
        validation: examples to validate on.
        general: examples to replay.
        cleaning: what cleaning dropped.
        leaks: what was excluded because evaluation sets contain it.
    """

    training: list[Example]
    validation: list[Example]
    general: list[Example]
    cleaning: CleaningReport
    leaks: LeakReport


def prepare(
    base: str,
    examples: Sequence[Example],
    general: Sequence[Example],
    evaluation_sets: Sequence[Dataset],
    options: TrainOptions,
    report: Callable[[str], None],
) -> PreparedData:
    """Clean and split examples, and give each enough negatives.

    Args:
        base: reference of the base model, which filters negatives.
        examples: of the domain.
        general: examples to replay.
        evaluation_sets: sets whose queries are excluded.
        options: of the run.
        report: called with a sentence before each slow step.

    Raises:
        InvalidRequestError: too few examples are left.
    """
    kept, cleaning = clean(examples)
    if len(kept) < MIN_EXAMPLES and any(example.missed for example in examples):
        report("The first stage found almost no positives; training on those that it missed")
        kept, cleaning = clean(example.with_missed for example in examples)
    leaks = exclude_leaks(kept, evaluation_sets)
    training, validation = split(leaks.kept, options.validation)
    validation_queries = {example.key for example in validation}
    general_kept = exclude_leaks(clean(general)[0], evaluation_sets).kept
    replayed = [example for example in general_kept if example.key not in validation_queries]
    if options.loss != "distil":  # negatives that are found have no score of the teacher
        training, validation, replayed = _with_negatives(base, training, validation, replayed, options, report)
    sides = [[example for example in side if example.negatives] for side in (training, validation, replayed)]
    training, validation, replayed = sides
    if not training or not validation:
        raise InvalidRequestError("No example has a negative.", hint="Add neg to the examples, or mine negatives.")
    report(
        f"{len(training)} training and {counted(len(validation), 'validation example')}, "
        f"{counted(leaks.leaked, 'excluded as an evaluation query', 'excluded as evaluation queries')}"
    )
    return PreparedData(training, validation, replayed, cleaning, leaks)


def _with_negatives(
    base: str,
    training: list[Example],
    validation: list[Example],
    general: list[Example],
    options: TrainOptions,
    report: Callable[[str], None],
) -> tuple[list[Example], list[Example], list[Example]]:
    if not options.mine_negatives:
        return _use_unjudged(training), _use_unjudged(validation), _use_unjudged(general)
    count = options.group_size - 1
    if all(len(example.negatives) >= count for example in (*training, *general)):
        return training, validation, general
    report("Mining negatives")
    score = base_scorer(base, options, "sigmoid")
    training = add_negatives(training, count, score)
    validation = add_negatives(validation, count, score, among=training)
    return training, validation, add_negatives(general, count, score)


def _use_unjudged(examples: Sequence[Example]) -> list[Example]:
    """Use unjudged candidates as negatives without asking the base model."""
    return [
        dataclasses.replace(
            example,
            negatives=example.negatives + example.unjudged,
            positive_scores=(),
            negative_scores=(),
            unjudged=(),
        )
        if example.unjudged
        else example
        for example in examples
    ]


def base_scorer(base: str, options: TrainOptions, activation: Literal["sigmoid", "none"]) -> Score:
    """Return a function that scores a query's passages with the base model.

    Args:
        base: reference of the model.
        options: device and max_length.
        activation: `sigmoid` for probabilities, `none` for logits.
    """
    device = "cpu" if options.device == "cpu" else "auto"
    reranker = Reranker(base, device=device, max_length=options.max_length)

    def score(query: str, passages: Sequence[str]) -> Sequence[float]:
        scores: list[float] = reranker.score([(query, text) for text in passages], activation=activation).tolist()
        return scores

    return score
