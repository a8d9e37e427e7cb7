"""`rerankd monitor`: effect of reranking, score drift and feedback by model and tenant."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from rerankd.cli.options import Json
from rerankd.cli.output import cell, stdout, wants_json, write_rows
from rerankd.cli.trace_options import Model, Tenant, Url, opened, seconds, trace_filter

if TYPE_CHECKING:
    from rerankd.feedback.monitoring import Activity

WIDE = 160  # columns of a terminal on which all numbers of a model fit in one row


def monitor(
    window: Annotated[str, typer.Option(help="Time window up to now: 15m, 1h, 7d.")] = "1h",
    reference: Annotated[str, typer.Option(help="Length of the reference window before it.")] = "7d",
    tenant: Tenant = None,
    model: Model = None,
    floor: Annotated[int, typer.Option(min=10, help="Rankings needed in both windows to compare scores.")] = 200,
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """Show by model and tenant how reranking changed the order, how scores drift, and what feedback says."""
    from rerankd.feedback.monitoring import MonitorWindows
    from rerankd.feedback.monitoring import monitor as monitored

    windows = MonitorWindows(seconds(window), seconds(reference), floor)
    with opened(traces_url) as (store, _):
        activity = monitored(store, windows, trace_filter(tenant, None, None, model))
    if wants_json(as_json):
        write_rows(asdict(row) for row in activity)
        return
    names = (
        *("model", "tenant", "rankings", "top changed", "tau", "rbo", "rose", "top score", "margin", "PSI"),
        *("p95 ms", "p95 ms of jobs", "truncated", "reciprocal rank of choice, before → after", "verdict"),
    )
    console = stdout()
    if console.width >= WIDE:
        table = Table(*names)
        for row in activity:
            table.add_row(*_cells(row))
    else:  # a line for each number
        table = Table(show_header=False)
        for cells in zip(names, *map(_cells, activity), strict=True):
            table.add_row(*cells)
    console.print(table)


def _cells(row: Activity) -> tuple[str | Text, ...]:
    feedback = row.feedback
    choice = (
        ""
        if feedback.reciprocal_before is None or feedback.reciprocal_after is None
        else f"{feedback.reciprocal_before:.3f} → {feedback.reciprocal_after:.3f} ({feedback.requests})"
    )
    return (
        *(cell(row.model), cell(row.tenant or "(none)"), str(row.requests), f"{row.top_changed:.1%}"),
        *(
            _number(row.tau),
            _number(row.rbo),
            _number(row.promotion, 1),
            f"{row.top_score:.2f}",
            _number(row.margin, 2),
        ),
        *(_number(row.psi), _number(row.latency_p95_ms, 0), _number(row.job_latency_p95_ms, 0)),
        *(f"{row.truncated:.1%}", choice, feedback.verdict),
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"
