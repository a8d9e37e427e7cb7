"""Fine-tuning from examples to a candidate: clean, divide, look for negatives, train, merge, compile, calibrate.

Whether the candidate is any good is for the gate to say; nothing here looks at the sets that it is judged on, except
to leave their queries out.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from rerankd._common.optional import require
from rerankd.compiler.calibrate import write_calibrated
from rerankd.compiler.compile import PRECISIONS
from rerankd.compiler.platt import fit_platt
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.dataset import Dataset
from rerankd.models.files import load_model
from rerankd.reranker import Reranker
from rerankd.scoring.backend import cuda_available
from rerankd.training.examples import LEAST, Cleaning, Example, cleaned, data_hash, split
from rerankd.training.leaks import Checked, without_leaks
from rerankd.training.losses import LOSSES, guarded, labels_of, loss_of
from rerankd.training.negatives import Score, with_negatives

METHODS = ("lora", "full")
DEVICES = ("auto", "cpu", "cuda")
RECORD = "train.json"
ROUNDED = 64  # examples of the domain that int8 weights are rounded by
Say = Callable[[str], None]
Progress = Callable[[float, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to train.

    Attributes:
        method: `lora`, or `full`.
        loss: `softmax`, `pairwise`, `lambda` or `distil`.
        epochs: times that every example is seen, with other negatives each time.
        groups: queries of a step.
        size: passages of a query: one answer, the others negatives.
        rate: learning rate; None for the method's own.
        max_length: longest pair in tokens.
        rank: of LoRA.
        alpha: of LoRA.
        validation: share of the examples that training is watched on.
        patience: looks without an improvement after which it ends; 0 for never.
        looks: how often in all it is looked at validation.
        replay: share of groups that come from general examples, against forgetting.
        guard: share of the base's own opinion in what a group should come out as, with the loss `softmax`; training
            on labels alone takes away what the base knows of topics that they do not show.
        mine: whether to look for negatives where an example has too few, and to ask the base about them.
        precision: of the compiled candidate.
        device: `auto`, `cpu` or `cuda`.
        bf16: whether products are computed in bfloat16, weights staying float32; None for a GPU that can.
        checkpointing: save memory by computing activations twice.
        pairs: pairs computed at once.
        seed: of draws and of adapters.
    """

    method: str = "lora"
    loss: str = "softmax"
    epochs: int = 2
    groups: int = 4
    size: int = 8
    rate: float | None = None
    max_length: int = 256
    rank: int = 16
    alpha: int = 32
    validation: float = 0.1
    patience: int = 3
    looks: int = 8
    replay: float = 0.2
    guard: float = 0.33
    mine: bool = True
    precision: str = "int8"
    device: str = "auto"
    bf16: bool | None = None
    checkpointing: bool = False
    pairs: int = 32
    seed: int = 7


