"""`rerankd calibrate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from rerankd._common.progress import progress_bar
from rerankd.cli import options
from rerankd.cli.evaluate import Candidates, MaxQueries, Qrels, open_datasets
from rerankd.cli.output import bar, stderr, stdout, wants_json, write_rows
from rerankd.compiler.calibrate import write_calibrated
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.calibration import Calibration, calibrate
from rerankd.evaluation.calibration_pairs import LabelledPairs, joined, labelled, read_labelled
from rerankd.evaluation.reliability import Reliability
from rerankd.evaluation.report.calibration_report import AFTER, BEFORE, calibration_report
from rerankd.evaluation.report.page import write_page
from rerankd.evaluation.run import ranked_by
from rerankd.reranker import Reranker
from rerankd.settings import load_settings


def calibrate_command(
    data: Annotated[
        list[Path],
        typer.Option(
            "--data", metavar="PATH", help="BEIR folder, or jsonl of query, document, label; may be repeated."
        ),
    ],
    model: options.Model = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Calibrated model to make.  [default: only measure]")
    ] = None,
    candidates: Candidates = None,
    qrels: Qrels = None,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Let relevant and other pairs weigh the same in the fit.")
    ] = False,
    max_queries: MaxQueries = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report: one file, no network.")] = None,
    precision: options.Precision = None,
    device: options.Device = None,
    backend: options.Backend = None,
    max_length: options.MaxLength = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Make a model's scores probabilities: fit them to labelled pairs, and write a calibrated copy.

    The order of documents stays as it is. Scores are checked on queries that they were not fitted on.
    """
    settings = load_settings(
        model=model, precision=precision, device=device, backend=backend, max_length=max_length, threads=threads
    )
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidRequestError(f"{out} exists.", hint="Pass a folder that does not exist.")
    reranker = options.open_reranker(settings)
    pairs = _scored(reranker, data, candidates, qrels, max_queries)
    found = calibrate(pairs, balanced=balanced)
    if wants_json(as_json):
        write_rows([_row(reranker.model, found, balanced)])
    else:
        _print(reranker.model, found)
    if html is not None:
        names = ", ".join(path.resolve().name for path in data)
        write_page(html, calibration_report(found, reranker.model, names, balanced))
        stderr().print(f"Report: {html}", highlight=False, soft_wrap=True)
    if out is not None:
        figures = {"pairs": found.before.pairs, "ece": found.after.ece.mean, "brier": found.after.brier.mean}
        write_calibrated(reranker.files, out, found.platt, figures)
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
            logits = ranked_by(reranker.model, reranker, dataset, advance).logits or {}
        parts.append(labelled(logits, dataset.qrels, dataset.name))
    for path in data:
        if path not in folders:
            rows, labels = read_labelled(path)
            scores = reranker.score(rows, activation="none", show_progress=sys.stderr.isatty())
            parts.append(LabelledPairs(scores, np.array(labels), tuple(row.query for row in rows)))
    return joined(parts)


def _row(model: str, found: Calibration, balanced: bool) -> dict[str, object]:
    return {"model": model, "balanced": balanced} | asdict(found)


def _print(model: str, found: Calibration) -> None:
    console, platt = stdout(), found.platt
    console.print(
        f"{found.before.pairs:,} pairs of {found.queries:,} queries, {found.before.relevant:,} relevant. "
        f"{model}: probability = sigmoid({platt.scale:.4f} x logit {platt.offset:+.4f})",
        highlight=False,
    )
    for name, own in ((BEFORE, found.before), (AFTER, found.after)):
        console.print(_table(name, own))


def _table(name: str, found: Reliability) -> Table:
    title = f"{name}: ECE {found.ece}, Brier {found.brier}"
    table = Table("scores", "pairs", "mean score", "relevant", "", title=title)
    for own in found.bins:
        share = bar(own.relevant, 20)
        table.add_row(
            f"{own.low:.1f} to {own.high:.1f}",
            f"{own.pairs:,}",
            f"{own.score:.3f}",
            f"{own.relevant:.3f}",
            Text() + share,
        )
    return table
