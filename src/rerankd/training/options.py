"""Options of a fine-tuning run, with defaults and limits."""

from __future__ import annotations

from dataclasses import dataclass

from rerankd._common.validation import check_max_length
from rerankd.compiler.compile import PRECISIONS
from rerankd.errors import InvalidRequestError
from rerankd.models.files import ModelFiles
from rerankd.scoring.backend import cuda_available
from rerankd.training.losses import LOSSES

METHODS = ("lora", "full")
DEVICES = ("auto", "cpu", "cuda")
LEARNING_RATES = {"lora": 1e-4, "full": 3e-5}


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of a fine-tuning run.

    Attributes:
        method: `lora` trains adapters, `full` all weights.
        loss: `softmax`, `pairwise`, `lambda` or `distil`.
        epochs: passes over the examples, each with newly drawn negatives.
        groups_per_step: queries per optimizer step.
        group_size: passages per query: one positive and `group_size - 1` negatives.
        learning_rate: peak learning rate; None for the method's default, `LEARNING_RATES`.
        max_length: longest pair in tokens.
        lora_rank: rank of the LoRA matrices.
        lora_alpha: scale of the LoRA update, relative to the rank.
        validation: share of the examples used for validation.
        patience: evaluations without improvement before early stopping; 0 to disable it.
        evaluations: number of evaluations during training.
        replay: share of groups drawn from general examples, against forgetting.
        distillation_weight: share of the base model's own distribution in the target of the `softmax` loss. Training on
            labels alone makes the model forget topics that they do not cover.
        mine_negatives: True to search negatives for examples with too few, and to drop those that the base model scores
            like an answer.
        precision: of the compiled candidate, `int8` or `fp32`.
        device: `auto`, `cpu` or `cuda`.
        bf16: compute matrix products in bfloat16, with float32 weights; None for GPUs that support it.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        mini_batch_size: pairs computed at once.
        seed: of all random draws and of the adapters' initial weights.
    """

    method: str = "lora"
    loss: str = "softmax"
    epochs: int = 2
    groups_per_step: int = 4
    group_size: int = 8
    learning_rate: float | None = None
    max_length: int = 256
    lora_rank: int = 16
    lora_alpha: int = 32
    validation: float = 0.1
    patience: int = 3
    evaluations: int = 8
    replay: float = 0.2
    distillation_weight: float = 0.33
    mine_negatives: bool = True
    precision: str = "int8"
    device: str = "auto"
    bf16: bool | None = None
    gradient_checkpointing: bool = False
    mini_batch_size: int = 32
    seed: int = 7


def check_length(max_length: int, files: ModelFiles) -> int:
    """Return a `max_length` that the base model can read.

    Raises:
        InvalidRequestError: `max_length` is above the model's limit.
    """
    manifest = files.manifest
    hint = "Train with a smaller max_length."
    return check_max_length(max_length, manifest.architecture.max_length, manifest.name, hint=hint)


def check_options(options: TrainOptions) -> None:
    """Check options before anything is loaded.

    Raises:
        InvalidRequestError: an unknown name, or a number out of range.
    """
    if options.method not in METHODS:
        raise InvalidRequestError(f"Unknown method {options.method!r}.", hint=f"Use {' or '.join(METHODS)}.")
    if options.loss not in LOSSES:
        raise InvalidRequestError(f"Unknown loss {options.loss!r}.", hint=f"Use one of: {', '.join(LOSSES)}.")
    if options.group_size < 2 or options.groups_per_step < 1 or options.epochs < 1:
        raise InvalidRequestError("group_size must be at least 2, groups_per_step and epochs at least 1.")
    if not 0 < options.validation < 0.9 or not 0 <= options.replay < 0.9:
        raise InvalidRequestError("validation and replay must be shares below 0.9.")
    if options.precision not in PRECISIONS:
        raise InvalidRequestError(f"Cannot compile to {options.precision!r}.", hint=f"Use {' or '.join(PRECISIONS)}.")
    if not 0 <= options.distillation_weight < 1:
        raise InvalidRequestError(
            "distillation_weight must be at least 0 and below 1.", hint="0 trains on the labels alone."
        )
    if options.learning_rate is not None and not 0 < options.learning_rate < 1:
        raise InvalidRequestError(
            "The learning rate must be between 0 and 1.", hint="Leave it out for the method's default."
        )
    if min(options.lora_rank, options.lora_alpha, options.evaluations, options.mini_batch_size) < 1:
        raise InvalidRequestError("lora_rank, lora_alpha, evaluations and mini_batch_size must be at least 1.")
    if options.patience < 0:
        raise InvalidRequestError("patience must be at least 0.", hint="0 disables early stopping.")
    if options.max_length < 16:
        raise InvalidRequestError("max_length must be at least 16 tokens.")
    if options.device not in DEVICES:
        raise InvalidRequestError(f"Unknown device {options.device!r}.", hint=f"Use one of: {', '.join(DEVICES)}.")
    if options.device == "cuda" and not cuda_available():
        raise InvalidRequestError("device='cuda', but torch sees no CUDA GPU.", hint="Use device cpu.")
