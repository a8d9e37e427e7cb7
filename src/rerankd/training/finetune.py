"""Fine-tuning from examples to a candidate: prepare, train, merge, compile, calibrate.

Whether the candidate is good enough is decided by the gate. Nothing here looks at the evaluation sets, except to
exclude their queries.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from rerankd._common.files import replace_folder, write_atomic
from rerankd._common.optional import require
from rerankd.compiler.calibrate import write_calibrated
from rerankd.compiler.platt import fit_platt
from rerankd.evaluation.dataset import Dataset
from rerankd.models.families import check_trained
from rerankd.models.files import load_model
from rerankd.reranker import Reranker
from rerankd.training.examples import Example, data_hash
from rerankd.training.options import TrainOptions, check_length, check_options
from rerankd.training.preparation import PreparedData, prepare

RECORD = "train.json"
GPTQ_EXAMPLES = 64  # examples of the domain that int8 weights are quantized with
CALIBRATION_EXAMPLES = 200
PACKAGES = ("torch", "peft", "sentence_transformers", "datasets", "accelerate", "onnx")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Result of a fine-tuning run.

    Attributes:
        model: folder of the compiled candidate.
        record: the full record of the run, as in `train.json`.
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
    evaluation_sets: Sequence[Dataset] = (),
    name: str = "",
    registry: str | None = None,
    report: Callable[[str], None] = lambda sentence: None,
    progress: Callable[[float, Mapping[str, float]], None] = lambda share, losses: None,
) -> TrainResult:
    """Fine-tune a model. An interrupted run resumes when called again with the same arguments.

    Args:
        base: model reference: a checkpoint, the bundled model, or a model that was compiled or trained before.
        examples: of the domain.
        out: folder of the run.
        options: of the run; None for the defaults.
        general: examples of other topics, replayed against forgetting.
        evaluation_sets: sets that the candidate will be evaluated on; examples with their queries are excluded.
        name: name of the candidate; empty for the base's name with `-tuned`.
        registry: MLflow address for `registry:` references; None for the registry of this machine.
        report: called with a sentence before each step.
        progress: called with the completed share (0 to 1) and the last losses.

    Returns:
        The candidate's folder and the record of the run.

    Raises:
        InvalidRequestError: invalid options, a `max_length` above the base model's limit, or too few usable examples.
        UnsupportedModelError: the base model's family is not trained.
        MissingDependencyError: the extra `train` is not installed.
        VerificationError: the merged or the compiled model does not agree with the trained one.

    Example:
        >>> examples = read_examples(Path("cases.jsonl"))  # doctest: +SKIP
        >>> fine_tune("mini", examples, Path("build/zoo")).model  # doctest: +SKIP
        PosixPath('build/zoo/model')
    """
    options = options or TrainOptions()
    check_options(options)
    for package in PACKAGES:
        require(package, "train", "Training")
    started = time.monotonic()
    files = load_model(base, registry=registry)
    check_trained(files.manifest.architecture, str(files.reference))
    check_length(options.max_length, files)
    data = prepare(str(files.folder), examples, general, evaluation_sets, options, report)
    from rerankd.training.card import write_card
    from rerankd.training.export import write_candidate
    from rerankd.training.run import TrainingRun

    run = TrainingRun(files, out, options, report=report, progress=progress)
    network, figures = run.train(data.training, data.validation, data.general)
    candidate_name = name or f"{files.manifest.name.rpartition('/')[2]}-tuned"
    shutil.rmtree(out / "model", ignore_errors=True)
    model = write_candidate(
        network,
        files,
        out,
        precision=options.precision,
        name=candidate_name,
        report=report,
        gptq_pairs=[*_pairs(data.training, GPTQ_EXAMPLES), *_pairs(data.general, GPTQ_EXAMPLES // 3)],
    )
    report("Calibrating")
    _calibrate(model, data.validation, options)
    record = {
        "base": base,
        "base_version": Reranker(str(files.folder), device="cpu").version,
        "name": candidate_name,
        "options": dataclasses.asdict(options),
        **_data_record(data),
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mb": _peak_memory_mb(),
        "compiled": dict(load_model(str(model)).manifest.parity or {}),
        **figures,
    }
    write_atomic(out / RECORD, orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
    write_card(model, record)
    return TrainResult(model, record)


def _data_record(data: PreparedData) -> dict[str, Any]:
    leaks = data.leaks
    return {
        "examples": dataclasses.asdict(data.cleaning)
        | {"leaked": leaks.leaked, "nearly_asked": leaks.near, "shared_answers": leaks.shared},
        "training": len(data.training),
        "validation": len(data.validation),
        "general": len(data.general),
        "data": data_hash([*data.training, *data.validation]),
    }


def _pairs(examples: Sequence[Example], count: int) -> list[tuple[str, str]]:
    """Return the positive and one negative of the first examples."""
    return [
        (example.query, text) for example in examples[:count] for text in (example.positives[0], *example.negatives[:1])
    ]


def _peak_memory_mb() -> int:
    """Return the peak memory of this process in MB; 0 if the system does not report it."""
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes on macOS, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _calibrate(model: Path, validation: Sequence[Example], options: TrainOptions) -> None:
    """Fold Platt scaling, fitted on the validation side with balanced labels, into the candidate."""
    reranker = Reranker(str(model), device="cpu", max_length=options.max_length)
    pairs, labels = [], []
    for example in validation[:CALIBRATION_EXAMPLES]:
        negatives = example.negatives[: options.group_size - 1]
        pairs += [(example.query, text) for text in (example.positives[0], *negatives)]
        labels += [1.0, *[0.0] * len(negatives)]
    logits = np.asarray(reranker.score(pairs, activation="none"), np.float64)
    platt = fit_platt(logits, np.array(labels), balanced=True)
    if platt.scale <= 0:
        return  # calibration would reverse the order; the gate rejects such a model
    calibrated = model.with_name("calibrated")
    shutil.rmtree(calibrated, ignore_errors=True)
    write_calibrated(reranker.files, calibrated, platt, {"pairs": float(len(pairs))})
    replace_folder(calibrated, model)
