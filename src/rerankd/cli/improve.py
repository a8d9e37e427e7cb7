"""`rerankd improve`: from bad cases to a new champion."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from rerankd._common.progress import progress_bar
from rerankd.cli import options
from rerankd.cli.evaluate import EXIT_BELOW
from rerankd.cli.output import cell, stderr, stdout, wants_json, write_rows
from rerankd.cli.train import (
    DEFAULTS,
    Bf16,
    DistillationWeight,
    Epochs,
    General,
    LearningRate,
    Loss,
    MaxLength,
    Method,
    MineNegatives,
    training_bar,
)
from rerankd.settings import Settings, load_settings
from rerankd.training.options import TrainOptions

if TYPE_CHECKING:
    from rerankd.improve.resources import Resources

POLL_SECONDS = 5.0
Folders = list[Path] | None


def improve(
    name: Annotated[str, typer.Option(help="Name of the registered model.")],
    domain: Annotated[
        list[Path], typer.Option(metavar="DIR", help="BEIR folder on which the candidate must gain; repeatable.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the run.")] = Path("improve"),
    data: Annotated[
        Folders, typer.Option(metavar="PATH", help="More training data, as for `rerankd train`; repeatable.")
    ] = None,
    general: Annotated[
        Folders, typer.Option(metavar="DIR", help="BEIR folder on which the candidate must not lose; repeatable.")
    ] = None,
    replay: General = None,
    cases: Annotated[bool, typer.Option(help="Train on labelled bad cases of the traces.")] = True,
    base: Annotated[
        str, typer.Option(metavar="REF", help="Base model.  [default: the registry's champion, or mini]")
    ] = "",
    served: Annotated[str, typer.Option("--model", "-m", help="Model name that requests use.")] = "mini",
    online: Annotated[
        Literal["none", "shadow", "canary", "interleave"],
        typer.Option("--rollout", help="Online trial before promotion; none: the gate decides."),
    ] = "canary",
    shadow_requests: Annotated[
        int, typer.Option(min=1, help="Requests compared in shadow traffic before the next step.")
    ] = 200,
    method: Method = "lora",
    loss: Loss = "softmax",
    epochs: Epochs = DEFAULTS.epochs,
    max_length: MaxLength = DEFAULTS.max_length,
    learning_rate: LearningRate = None,
    distillation_weight: DistillationWeight = DEFAULTS.distillation_weight,
    mine_negatives: MineNegatives = True,
    bf16: Bf16 = None,
    max_queries: Annotated[
        int | None, typer.Option(min=1, help="Most queries per set at the gate.  [default: all]")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for enough requests before exiting.")] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
    anew: Annotated[
        bool, typer.Option("--restart", help="Discard the progress in this folder and start over.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Collect bad cases, train, gate, register, run an online trial and promote; the same command resumes.

    Exit code 9 if the gate or a guardrail refuses the candidate, 8 while it waits for requests.
    """
    from rerankd.improve.loop import Loop, restart
    from rerankd.improve.options import ImproveOptions

    training = TrainOptions(
        method=method,
        loss=loss,
        epochs=epochs,
        max_length=max_length,
        learning_rate=learning_rate,
        distillation_weight=distillation_weight,
        mine_negatives=mine_negatives,
        bf16=bf16,
    )
    examples, sets, kept, general_examples = (
        tuple(path.resolve() for path in paths_given or ()) for paths_given in (data, domain, general, replay)
    )
    run = ImproveOptions(
        name,
        out.resolve(),
        examples,
        sets,
        kept,
        general_examples,
        cases=cases,
        base=base,
        served=served,
        online=online,
        shadow_requests=shadow_requests,
        training=training,
        max_queries=max_queries,
    )
    if anew and not dry_run:
        restart(run)
    with training_bar("Training") as progress:
        loop = Loop(
            run,
            _resources(load_settings()),
            lambda sentence: stderr().print(f"· {sentence}", style="dim", highlight=False, markup=False),
            lambda title: progress_bar(title, sys.stderr.isatty()),
            progress,
        )
        if not dry_run:
            last = loop.run()
            deadline = time.monotonic() + wait
            while last.state == "waiting" and time.monotonic() < deadline:
                time.sleep(min(POLL_SECONDS, wait))
                last = loop.run()
    rows = loop.plan()
    if wants_json(as_json):
        write_rows({"step": step, "state": state, "says": message} for step, state, message in rows)
    else:
        table = Table("step", "state", "")
        for step, state, message in rows:
            table.add_row(step, state, cell(message, 300))
        stdout().print(table)
    if not dry_run and last.state != "done":
        raise typer.Exit(EXIT_BELOW if last.state == "refused" else EXIT_WAITING)


def _resources(settings: Settings) -> Resources:
    from rerankd.improve.resources import Resources
    from rerankd.wiring.experiments import open_experiments
    from rerankd.wiring.registry import open_registry
    from rerankd.wiring.traces import open_existing_trace_store

    return Resources(
        registry=open_registry(settings),
        open_traces=lambda: open_existing_trace_store(settings),
        open_experiments=lambda: open_experiments(settings),
        gate_key=settings.gate_key,
    )


EXIT_WAITING = 8
