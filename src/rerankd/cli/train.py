"""`rerankd train`."""

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
from rerankd.evaluation.dataset import Dataset
from rerankd.training.examples import Example, read_examples
from rerankd.training.finetune import RECORD, Outcome, TrainOptions, fine_tune

Data = Annotated[
    list[Path], typer.Option("--data", metavar="PATH", help="BEIR folder, or jsonl of query, pos, neg; repeat.")
]
General = Annotated[
    list[Path] | None, typer.Option(metavar="PATH", help="Data of all else, replayed against forgetting; repeat.")
]
Method = Annotated[Literal["lora", "full"], typer.Option(help="Few weights beside the frozen ones, or all.")]
Loss = Annotated[
    Literal["softmax", "pairwise", "lambda", "distil"],
    typer.Option(help="distil needs pos_scores and neg_scores in the data."),
]
Bf16 = Annotated[
    bool | None,
    typer.Option("--bf16/--no-bf16", help="Products in bfloat16.  [default: on a GPU; on CPUs with AMX twice as fast]"),
]
DEFAULTS = TrainOptions()

Guard = Annotated[
    float, typer.Option(min=0, max=0.99, help="Share of the base's own opinion in what softmax trains towards.")
]


def train(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the run; the candidate is model/ in it.")],
    base: Annotated[str, typer.Option(metavar="REF", help="mini, a folder, registry:NAME, or org/name.")] = "mini",
    method: Method = "lora",
    loss: Loss = "softmax",
    general: General = None,
    judged: Annotated[
        list[Path] | None, typer.Option("--judged", metavar="DIR", help="BEIR folder it will be judged on: left out.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Each with other negatives.")] = DEFAULTS.epochs,
    groups: Annotated[int, typer.Option(min=1, help="Queries of a step.")] = DEFAULTS.groups,
    size: Annotated[int, typer.Option(min=2, help="Passages of a query.")] = DEFAULTS.size,
    rate: Annotated[
        float | None, typer.Option(help="Learning rate.  [default: 1e-4 lora, 3e-5 full; half of it on mini]")
    ] = None,
    max_length: Annotated[int, typer.Option(min=16, help="Longest pair in tokens.")] = DEFAULTS.max_length,
    rank: Annotated[int, typer.Option(min=1, help="Of LoRA; alpha is twice that.")] = DEFAULTS.rank,
    replay: Annotated[float, typer.Option(min=0, max=0.9, help="Share of general groups.")] = DEFAULTS.replay,
    guard: Guard = DEFAULTS.guard,
    validation: Annotated[float, typer.Option(help="Share that training is watched on.")] = DEFAULTS.validation,
    patience: Annotated[int, typer.Option(min=0, help="Looks without gain before it ends.")] = DEFAULTS.patience,
    mine: Annotated[bool, typer.Option(help="Look for negatives where there are too few.")] = True,
    precision: Annotated[Literal["int8", "fp32"], typer.Option(help="Of the candidate.")] = "int8",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    bf16: Bf16 = None,
    checkpointing: Annotated[bool, typer.Option(help="Less memory, a third more time.")] = False,
    name: Annotated[str, typer.Option(help="What the candidate is called.")] = "",
    seed: Annotated[int, typer.Option(help="Of all draws.")] = DEFAULTS.seed,
    as_json: options.Json = False,
) -> None:
    """Fine-tune a model on labelled data, and write it compiled, checked and calibrated.

    Interrupted, the same command goes on from its last checkpoint.
    """
    wanted = TrainOptions(
        method, loss, epochs, groups, size, rate, max_length, rank, 2 * rank, validation, patience,
        replay=replay, guard=guard, mine=mine, precision=precision, device=device, bf16=bf16,
        checkpointing=checkpointing, seed=seed,
    )  # fmt: skip
    examples, others = read_all(data), read_all(general or [])
    evaluated = open_datasets(judged or [], None, None, None, None, True, False, [])
    outcome = run_training(base, examples, out, wanted, others, evaluated, name)
    if wants_json(as_json):
        write_rows([{key: value for key, value in outcome.record.items() if key != "history"}])
        return
    stderr().print(f"Candidate: {outcome.model} ({out / RECORD}, {out / 'curves.svg'})", highlight=False)


def read_all(paths: list[Path]) -> list[Example]:
    """Examples of all paths."""
    return [example for path in paths for example in read_examples(path)]


def run_training(
    base: str,
    examples: list[Example],
    out: Path,
    wanted: TrainOptions,
    others: list[Example],
    evaluated: list[Dataset],
    name: str,
) -> Outcome:
    """Fine-tune with sentences and a bar on standard error."""
    with bar("Training") as progress:
        return fine_tune(
            base,
            examples,
            out,
            wanted,
            general=others,
            evaluated=evaluated,
            name=name,
            say=lambda sentence: stderr().print(f"· {sentence}", style="dim", highlight=False),
            progress=progress,
        )


@contextmanager
def bar(title: str) -> Iterator[Callable[[float, Mapping[str, float]], None]]:
    """A bar that also shows the last losses; nothing where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield lambda share, losses: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(title, total=1.0)
        last: dict[str, float] = {}

        def advance(share: float, losses: Mapping[str, float]) -> None:
            last.update({key: losses[key] for key in ("loss", "eval_loss") if key in losses})
            said = ", ".join(f"{key.replace('eval_loss', 'validation')} {value:.3f}" for key, value in last.items())
            shown.update(task, completed=share, description=f"{title} ({said})" if said else title)

        yield advance
