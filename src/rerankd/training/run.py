"""One run of the trainer: from prepared examples to a network without adapters, resumable."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import torch
from datasets import Dataset
from sentence_transformers.cross_encoder.training_args import CrossEncoderTrainingArguments
from transformers import EarlyStoppingCallback, PrinterCallback

from rerankd.models.checkpoint import weight_files
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import sha256
from rerankd.training import finetune
from rerankd.training.adapters import add_adapters, merge, save_adapters
from rerankd.training.curves import learning_curves
from rerankd.training.examples import Example
from rerankd.training.export import verification_pairs
from rerankd.training.losses import loss_of
from rerankd.training.network import Network, cross_encoder, open_network
from rerankd.training.trainer import Trainer, Watch, last_checkpoint

if TYPE_CHECKING:
    from rerankd.training.finetune import TrainOptions

FINGERPRINT = "run.sha256"
NOISE = 1e-5  # of a loss: less is no improvement
INDIFFERENT = ("precision", "pairs", "checkpointing")  # options that change no weight


class Run:
    """Trains in a folder; goes on from the last checkpoint of the same run.

    Args:
        files: of the base.
        out: the folder.
        options: how.
        say: told each step.
        progress: given the share that is done and the last losses.
    """

    def __init__(
        self,
        files: ModelFiles,
        out: Path,
        options: TrainOptions,
        say: Callable[[str], None],
        progress: Callable[[float, Mapping[str, float]], None],
    ) -> None:
        self._files, self._out, self._options, self._say, self._progress = files, out, options, say, progress
        self._checkpoints = out / "checkpoints"

    def trained(
        self, training: Sequence[Example], validation: Sequence[Example], general: Sequence[Example]
    ) -> tuple[Network, dict[str, Any]]:
        """The trained network, merged, and figures of the run."""
        options = self._options
        rows = finetune.groups_of(training, general, options, options.epochs)
        watched = finetune.groups_of(validation, (), options, 1)
        if options.loss == "softmax" and options.guard:
            self._say("Asking the base for its own order")
            rows, watched = (finetune.guarded_rows(side, str(self._files.folder), options) for side in (rows, watched))
        network = open_network(self._files, options.max_length)
        learning = self._prepare(network)
        last = self._last_checkpoint(rows, watched)
        trainer = self._trainer(network, rows, watched, begins=last is None)
        self._say("Training" if last is None else f"Going on from {Path(last).name}")
        if last is None or not trainer.ended(last):
            trainer.train(resume_from_checkpoint=last)
        history = _losses(trainer.state.log_history)
        (self._out / "curves.svg").write_text(learning_curves(history), encoding="utf-8")
        network.eval().cpu()
        figures: dict[str, Any] = {
            "learning_parameters": learning,
            "steps": trainer.state.global_step,
            "watched": _watched(history),
            "history": history,
            "resumed": last is not None,
        }
        if torch.cuda.is_available():
            figures["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
        if options.method == "lora":
            figures["lora"] = self._merged(network, validation)
        return network, figures

    def _prepare(self, network: Network) -> int:
        options = self._options
        learning = sum(p.numel() for p in network.parameters() if p.requires_grad)
        if options.method == "lora":
            learning = add_adapters(network, options.rank, options.alpha, options.seed)
        if options.checkpointing:
            network.checkpointing()
        return learning

    def _merged(self, network: Network, validation: Sequence[Example]) -> dict[str, Any]:
        save_adapters(network, self._out / "adapter")
        pairs = [(one.query, text) for one in validation for text in (*one.positives[:1], *one.negatives[:1])]
        parity = merge(network, verification_pairs(pairs))
        return {"pairs": parity.pairs, "largest": parity.largest, "head_unchanged": parity.head_unchanged}

    def _trainer(
        self, network: Network, rows: list[dict[str, Any]], watched: list[dict[str, Any]], *, begins: bool
    ) -> Trainer:
        options = self._options
        gpu = options.device != "cpu" and torch.cuda.is_available()
        model = cross_encoder(network, "cuda" if gpu else "cpu")
        steps = max(1, -(-len(rows) // options.groups))
        every = max(1, steps // options.looks)
        arguments = CrossEncoderTrainingArguments(
            output_dir=str(self._checkpoints.resolve()),
            num_train_epochs=1,  # rows hold every epoch, each with other negatives
            per_device_train_batch_size=options.groups,
            per_device_eval_batch_size=options.groups,
            learning_rate=options.rate or finetune.RATES[options.method],
            lr_scheduler_type="linear",
            warmup_steps=max(1, steps // 10),
            bf16=gpu and torch.cuda.is_bf16_supported() if options.bf16 is None else options.bf16,
            use_cpu=not gpu,
            eval_strategy="steps",
            eval_steps=every,
            eval_on_start=begins,  # the base's own loss
            save_strategy="steps",
            save_steps=every,
            save_total_limit=2,
            logging_steps=max(1, every // 4),
            load_best_model_at_end=True,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
            restore_callback_states_from_checkpoint=True,  # the patience that is left
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            seed=options.seed,
            data_seed=options.seed,
        )
        arguments.n_gpu  # noqa: B018  looked up once, then set: one GPU trains, however many there are
        arguments._n_gpu = min(1, arguments._n_gpu)
        callbacks: list[Any] = [Watch(self._progress)]
        if options.patience:
            callbacks.append(EarlyStoppingCallback(options.patience, NOISE))
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(watched),
            loss=loss_of(options.loss, model, options.pairs),
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _last_checkpoint(self, *rows: list[dict[str, Any]]) -> str | None:
        """The checkpoint to go on from; those of a run with other data, options or base are thrown away."""
        options = {key: value for key, value in dataclasses.asdict(self._options).items() if key not in INDIFFERENT}
        told = [options, _hashes(self._files), rows]
        mark = hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()
        known = self._out / FINGERPRINT
        self._out.mkdir(parents=True, exist_ok=True)
        if not known.is_file() or known.read_text(encoding="utf-8") != mark:
            shutil.rmtree(self._checkpoints, ignore_errors=True)
            known.write_text(mark, encoding="utf-8")
            return None
        return last_checkpoint(self._checkpoints)


def _losses(log: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Of what a trainer logs: steps and losses."""
    kept = ("step", "loss", "eval_loss")
    return [{name: entry[name] for name in kept if name in entry} for entry in log if entry.keys() & kept[1:]]


def _watched(history: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Loss of the watched side: of the base, and of the weights that were taken."""
    looks = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    return {"before": looks.pop(0, None), "after": min(looks.values(), default=None)}


def _hashes(files: ModelFiles) -> dict[str, str]:
    """SHA-256 of a model's files, by name."""
    if files.manifest.files:
        return dict(files.manifest.files)
    return {path.name: sha256(path) for path in (*weight_files(files.folder), files.folder / "tokenizer.json")}
