"""Tables of `rerankd eval` for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerankd.cli.output import cell
from rerankd.evaluation.comparison import Comparison
from rerankd.evaluation.evaluation import Evaluation
from rerankd.evaluation.measures import GAIN
from rerankd.evaluation.query_diff import QueryChange, largest_changes
from rerankd.evaluation.summary import latency_row

_STYLE = {"better": "green", "worse": "red"}
_SHOWN = 3


def print_tables(console: Console, evaluation: Evaluation, cases: int) -> None:
    """Print measures, comparisons, best and worst queries, and times."""
    console.print(_measures(evaluation))
    console.print(f"nDCG: {GAIN}. Means over all judged queries.", style="dim", highlight=False)
    if evaluation.comparisons:
        console.print(_comparisons(evaluation))
        if cases:
            console.print(_cases(evaluation, min(cases, _SHOWN)))
    if any(measured.run.latency for result in evaluation.results for measured in result.runs):
        console.print(_times(evaluation))


def _measures(evaluation: Evaluation) -> Table:
    table = Table("dataset", "queries", "system", title="Measures")
    for name in evaluation.measures:
        table.add_column(name, justify="right")
    for result in evaluation.results:
        for row, measured in enumerate(result.runs):
            head = (cell(result.dataset.name), Text(f"{len(result.query_ids):,}")) if row == 0 else ("", "")
            values = [f"{mean.mean:.4f}" for mean in measured.means]
            table.add_row(*head, cell(measured.run.name), *values, end_section=row == len(result.runs) - 1)
    return table


def _comparisons(evaluation: Evaluation) -> Table:
    measure = evaluation.measures[0]
    table = Table("dataset", "system", title=cell(f"{measure} against {evaluation.baseline}").plain)
    for name in ("difference", "95 % interval", "won", "tied", "lost", "p", "p (Holm)"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for result in evaluation.results:
        for comparison in result.comparisons:
            table.add_row(cell(result.dataset.name), cell(comparison.run), *_figures(comparison))
    return table


def _figures(comparison: Comparison) -> list[str | Text]:
    delta = comparison.deltas[0]
    counts = [f"{count:,}" for count in (comparison.wins, comparison.ties, comparison.losses)]
    return [
        f"{delta.mean:+.4f}",
        f"{delta.low:+.4f} to {delta.high:+.4f}",
        *counts,
        f"{comparison.p:.4f}",
        f"{comparison.p_holm:.4f}",
        Text(comparison.conclusion, style=_STYLE.get(comparison.conclusion, "dim")),
    ]


def _cases(evaluation: Evaluation, count: int) -> Table:
    table = Table("dataset", "system", "difference", "before", "after", "query", title="Best and worst queries")
    for result in evaluation.results:
        for comparison in result.comparisons:
            worst, best = largest_changes(result, comparison.run, comparison.baseline, count)
            for case in [*best, *reversed(worst)]:
                table.add_row(cell(result.dataset.name), cell(comparison.run), *_case(case))
            table.add_section()
    return table


def _case(case: QueryChange) -> list[str | Text]:
    style = "green" if case.delta > 0 else "red"
    shown = cell(case.query or case.query_id, 120)
    return [Text(f"{case.delta:+.3f}", style=style), f"{case.before:.3f}", f"{case.after:.3f}", shown]


def _times(evaluation: Evaluation) -> Table:
    table = Table("dataset", "system", title="Time per request, one at a time")
    names = ("requests", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "pairs_per_second")
    for name in names:
        table.add_column(name.replace("_ms", " ms").replace("_per_second", "/s"), justify="right")
    for result in evaluation.results:
        for measured in result.runs:
            if (times := measured.run.latency) is not None:
                figures = latency_row(times)
                values = [f"{figures[name]:,.0f}" for name in names]
                table.add_row(cell(result.dataset.name), cell(measured.run.name), *values)
    return table
