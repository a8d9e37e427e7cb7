"""`rerankd feedback`: import and list feedback on rankings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rerankd._common.plural import counted
from rerankd.cli.options import Json
from rerankd.cli.output import cell, say, stdout, wants_json, write_rows
from rerankd.cli.tenants import resolve_tenant
from rerankd.cli.trace_options import Since, Tenant, Until, Url, opened, trace_filter, when

app = typer.Typer(help="Import and list feedback on rankings.", no_args_is_help=True)


@app.command("import")
def import_csv(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV file with a header row.")],
    tenant: Annotated[
        str, typer.Option(help="API key, by id or name, for rows without one.", callback=resolve_tenant)
    ] = "",
    traces_url: Url = None,
) -> None:
    """Import feedback from CSV: request_id, kind (click, citation, thumb, grade), index or document_id, value, time."""
    from rerankd.feedback.events import read_csv
    from rerankd.feedback.store import import_feedback

    with opened(traces_url) as (store, _), file.open(encoding="utf-8-sig", newline="") as lines:
        count, known = import_feedback(store, read_csv(lines, tenant))
    belong = counted(known, "of them belongs to a known ranking", "of them belong to known rankings")
    say(f"{counted(count, 'item')} imported; {belong}.")


@app.command("list")
def list_feedback(
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="Most traces, newest first.")] = 50,
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """List feedback, newest first, with its trace."""
    from rerankd.feedback.store import read_feedback

    with opened(traces_url) as (store, _):
        feedback_items = read_feedback(store, trace_filter(tenant, since, until, None), limit=limit)
    if wants_json(as_json):
        write_rows(
            asdict(entry.feedback) | {"trace": entry.trace.id if entry.trace else None} for entry in feedback_items
        )
        return
    table = Table("time", "tenant", "request", "kind", "document", "value", "trace")
    for entry in feedback_items:
        item = entry.feedback
        document = item.document_id if item.index is None else str(item.index)
        names = (cell(item.tenant), cell(item.request_id, 40), item.kind, cell(document or ""))
        table.add_row(when(item.time), *names, f"{item.value:g}", str(entry.trace.id) if entry.trace else "(pending)")
    stdout().print(table)
