"""A training run: from prepared examples to a trained network without adapters, resumable."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import torch
from datasets import Dataset
from sentence_transformers.cross_encoder.training_args import CrossEncoderTrainingArguments
from transformers import EarlyStoppingCallback, PrinterCallback

from rerankd.models.adapters import CONFIG, WEIGHTS
from rerankd.models.checkpoint import weight_files
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import sha256
from rerankd.training.adapters import add_adapters, merge_adapters, save_adapters
from rerankd.training.curves import learning_curves
from rerankd.training.examples import Example
from rerankd.training.export import verification_pairs
from rerankd.training.groups import training_groups, with_distillation
from rerankd.training.losses import loss_of
from rerankd.training.network import Network, cross_encoder, open_network
from rerankd.training.options import LEARNING_RATES, TrainOptions
from rerankd.training.preparation import base_scorer
from rerankd.training.trainer import ProgressCallback, Trainer, last_checkpoint

FINGERPRINT = "run.sha256"
MIN_IMPROVEMENT = 1e-5  # of the validation loss, for early stopping
# Options that do not affect the weights: a run resumes when only these change.
RESUMABLE_CHANGES = ("precision", "mini_batch_size", "gradient_checkpointing")


class TrainingRun:
    """Trains in a folder, and resumes from the last checkpoint of the same run.

    Args:
        files: of the base model.
        out: folder of the run.
        options: of the run.
        report: called with a sentence before each step.
        progress: called with the completed share (0 to 1) and the last losses.
    """

    def __init__(
        self,
        files: ModelFiles,
        out: Path,
        options: TrainOptions,
        *,
        report: Callable[[str], None],
        progress: Callable[[float, Mapping[str, float]], None],
    ) -> None:
        self._files, self._out, self._options = files, out, options
        self._report, self._progress = report, progress
        self._checkpoints = out / "checkpoints"

    def train(
        self, training: Sequence[Example], validation: Sequence[Example], general: Sequence[Example]
    ) -> tuple[Network, dict[str, Any]]:
        """Train, and return the merged network with the figures of the run."""
        options = self._options
        rows = training_groups(training, general, options, options.epochs)
        validation_rows = training_groups(validation, (), options, 1)
        if options.loss == "softmax" and options.distillation_weight:
            self._report("Scoring the groups with the base model, for self-distillation")
            score = base_scorer(str(self._files.folder), options, "none")
            rows = with_distillation(rows, score, options.distillation_weight)
            validation_rows = with_distillation(validation_rows, score, options.distillation_weight)
        network = open_network(self._files, options.max_length)
        trainable = self._prepare(network)
        checkpoint = self._resumable_checkpoint(rows, validation_rows)
        trainer = self._trainer(network, rows, validation_rows, evaluate_first=checkpoint is None)
        self._report("Training" if checkpoint is None else f"Resuming from {Path(checkpoint).name}")
        if checkpoint is None or not trainer.restore_finished(checkpoint):
            trainer.train(resume_from_checkpoint=checkpoint)
        history = _losses(trainer.state.log_history)
        (self._out / "curves.svg").write_text(learning_curves(history), encoding="utf-8")
        network.eval().cpu()
        figures: dict[str, Any] = {
            "learning_parameters": trainable,
            "steps": trainer.state.global_step,
            "validation_loss": _validation_loss(history),
            "history": history,
            "resumed": checkpoint is not None,
        }
        if torch.cuda.is_available():
            figures["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
        if options.method == "lora":
            figures["lora"] = self._merge(network, validation)
        return network, figures

    def _prepare(self, network: Network) -> int:
        """Add adapters and gradient checkpointing; return the number of trainable weights."""
        options = self._options
        trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
        if options.method == "lora":
            trainable = add_adapters(network, rank=options.lora_rank, alpha=options.lora_alpha, seed=options.seed)
        if options.gradient_checkpointing:
            network.enable_gradient_checkpointing()
        return trainable

    def _merge(self, network: Network, validation: Sequence[Example]) -> dict[str, Any]:
        save_adapters(network, self._out / "adapter")
        pairs = [
            (example.query, text) for example in validation for text in (*example.positives[:1], *example.negatives[:1])
        ]
        return dataclasses.asdict(merge_adapters(network, verification_pairs(pairs)))

    def _trainer(
        self,
        network: Network,
        rows: list[dict[str, Any]],
        validation_rows: list[dict[str, Any]],
        *,
        evaluate_first: bool,
    ) -> Trainer:
        options = self._options
        gpu = options.device != "cpu" and torch.cuda.is_available()
        model = cross_encoder(network, "cuda" if gpu else "cpu")
        steps = max(1, -(-len(rows) // options.groups_per_step))
        eval_steps = max(1, steps // options.evaluations)
        arguments = CrossEncoderTrainingArguments(
            output_dir=str(self._checkpoints.resolve()),
            num_train_epochs=1,  # the rows contain every epoch, each with other negatives
            per_device_train_batch_size=options.groups_per_step,
            per_device_eval_batch_size=options.groups_per_step,
            learning_rate=options.learning_rate or LEARNING_RATES[options.method],
            lr_scheduler_type="linear",
            warmup_steps=max(1, steps // 10),
            bf16=gpu and torch.cuda.is_bf16_supported() if options.bf16 is None else options.bf16,
            use_cpu=not gpu,
            eval_strategy="steps",
            eval_steps=eval_steps,
            eval_on_start=evaluate_first,  # the validation loss of the base model
            save_strategy="steps",
            save_steps=eval_steps,
            save_total_limit=2,
            logging_steps=max(1, eval_steps // 4),
            load_best_model_at_end=True,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
            restore_callback_states_from_checkpoint=True,  # the remaining patience
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            seed=options.seed,
            data_seed=options.seed,
        )
        arguments.n_gpu  # noqa: B018  reading it computes _n_gpu, which is then limited to one GPU
        arguments._n_gpu = min(1, arguments._n_gpu)
        callbacks: list[Any] = [ProgressCallback(self._progress)]
        if options.patience:
            callbacks.append(EarlyStoppingCallback(options.patience, MIN_IMPROVEMENT))
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(validation_rows),
            loss=loss_of(options.loss, model, options.mini_batch_size),
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _resumable_checkpoint(self, *rows: list[dict[str, Any]]) -> str | None:
        """Return the last checkpoint of this run; delete those of a run with other data, options or base model."""
        options = dataclasses.asdict(self._options)
        fixed = {name: value for name, value in options.items() if name not in RESUMABLE_CHANGES}
        inputs = orjson.dumps([fixed, _hashes(self._files), rows], option=orjson.OPT_SORT_KEYS)
        fingerprint = hashlib.sha256(inputs).hexdigest()
        path = self._out / FINGERPRINT
        self._out.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != fingerprint:
            shutil.rmtree(self._checkpoints, ignore_errors=True)
            path.write_text(fingerprint, encoding="utf-8")
            return None
        return last_checkpoint(self._checkpoints)


def _losses(log: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return steps and losses from the trainer's log."""
    names = ("step", "loss", "eval_loss")
    return [{name: entry[name] for name in names if name in entry} for entry in log if entry.keys() & names[1:]]


def _validation_loss(history: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Return the validation loss of the base model and of the best weights."""
    losses = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    return {"before": losses.pop(0, None), "after": min(losses.values(), default=None)}


def _hashes(files: ModelFiles) -> dict[str, str]:
    """Return the SHA-256 of the model's files by name."""
    if files.manifest.files:
        return dict(files.manifest.files)
    adapter = [files.folder / CONFIG, files.folder / WEIGHTS] if files.base else []
    weights = [*weight_files(files.weights_folder), *adapter]
    return {path.name: sha256(path) for path in (*weights, files.find("tokenizer.json"))}
