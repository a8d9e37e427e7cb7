"""Fine-tuning: training examples to a verified candidate model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.training.examples import Example, clean, read_examples, split
    from rerankd.training.finetune import TrainResult, fine_tune
    from rerankd.training.leaks import LeakReport, exclude_leaks
    from rerankd.training.negatives import add_negatives
    from rerankd.training.options import TrainOptions

__all__ = [
    "Example",
    "LeakReport",
    "TrainOptions",
    "TrainResult",
    "add_negatives",
    "clean",
    "exclude_leaks",
    "fine_tune",
    "read_examples",
    "split",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.training.examples": ("Example", "clean", "read_examples", "split"),
        "rerankd.training.finetune": ("TrainResult", "fine_tune"),
        "rerankd.training.leaks": ("LeakReport", "exclude_leaks"),
        "rerankd.training.negatives": ("add_negatives",),
        "rerankd.training.options": ("TrainOptions",),
    },
)
