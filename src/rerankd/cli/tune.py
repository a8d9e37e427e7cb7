"""`rerankd tune`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from rerankd._common.plural import counted
from rerankd._common.progress import progress_bar
from rerankd.cli import options
from rerankd.cli.evaluate import Candidates, Data, Depth, MaxQueries, Qrels, open_datasets
from rerankd.cli.output import stdout, wants_json, write_rows
from rerankd.evaluation.run import rerank_dataset
from rerankd.evaluation.tuning import FOLDS, Tuning, tune_fusion
from rerankd.settings import load_settings
from rerankd.types import Fusion


@options.setting_flags("model", "precision", "instruction", "threads")
def tune_command(
    data: Data,
    candidates: Candidates = None,
    qrels: Qrels = None,
    measure: Annotated[str, typer.Option(help="Measure to maximize, by its ir_measures name.")] = "nDCG@10",
    folds: Annotated[int, typer.Option(min=2, help="Folds for cross-validation.")] = FOLDS,
    max_queries: MaxQueries = None,
    depth: Depth = None,
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Choose fusion method and weight on labelled data by cross-validation."""
    settings = load_settings(**flags)
    datasets = open_datasets(data, candidates, qrels, max_queries, depth, True, True, [])
    reranker = options.open_reranker(settings)
    work = []
    for dataset in datasets:
        with progress_bar(f"{settings.model} on {dataset.name}", sys.stderr.isatty()) as advance:
            work.append((dataset, rerank_dataset(settings.model, reranker, dataset, advance)))
    tuning = tune_fusion(work, measure, folds)
    if wants_json(as_json):
        write_rows([asdict(tuning)])
        return
    _print(tuning, settings.model)


def _print(tuning: Tuning, model: str) -> None:
    table = Table(
        "fusion",
        "first stage x",
        *tuning.datasets,
        "mean",
        title=f"{tuning.measure}, {counted(tuning.queries, 'query', 'queries')}",
    )
    table.add_row(
        "first stage alone",
        "",
        *(f"{mean:.4f}" for mean in tuning.first),
        f"{sum(tuning.first) / len(tuning.first):.4f}",
    )
    for trial in tuning.tried:
        method, weight = _method_and_weight(trial.fusion)
        style = "bold" if trial.fusion == tuning.chosen else ""
        table.add_row(method, weight, *(f"{mean:.4f}" for mean in trial.means), f"{trial.mean:.4f}", style=style)
    stdout().print(table)
    method, weight = _method_and_weight(tuning.chosen)
    chosen = [" x ".join(filter(None, _method_and_weight(fusion))) for fusion in tuning.folds]
    stdout().print(f"Chosen per fold: {', '.join(chosen)}", highlight=False, soft_wrap=True)
    stdout().print(
        f"On held-out queries: {tuning.against_model} against {model} alone, "
        f"{tuning.against_first} against the first stage alone.",
        highlight=False,
        soft_wrap=True,
    )
    lines = [f'fusion = "{method if tuning.chosen else "none"}"', *([f"fusion_weight = {weight}"] if weight else [])]
    stdout().print("For rerankd.toml:\n  " + "\n  ".join(lines), highlight=False, markup=False)


def _method_and_weight(fusion: Fusion | None) -> tuple[str, str]:
    return ("model alone", "") if fusion is None else (fusion.method, f"{fusion.weight:g}")
