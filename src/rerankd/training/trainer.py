"""sentence-transformers' trainer on our networks: checkpoints hold what is trained, and only that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.trainer import CrossEncoderTrainer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rerankd.training.network import state_file


class Trainer(CrossEncoderTrainer):
    """Trains; a checkpoint is the trained weights by name, beside the trainer's own files."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: the card is written by `card.py`, from what is known of the whole run."""

    def _trained(self) -> dict[str, Any]:
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in self._trained().items()}
        save_file(weights, state_file(folder))

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        read_state(self.model, Path(checkpoint_path))

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint:
            read_state(self.model, Path(self.state.best_model_checkpoint))


def read_state(model: CrossEncoder, folder: Path) -> None:
    """Put a checkpoint's weights into a model."""
    own = dict(model.named_parameters())
    for name, value in load_file(state_file(folder)).items():
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
