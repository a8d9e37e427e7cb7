"""`rerankd gate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rerankd._common.progress import progress_bar
from rerankd.cli import options
from rerankd.cli.evaluate import EXIT_BELOW, Depth, MaxQueries, open_datasets
from rerankd.cli.output import cell, json_row, stderr, stdout, tick, wants_json, write_rows
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.gate_record import GateDecision, GateLimits, read_decision, write_decision
from rerankd.evaluation.gate_runner import GateSets, run_gate
from rerankd.settings import load_settings

Folders = list[Path] | None
_NUMBERS = {"latency": ".4f", "size": ".4f", "closed cases": "g"}  # ratios and a count; the others are differences


def gate(
    candidate: Annotated[str, typer.Argument(help="Candidate model: a folder, or org/name[@revision].")],
    against: Annotated[str, typer.Option("--against", help="Current model, the champion.")] = "mini",
    domain: Annotated[
        Folders, typer.Option(metavar="DIR", help="BEIR folder on which the candidate must gain; repeatable.")
    ] = None,
    general: Annotated[
        Folders, typer.Option(metavar="DIR", help="BEIR folder on which the candidate must not lose; repeatable.")
    ] = None,
    cases: Annotated[
        Folders,
        typer.Option(metavar="DIR", help="Closed bad cases, written by `rerankd cases export --beir`; repeatable."),
    ] = None,
    measure: Annotated[str, typer.Option(help="Measure by its ir_measures name.")] = "nDCG@10",
    max_queries: MaxQueries = None,
    depth: Depth = None,
    loss: Annotated[float, typer.Option(min=0, help="Largest loss allowed on a general set.")] = GateLimits().loss,
    latency: Annotated[
        float, typer.Option(min=0, help="Largest median latency, relative to the champion's.")
    ] = GateLimits().latency,
    size: Annotated[
        float, typer.Option(min=0, help="Largest model size, relative to the champion's.")
    ] = GateLimits().size,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="File for the decision record.")] = None,
    as_json: options.Json = False,
) -> None:
    """Decide whether CANDIDATE may replace the champion; exit code 9 if not.

    The record is signed with RERANKD_GATE_KEY if it is set.
    """
    settings = load_settings()
    folders = [*(domain or []), *(general or []), *(cases or [])]
    if not domain:
        raise InvalidRequestError("There is no domain set.", hint="Name one with --domain.")
    datasets = open_datasets(folders, None, None, max_queries, depth, True, True, [])
    rerankers = {
        name: options.open_reranker(settings.model_copy(update={"model": reference, "rules": None}))
        for name, reference in (("champion", against), ("candidate", candidate))
    }
    ends = [len(domain), len(domain) + len(general or [])]
    sets = GateSets(datasets[: ends[0]], datasets[ends[0] : ends[1]], datasets[ends[1] :])
    limits = GateLimits(loss=loss, latency=latency, size=size)
    decision, _ = run_gate(
        rerankers["candidate"],
        rerankers["champion"],
        sets,
        measure=measure,
        limits=limits,
        key=settings.gate_key,
        bar=lambda title: progress_bar(title, sys.stderr.isatty()),
    )
    if out is not None:
        write_decision(out, decision)
    if wants_json(as_json):
        write_rows([json_row(decision, {"message": "says"})])
    else:
        print_decision(decision)
    if not decision.passed:
        raise typer.Exit(EXIT_BELOW)


def verify_gate(
    record: Annotated[Path, typer.Argument(help="Decision record written by `rerankd gate --out`.")],
) -> None:
    """Verify the signature of a decision record with RERANKD_GATE_KEY; exit code 9 if it is invalid or refused."""
    key = load_settings().gate_key
    if not key:
        raise InvalidRequestError("There is no gate key.", hint="Set RERANKD_GATE_KEY.")
    decision = read_decision(record)
    good = decision.valid(key)
    outcome = "passed" if decision.passed else "refused"
    stderr().print(
        f"The signature is {'valid' if good else 'NOT valid'}; {decision.candidate}: {outcome}.", markup=False
    )
    if not good or not decision.passed:
        raise typer.Exit(EXIT_BELOW)


def print_decision(decision: GateDecision) -> None:
    """Print a decision as a table."""
    title = f"{decision.candidate} against {decision.champion}: {'passed' if decision.passed else 'refused'}"
    table = Table("", "check", "measured", "limit", "", title=cell(title))
    for check in decision.checks:
        mark = tick(check.passed)
        number = _NUMBERS.get(check.name, "+.4f")
        table.add_row(
            mark, cell(check.name), f"{check.measured:{number}}", f"{check.limit:{number}}", cell(check.message)
        )
    stdout().print(table)