RATES = {"lora": 1e-4, "full": 3e-5}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out.

    Attributes:
        model: folder of the compiled candidate.
        record: everything that is known of the run, as `train.json` says it.
    """

    model: Path
    record: Mapping[str, Any] = field(default_factory=dict)


def fine_tune(
    base: str,
    examples: Sequence[Example],
    out: Path,
    options: TrainOptions | None = None,
    *,
    general: Sequence[Example] = (),
    evaluated: Sequence[Dataset] = (),
    name: str = "",
    registry: str | None = None,
    say: Say = lambda sentence: None,
    progress: Progress = lambda share, losses: None,
) -> Outcome:
    """Fine-tune a model. Interrupted, it goes on from its last checkpoint when called again with the same arguments.

    Args:
        base: reference of the model: a checkpoint, the bundled one, or what was compiled or trained before.
        examples: of the domain.
        out: folder of the run.
        options: how.
        general: examples of all else, replayed against forgetting.
        evaluated: sets that the candidate will be judged on; examples with their queries are left out.
        name: what the candidate is called; empty for the base's name with `-tuned`.
        registry: where `registry:` references are looked up; None for the registry of this machine.
        say: told each step.
        progress: given the share that is done and the last losses.

    Raises:
        InvalidRequestError: options or examples that cannot be used.
        MissingDependencyError: the extra `train` is not installed.
        VerificationError: the merged or the compiled model does not do what the trained one does.
    """
    options = options or TrainOptions()
    _check(options)
    for package in ("torch", "peft", "sentence_transformers", "datasets", "accelerate", "onnx"):
        require(package, "train", "Training")
    began = time.monotonic()
    files = load_model(base, registry=registry)
    sides = _prepared(str(files.folder), examples, general, evaluated, options, say)
    from rerankd.training import run as running

    work = running.Run(files, out, options, say, progress)
    network, figures = work.trained(sides.training, sides.validation, sides.general)
    from rerankd.training.export import write_candidate

    called = name or f"{files.manifest.name.rpartition('/')[2]}-tuned"
    shutil.rmtree(out / "model", ignore_errors=True)
    texts = [*_texts(sides.training, ROUNDED), *_texts(sides.general, ROUNDED // 3)]
    model = write_candidate(network, files, out, options.precision, called, say, texts)
    say("Calibrating")
    model = _calibrated(model, out, sides.validation, options)
    record = {
        "base": base,
        "base_version": Reranker(str(files.folder), device="cpu").version,
        "name": called,
        "options": dataclasses.asdict(options),
        "examples": dataclasses.asdict(sides.cleaning) | _leaks(sides.checked),
        "training": len(sides.training),
        "validation": len(sides.validation),
        "general": len(sides.general),
        "data": data_hash([*sides.training, *sides.validation]),
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_mb": _peak_memory(),
        "compiled": dict(load_model(str(model)).manifest.parity or {}),
        **figures,
    }
    (out / RECORD).write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
    from rerankd.training.card import write_card

    write_card(model, record)
    return Outcome(model, record)


def _texts(examples: Sequence[Example], count: int) -> list[tuple[str, str]]:
    """The answer and one other passage of the first examples."""
    return [(one.query, text) for one in examples[:count] for text in (one.positives[0], *one.negatives[:1])]


def _peak_memory() -> int:
    """Megabytes that this process held at most; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _check(options: TrainOptions) -> None:
    if options.method not in METHODS:
        raise InvalidRequestError(f"There is no method {options.method!r}.", hint=f"Use {' or '.join(METHODS)}.")
    if options.loss not in LOSSES:
        raise InvalidRequestError(f"There is no loss {options.loss!r}.", hint=f"Use one of: {', '.join(LOSSES)}.")
    if options.size < 2 or options.groups < 1 or options.epochs < 1:
        raise InvalidRequestError("A group has 2 passages at least, a step one group, training one epoch.")
    if not 0 < options.validation < 0.9 or not 0 <= options.replay < 0.9:
        raise InvalidRequestError("validation and replay are shares under 0.9.")
    if options.precision not in PRECISIONS:
        raise InvalidRequestError(f"Cannot compile to {options.precision!r}.", hint=f"Use {' or '.join(PRECISIONS)}.")
    if not 0 <= options.guard < 1:
        raise InvalidRequestError("guard is a share under 1.", hint="0 trains on the labels alone.")
    if options.rate is not None and not 0 < options.rate < 1:
        raise InvalidRequestError("A learning rate is between 0 and 1.", hint="Leave it out for the method's own.")
    if min(options.rank, options.alpha, options.looks, options.pairs) < 1 or options.patience < 0:
        raise InvalidRequestError("rank, alpha, looks and pairs are 1 at least, patience 0.")
    if options.max_length < 16:
        raise InvalidRequestError("Pairs have 16 tokens at least.")
    if options.device not in DEVICES:
        raise InvalidRequestError(f"Unknown device {options.device!r}.", hint=f"Use one of: {', '.join(DEVICES)}.")
    if options.device == "cuda" and not cuda_available():
        raise InvalidRequestError("device='cuda', but torch sees no CUDA GPU.", hint="Use device cpu.")


@dataclass(frozen=True, slots=True)
class _Sides:
    training: list[Example]
    validation: list[Example]
    general: list[Example]
    cleaning: Cleaning
    checked: Checked


