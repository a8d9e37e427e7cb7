"""The trainer of sentence-transformers for our networks: checkpoints contain trainable weights only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.trainer import CrossEncoderTrainer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from rerankd.errors import CorruptModelError
from rerankd.training.network import state_file


class Trainer(CrossEncoderTrainer):
    """Trainer whose checkpoints hold the trainable weights by name, beside the trainer's own files."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Skip the callback: `card.py` writes the card from the record of the whole run."""

    def _trained(self) -> dict[str, Any]:
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in self._trained().items()}
        save_file(weights, state_file(folder))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        read_state(self.model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint:
            # By name only: the folder of the run may have been moved since.
            read_state(self.model, Path(str(self.args.output_dir), Path(self.state.best_model_checkpoint).name))

    def restore_finished(self, folder: str) -> bool:
        """Restore state and best weights if training had finished at a checkpoint; return True if it had."""
        state = TrainerState.load_from_json(str(Path(folder, TRAINER_STATE_NAME)))
        control: Any = state.stateful_callbacks.get("TrainerControl", {})
        if not control.get("args", {}).get("should_training_stop"):
            return False
        self.state = state
        self._load_best_model()
        return True


def last_checkpoint(folder: Path) -> str | None:
    """Return the latest complete checkpoint; the trainer's state is the last file written of one."""
    paths = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in paths:
        try:
            json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # the process ended while writing it
        return str(path)
    return None


def read_state(model: CrossEncoder, folder: Path) -> None:
    """Load the weights of a checkpoint into a model.

    Raises:
        CorruptModelError: the checkpoint does not have the model's trainable weights.
    """
    trainable = {name: value for name, value in model.named_parameters() if value.requires_grad}
    saved = load_file(state_file(folder))
    if trainable.keys() != saved.keys():
        raise CorruptModelError(f"{folder} is not a checkpoint of this run.", hint="Delete it and train again.")
    for name, value in saved.items():
        trainable[name].data.copy_(value.to(trainable[name].device))


class ProgressCallback(TrainerCallback):
    """Reports progress.

    Args:
        progress: called with the completed share (0 to 1) and the last losses.
    """

    def __init__(self, progress: Any) -> None:
        self._progress = progress

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Report the losses that the trainer logs."""
        self._progress(state.global_step / max(1, state.max_steps), logs or {})
