"""`rerankd train`: fine-tune a model on labelled data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from rerankd.cli import options
from rerankd.cli.evaluate import open_datasets
from rerankd.cli.output import stderr, wants_json, write_rows
from rerankd.training.examples import Example, read_examples
from rerankd.training.finetune import RECORD, fine_tune
from rerankd.training.options import TrainOptions

DEFAULTS = TrainOptions()
Data = Annotated[
    list[Path],
    typer.Option("--data", metavar="PATH", help="BEIR folder, or jsonl with query, pos and neg; repeatable."),
]
General = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="Examples of other topics, replayed against forgetting; repeatable."),
]
Method = Annotated[Literal["lora", "full"], typer.Option(help="Train LoRA adapters, or all weights.")]
Loss = Annotated[
    Literal["softmax", "pairwise", "lambda", "distil"],
    typer.Option(help="Training loss; distil needs pos_scores and neg_scores in the data."),
]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the data, each with other negatives.")]
MaxLength = Annotated[int, typer.Option(min=16, help="Longest pair in tokens.")]
LearningRate = Annotated[
    float | None, typer.Option(help="Peak learning rate.  [default: 1e-4 for lora, 3e-5 for full]")
]
DistillationWeight = Annotated[
    float,
    typer.Option(min=0, max=0.99, help="Share of the base model's own distribution in the target of the softmax loss."),
]
MineNegatives = Annotated[
    bool, typer.Option(help="Mine negatives for examples with too few, and filter unjudged ones with the base model.")
]
Bf16 = Annotated[
    bool | None,
    typer.Option(
        "--bf16/--no-bf16",
        help="Compute matrix products in bfloat16.  [default: on GPUs; about twice as fast on CPUs with AMX]",
    ),
]


def train(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the run; the candidate is in model/.")],
    base: Annotated[
        str, typer.Option(metavar="REF", help="Base model: mini, a folder, registry:NAME, or org/name.")
    ] = "mini",
    method: Method = "lora",
    loss: Loss = "softmax",
    general: General = None,
    judged: Annotated[
        list[Path] | None,
        typer.Option("--judged", metavar="DIR", help="BEIR folder whose queries are excluded; repeatable."),
    ] = None,
    epochs: Epochs = DEFAULTS.epochs,
    groups_per_step: Annotated[int, typer.Option(min=1, help="Queries per step.")] = DEFAULTS.groups_per_step,
    group_size: Annotated[int, typer.Option(min=2, help="Passages per query.")] = DEFAULTS.group_size,
    learning_rate: LearningRate = None,
    max_length: MaxLength = DEFAULTS.max_length,
    lora_rank: Annotated[int, typer.Option(min=1, help="Rank of LoRA; alpha is twice that.")] = DEFAULTS.lora_rank,
    replay: Annotated[float, typer.Option(min=0, max=0.9, help="Share of general groups.")] = DEFAULTS.replay,
    distillation_weight: DistillationWeight = DEFAULTS.distillation_weight,
    validation: Annotated[float, typer.Option(help="Share of examples used for validation.")] = DEFAULTS.validation,
    patience: Annotated[
        int, typer.Option(min=0, help="Evaluations without improvement before early stopping; 0 to disable it.")
    ] = DEFAULTS.patience,
    mine_negatives: MineNegatives = True,
    precision: Annotated[Literal["int8", "fp32"], typer.Option(help="Precision of the candidate.")] = "int8",
    device: Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")] = "auto",
    bf16: Bf16 = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option(help="Recompute activations: less memory, a third more time.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the candidate.  [default: the base's name with -tuned]")] = "",
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = DEFAULTS.seed,
    as_json: options.Json = False,
) -> None:
    """Fine-tune a model on labelled data: train, compile, verify and calibrate a candidate.

    An interrupted run resumes from its last checkpoint when the same command is run again.
    """
    train_options = TrainOptions(
        method=method,
        loss=loss,
        epochs=epochs,
        groups_per_step=groups_per_step,
        group_size=group_size,
        learning_rate=learning_rate,
        max_length=max_length,
        lora_rank=lora_rank,
        lora_alpha=2 * lora_rank,
        validation=validation,
        patience=patience,
        replay=replay,
        distillation_weight=distillation_weight,
        mine_negatives=mine_negatives,
        precision=precision,
        device=device,
        bf16=bf16,
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
    )
    examples, general_examples = _read_all(data), _read_all(general or [])
    evaluation_sets = open_datasets(judged or [], None, None, None, None, True, False, [])
    with training_bar("Training") as progress:
        result = fine_tune(
            base,
            examples,
            out,
            train_options,
            general=general_examples,
            evaluation_sets=evaluation_sets,
            name=name,
            report=lambda sentence: stderr().print(f"· {sentence}", style="dim", highlight=False),
            progress=progress,
        )
    if wants_json(as_json):
        write_rows([{key: value for key, value in result.record.items() if key != "history"}])
        return
    stderr().print(f"Candidate: {result.model} ({out / RECORD}, {out / 'curves.svg'})", highlight=False)


def _read_all(paths: list[Path]) -> list[Example]:
    return [example for path in paths for example in read_examples(path)]


@contextmanager
def training_bar(title: str) -> Iterator[Callable[[float, Mapping[str, float]], None]]:
    """Show a progress bar with the last losses; nothing if standard error is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda share, losses: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr()) as bar:
        task = bar.add_task(title, total=1.0)
        last: dict[str, float] = {}

        def advance(share: float, losses: Mapping[str, float]) -> None:
            last.update({key: losses[key] for key in ("loss", "eval_loss") if key in losses})
            shown = ", ".join(f"{key.replace('eval_loss', 'validation')} {value:.3f}" for key, value in last.items())
            bar.update(task, completed=share, description=f"{title} ({shown})" if shown else title)

        yield advance
