"""`rerankd tune`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from rerankd._common.progress import progress_bar
from rerankd.cli import options
from rerankd.cli.evaluate import Candidates, Data, Depth, MaxQueries, Qrels, open_datasets
from rerankd.cli.output import stdout, wants_json, write_rows
from rerankd.evaluation.run import ranked_by
from rerankd.evaluation.tuning import FOLDS, Tuning, tune
from rerankd.settings import load_settings
from rerankd.types import Fusion


def tune_command(
    data: Data,
    candidates: Candidates = None,
    qrels: Qrels = None,
    model: options.Model = None,
    measure: Annotated[str, typer.Option(help="What to maximise, as ir_measures names it.")] = "nDCG@10",
    folds: Annotated[int, typer.Option(min=2, help="Parts for cross-validation.")] = FOLDS,
    max_queries: MaxQueries = None,
    depth: Depth = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Choose how much the first stage counts beside the model, on labelled data, by cross-validation."""
    settings = load_settings(model=model, precision=precision, threads=threads)
    datasets = open_datasets(data, candidates, qrels, max_queries, depth, True, True, [])
    reranker = options.open_reranker(settings)
    work = []
    for dataset in datasets:
        with progress_bar(f"{settings.model} on {dataset.name}", sys.stderr.isatty()) as advance:
            work.append((dataset, ranked_by(settings.model, reranker, dataset, advance)))
    found = tune(work, measure, folds)
    if wants_json(as_json):
        write_rows([asdict(found)])
        return
    _print(found, settings.model)


def _print(found: Tuning, model: str) -> None:
    table = Table(
        "fusion", "first stage x", *found.datasets, "mean", title=f"{found.measure}, {found.queries:,} queries"
    )
    table.add_row(
        "first stage alone", "", *(f"{mean:.4f}" for mean in found.first), f"{sum(found.first) / len(found.first):.4f}"
    )
    for one in found.tried:
        method, weight = _named(one.fusion)
        style = "bold" if one.fusion == found.chosen else ""
        table.add_row(method, weight, *(f"{mean:.4f}" for mean in one.means), f"{one.mean:.4f}", style=style)
    stdout().print(table)
    method, weight = _named(found.chosen)
    chosen = [" x ".join(filter(None, _named(fusion))) for fusion in found.folds]
    stdout().print(f"Folds chose: {', '.join(chosen)}", highlight=False, soft_wrap=True)
    stdout().print(
        f"On queries that did not choose: {found.against_model} against {model} alone, "
        f"{found.against_first} against the first stage alone.",
        highlight=False,
        soft_wrap=True,
    )
    lines = [f'fusion = "{method if found.chosen else "none"}"', *([f"fusion_weight = {weight}"] if weight else [])]
    stdout().print("For rerankd.toml:\n  " + "\n  ".join(lines), highlight=False, markup=False)


def _named(fusion: Fusion | None) -> tuple[str, str]:
    return ("model alone", "") if fusion is None else (fusion.method, f"{fusion.weight:g}")
