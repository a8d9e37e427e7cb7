"""`rerankd calibrate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from rerankd._common.plural import counted
from rerankd._common.progress import progress_bar
from rerankd.cli import options
from rerankd.cli.evaluate import Candidates, MaxQueries, Qrels, open_datasets
from rerankd.cli.output import bar, stderr, stdout, wants_json, write_rows
from rerankd.compiler.calibrate import write_calibrated
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.calibration import Calibration, calibrate
from rerankd.evaluation.calibration_pairs import LabelledPairs, concatenate_pairs, labelled_pairs, read_labelled_pairs
from rerankd.evaluation.reliability import Reliability
from rerankd.evaluation.report.calibration_report import AFTER, BEFORE, render_calibration_report
from rerankd.evaluation.report.page import write_report
from rerankd.evaluation.run import rerank_dataset
from rerankd.reranker import Reranker
from rerankd.settings import load_settings


@options.setting_flags("model", "precision", "device", "backend", "max_length", "instruction", "threads")
def calibrate_command(
    data: Annotated[
        list[Path],
        typer.Option(
            "--data", metavar="PATH", help="BEIR folder, or jsonl with query, document and label; repeatable."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder for the calibrated model.  [default: only measure]")
    ] = None,
    candidates: Candidates = None,
    qrels: Qrels = None,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Give relevant and irrelevant pairs equal weight in the fit.")
    ] = False,
    max_queries: MaxQueries = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained HTML report.")] = None,
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Turn scores into probabilities: fit Platt scaling on labelled pairs, and write a calibrated copy of the model.

    The order of documents does not change. Calibration is measured on held-out queries.
    """
    settings = load_settings(**flags)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidRequestError(f"{out} exists.", hint="Name a folder that does not exist.")
    reranker = options.open_reranker(settings)
    pairs = _scored(reranker, data, candidates, qrels, max_queries)
    result = calibrate(pairs, balanced=balanced)
    if wants_json(as_json):
        write_rows([_row(reranker.model, result, balanced)])
    else:
        _print(reranker.model, result)
    if html is not None:
        names = ", ".join(path.resolve().name for path in data)
        write_report(html, render_calibration_report(result, reranker.model, names, balanced))
        stderr().print(f"Report: {html}", highlight=False, soft_wrap=True)
    if out is not None:
        figures = {"pairs": result.before.pairs, "ece": result.after.ece.mean, "brier": result.after.brier.mean}
        write_calibrated(reranker.files, out, result.platt, figures)
        stderr().print(f"Calibrated model: {out}", highlight=False, soft_wrap=True)


def _scored(
    reranker: Reranker,
    data: Sequence[Path],
    candidates: Sequence[Path] | None,
    qrels: Sequence[Path] | None,
    max_queries: int | None,
) -> LabelledPairs:
    folders = [path for path in data if path.is_dir()]
    parts = []
    for dataset in open_datasets(folders, candidates, qrels, max_queries, None, True, True, ()):
        with progress_bar(f"{reranker.model} on {dataset.name}", sys.stderr.isatty()) as advance:
            logits = rerank_dataset(reranker.model, reranker, dataset, advance).logits or {}
        parts.append(labelled_pairs(logits, dataset.qrels, dataset.name))
    for path in data:
        if path not in folders:
            rows, labels = read_labelled_pairs(path)
            scores = reranker.score(rows, activation="none", show_progress=sys.stderr.isatty())
            parts.append(LabelledPairs(scores, np.array(labels), tuple(row.query for row in rows)))
    return concatenate_pairs(parts)


def _row(model: str, result: Calibration, balanced: bool) -> dict[str, object]:
    return {"model": model, "balanced": balanced} | asdict(result)


def _print(model: str, result: Calibration) -> None:
    console, platt = stdout(), result.platt
    console.print(
        f"{counted(result.before.pairs, 'pair')} of {counted(result.queries, 'query', 'queries')}, "
        f"{result.before.relevant:,} relevant. "
        f"{model}: probability = sigmoid({platt.scale:.4f} x logit {platt.offset:+.4f})",
        highlight=False,
    )
    for name, reliability in ((BEFORE, result.before), (AFTER, result.after)):
        console.print(_table(name, reliability))


def _table(name: str, reliability: Reliability) -> Table:
    title = f"{name}: ECE {reliability.ece}, Brier {reliability.brier}"
    table = Table("scores", "pairs", "mean score", "relevant", "", title=title)
    for score_bin in reliability.bins:
        share = bar(score_bin.relevant, 20)
        table.add_row(
            f"{score_bin.low:.1f} to {score_bin.high:.1f}",
            f"{score_bin.pairs:,}",
            f"{score_bin.score:.3f}",
            f"{score_bin.relevant:.3f}",
            Text() + share,
        )
    return table