def _prepared(
    base: str,
    examples: Sequence[Example],
    general: Sequence[Example],
    evaluated: Sequence[Dataset],
    options: TrainOptions,
    say: Say,
) -> _Sides:
    kept, cleaning = cleaned(examples)
    if len(kept) < LEAST and any(one.missed for one in examples):
        say("The first stage found next to no answer; learning from those that it missed")
        kept, cleaning = cleaned(one.with_missed for one in examples)
    checked = without_leaks(kept, evaluated)
    others = without_leaks(cleaned(general)[0], evaluated).kept
    training, validation = split(checked.kept, options.validation)
    watched = {one.key for one in validation}
    others = [one for one in others if one.key not in watched]
    mine = options.mine and options.loss != "distil"  # what is found has no score of the teacher
    if mine and any(len(one.negatives) < options.size - 1 for one in (*kept, *others)):
        say("Looking for negatives")
        score = _scorer(base, options, "sigmoid")
        training = with_negatives(training, options.size - 1, score)
        validation = with_negatives(validation, options.size - 1, score, among=training)
        others = with_negatives(others, options.size - 1, score)
    elif not options.mine and options.loss != "distil":
        training, validation, others = ([_taken(one) for one in side] for side in (training, validation, others))
    training, validation, others = ([one for one in side if one.negatives] for side in (training, validation, others))
    if not training or not validation:
        raise InvalidRequestError(
            "No example has a passage that does not answer.", hint="Add neg to the examples, or more examples to mine."
        )
    say(f"{len(training)} examples to train on, {len(validation)} to watch, {checked.leaked} left out as leaks")
    return _Sides(training, validation, others, cleaning, checked)


def _leaks(checked: Checked) -> dict[str, int]:
    """What the record says of the comparison with evaluation sets."""
    return {"leaked": checked.leaked, "nearly_asked": checked.near, "shared_answers": checked.shared}


def _scorer(base: str, options: TrainOptions, activation: Literal["sigmoid", "none"]) -> Score:
    """What the base says of a query's texts."""
    device = "cpu" if options.device == "cpu" else "auto"
    champion = Reranker(base, device=device, max_length=options.max_length)

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        found: list[float] = champion.score([(query, text) for text in texts], activation=activation).tolist()
        return found

    return score


def guarded_rows(rows: Sequence[dict[str, Any]], base: str, options: TrainOptions) -> list[dict[str, Any]]:
    """Rows whose labels ask for the base's order too, as far as `guard` says."""
    score = _scorer(base, options, "none")
    return [row | {"label": guarded(row["label"], score(row["query"], row["docs"]), options.guard)} for row in rows]


def _taken(example: Example) -> Example:
    """With all that nobody judged among its negatives."""
    if not example.unjudged:
        return example
    return dataclasses.replace(
        example, negatives=example.negatives + example.unjudged, positive_scores=(), negative_scores=(), unjudged=()
    )


def groups_of(
    examples: Sequence[Example], general: Sequence[Example], options: TrainOptions, epochs: int
) -> list[dict[str, Any]]:
    """Rows of the trainer's data set: query, passages with the answer first, labels; other negatives each epoch."""
    draw = random.Random(options.seed)  # noqa: S311  a draw that can be made again
    rows = []
    for _ in range(epochs):
        chosen = list(examples)
        if general and options.replay:
            count = round(len(examples) * options.replay / (1 - options.replay))
            chosen += [draw.choice(general) for _ in range(count)]
        draw.shuffle(chosen)
        for example in chosen:
            positive = draw.randrange(len(example.positives))
            negatives = draw.sample(range(len(example.negatives)), min(options.size - 1, len(example.negatives)))
            texts = [example.positives[positive], *(example.negatives[n] for n in negatives)]
            rows.append(
                {"query": example.query, "docs": texts, "label": labels_of(options.loss, example, positive, negatives)}
            )
    return rows


def _calibrated(model: Path, out: Path, validation: Sequence[Example], options: TrainOptions) -> Path:
    """Fold a logistic regression on the validation side into the candidate, answers and others weighing the same."""
    reranker = Reranker(str(model), device="cpu", max_length=options.max_length)
    pairs, labels = [], []
    for example in validation[:200]:
        negatives = example.negatives[: options.size - 1]
        pairs += [(example.query, text) for text in (example.positives[0], *negatives)]
        labels += [1.0, *[0.0] * len(negatives)]
    logits = np.asarray(reranker.score(pairs, activation="none"), np.float64)
    platt = fit_platt(logits, np.array(labels), balanced=True)
    if platt.scale <= 0:
        return model  # the order would turn round; the gate will see to such a model
    target = out / "calibrated"
    shutil.rmtree(target, ignore_errors=True)
    write_calibrated(reranker.files, target, platt, {"pairs": float(len(pairs))})
    shutil.rmtree(model)
    target.rename(model)
    return model


__all__ = ["LOSSES", "METHODS", "Outcome", "TrainOptions", "fine_tune", "loss_of"]
