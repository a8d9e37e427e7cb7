"""sentence-transformers' trainer on our networks: checkpoints hold what is trained, and only that."""

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
    """Trains; a checkpoint is the trained weights by name, beside the trainer's own files."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the card is written by `card.py`, from what is known of the whole run."""

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
            # By its name: the folder of the run may have been moved since.
            read_state(self.model, Path(str(self.args.output_dir), Path(self.state.best_model_checkpoint).name))

    def ended(self, folder: str) -> bool:
        """Whether training was over at a checkpoint; then this has its state and the best weights."""
        state = TrainerState.load_from_json(str(Path(folder, TRAINER_STATE_NAME)))
        control: Any = state.stateful_callbacks.get("TrainerControl", {})
        if not control.get("args", {}).get("should_training_stop"):
            return False
        self.state = state
        self._load_best_model()
        return True


def last_checkpoint(folder: Path) -> str | None:
    """The latest checkpoint that is whole: the trainer's state is the last file that is written of one."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        try:
            json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # the process was ended while it wrote
        return str(path)
    return None


def read_state(model: CrossEncoder, folder: Path) -> None:
    """Put a checkpoint's weights into a model.

    Raises:
        CorruptModelError: they are not what learns in the model.
    """
    own = {name: value for name, value in model.named_parameters() if value.requires_grad}
    held = load_file(state_file(folder))
    if own.keys() != held.keys():
        raise CorruptModelError(f"{folder} is not a checkpoint of this run.", hint="Delete it, and train again.")
    for name, value in held.items():
        own[name].data.copy_(value.to(own[name].device))


class Watch(TrainerCallback):
    """Tells of progress.

    Args:
        say: given the share that is done and the last losses.
    """

    def __init__(self, say: Any) -> None:
        self._say = say

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Pass on what the trainer logs."""
        self._say(state.global_step / max(1, state.max_steps), logs or {})
