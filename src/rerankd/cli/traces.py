"""`rerankd traces`: list, show, replay, export, prune and erase recorded rankings."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from rerankd._common.plural import counted
from rerankd.cli.options import Json, logits_of, open_reranker
from rerankd.cli.output import cell, movement, readable, say, stdout, wants_json, write_rows
from rerankd.cli.replays import models_of, print_replays
from rerankd.cli.tenants import erasure_target, resolve_tenant
from rerankd.cli.trace_options import (
    Model,
    Since,
    Tenant,
    Until,
    Url,
    listed_row,
    opened,
    replay_row,
    request_name,
    trace_filter,
    when,
)
from rerankd.errors import NotFoundError

app = typer.Typer(help="Recorded rankings, before and after, in the database of traces_url.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="REQUEST", help="Request id, or number of the trace.")]
WIDE = 120  # columns of a terminal on which a request id and all numbers fit
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


@app.command("list")
def list_traces(
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    model: Model = None,
    experiment: Annotated[str | None, typer.Option(help="Only rankings of this experiment.")] = None,
    variant: Annotated[str | None, typer.Option(help="Only rankings of this variant.")] = None,
    arm: Annotated[str | None, typer.Option(hidden=True, help="Old name of --variant.")] = None,
    order: Annotated[Literal["newest", "oldest", "margin"], typer.Option(help="Sort order.")] = "newest",
    limit: Annotated[int, typer.Option(min=1, help="Most traces to list.")] = 50,
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """List traces; `--order margin` starts with the smallest difference between first and second."""
    with opened(traces_url) as (store, _):
        selection = replace(trace_filter(tenant, since, until, model), experiment=experiment)
        selection = replace(selection, variant=arm if variant is None else variant)
        traces = store.list_traces(selection, limit=limit, order=order)
        queries = store.read_queries(traces)
        empty = not traces and not store.list_traces(limit=1)
    if empty:
        say("No traces yet: start rerankd serve and send a request.")
    elif not traces:
        say("No trace matches.")
    if wants_json(as_json):
        write_rows(listed_row(trace) | {"query": queries.get(trace.query)} for trace in traces)
        return
    if not traces:
        return
    console = stdout()
    names = ["request", "time", "tenant", "model", "docs", "top before", "score", "margin", "query"]
    shown = names if console.width >= WIDE else ["request", "top before", "query"]
    table = Table()
    for name in shown:
        table.add_column(name, no_wrap=name == "request", overflow="fold")
    for trace in traces:
        cells: dict[str, str | Text] = {
            "request": cell(request_name(trace), 40),
            "time": when(trace.time),
            "tenant": cell(trace.tenant),
            "model": cell(trace.model),
            "docs": str(trace.documents),
            "top before": movement(trace.top_before, 1),
            "score": f"{trace.top_score:.3f}",
            "margin": "" if trace.margin is None else f"{trace.margin:.3f}",
            "query": cell(queries.get(trace.query, "(erased)"), 60),
        }
        table.add_row(*(cells[name] for name in shown))
    console.print(table)


@app.command()
def show(request: Name, tenant: Tenant = None, traces_url: Url = None, as_json: Json = False) -> None:
    """Show a trace: every candidate before and after, with its feedback; with --tenant, only what it was shown."""
    from rerankd.feedback.store import read_feedback
    from rerankd.traces.export import exported_trace
    from rerankd.traces.store import TraceFilter

    with opened(traces_url) as (store, _):
        details = store.find_trace(request, tenant)
        if details is None:
            raise NotFoundError(f"There is no trace {request!r}.", hint="See: rerankd traces list")
        selection = TraceFilter(tenant=details.trace.tenant, request_id=details.trace.request_id)
        feedback_items = read_feedback(store, selection) if details.trace.request_id else []
    row = exported_trace(details, only_shown=tenant is not None) | {
        "feedback": [asdict(entry.feedback) for entry in feedback_items]
    }
    if wants_json(as_json):
        write_rows([row])
        return
    summary = Table("", "", show_header=False)
    for name, value in row.items():
        if name not in ("candidates", "feedback"):
            summary.add_row(name, when(value) if name == "time" else cell(readable(value)))
    for entry in feedback_items:
        item = entry.feedback
        document = item.document_id if item.index is None else item.index
        summary.add_row(item.kind, cell(f"{'' if document is None else f'document {document}: '}{item.value:g}"))
    stdout().print(summary)
    table = Table("after", "before", "first stage", "raw score", "score", "id", "text")
    for candidate in sorted(row["candidates"], key=lambda candidate: candidate["rank_after"]):
        first = candidate["score_before"]
        table.add_row(
            *(
                ("hidden", "")
                if candidate["filtered"]
                else (str(candidate["rank_after"]), movement(candidate["rank_before"], candidate["rank_after"]))
            ),
            "" if first is None else f"{first:.3f}",
            *(f"{candidate['raw_score']:.3f}", f"{candidate['score']:.4f}", cell(candidate["id"] or "")),
            cell(candidate["text"] or "(erased)", 80),
        )
    stdout().print(table)


@app.command()
def export(
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    model: Model = None,
    traces_url: Url = None,
) -> None:
    """Write traces with their texts as JSON lines to standard output; with --tenant, only what it was shown."""
    from rerankd.traces.export import exported_trace

    with opened(traces_url) as (store, _):
        traces = store.iter_traces(trace_filter(tenant, since, until, model))
        write_rows(exported_trace(trace, only_shown=tenant is not None) for trace in traces)


@app.command()
def replay(
    against: Annotated[str, typer.Argument(help="Model to replay with: mini, a folder, or org/name[@revision].")],
    request: Annotated[str | None, typer.Option(help="Only this ranking: request id, or number of the trace.")] = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    model: Model = None,
    limit: Annotated[int, typer.Option(min=1, help="Most traces, newest first.")] = 100,
    traces_url: Url = None,
    as_json: Json = False,
) -> None:
    """Rank traces again with another model and show what would change."""
    from rerankd.traces.replay import replay_traces, summarize

    with opened(traces_url) as (store, settings):
        if request is not None:
            single = store.find_trace(request, tenant)
            traces = [single.trace] if single else []
        else:
            traces = store.list_traces(trace_filter(tenant, since, until, model), limit=limit)
        if not traces:
            raise NotFoundError("No trace matches.", hint="See: rerankd traces list")
        reranker = open_reranker(settings.model_copy(update={"model": against}))
        full_traces = (full for trace in traces for full in store.load([trace]))  # one at a time: texts are large
        replays = list(replay_traces(full_traces, logits_of(reranker)))
    if wants_json(as_json):
        write_rows(replay_row(replay) | {"against": against} for replay in replays)
        return
    print_replays(replays)
    totals = summarize(replays)
    say(
        f"{counted(totals.replayed, 'ranking')} of {models_of(replays)} replayed on {against}, "
        f"{totals.skipped} skipped. With {against} the first document changes in "
        f"{totals.top_changed:.1%}; Kendall's tau {totals.tau:.3f}; on average {totals.entered:.2f} documents "
        f"enter the results and {totals.moved:.1f} move."
    )


@app.command()
def prune(
    days: Annotated[
        float | None, typer.Option(min=0, help="Delete traces older than this.  [default: setting traces_days]")
    ] = None,
    megabytes: Annotated[
        float | None,
        typer.Option(min=0, help="Delete traces down to this size, fairly between keys.  [default: setting traces_mb]"),
    ] = None,
    traces_url: Url = None,
) -> None:
    """Apply retention now: delete traces by age and size; services do so every minute."""
    from rerankd.feedback.retention import DeletionCounts
    from rerankd.feedback.retention import prune as pruned
    from rerankd.wiring.traces import retention_policy

    total, more = DeletionCounts(), True
    with opened(traces_url) as (store, settings):
        overrides = {"traces_days": days, "traces_mb": megabytes}
        settings = settings.model_copy(update={name: value for name, value in overrides.items() if value is not None})
        while more:
            deleted, more = pruned(store, retention_policy(settings))
            total += deleted
    say(
        f"{counted(total.traces, 'trace')}, {counted(total.texts, 'text')} and "
        f"{counted(total.feedback, 'item')} of feedback deleted."
    )


@app.command()
def erase(
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Erase everything of this API key, by id or name; with --document, only that document.",
            callback=resolve_tenant,
        ),
    ] = None,
    document: Annotated[str | None, typer.Option(help="Erase the texts of documents with this id.")] = None,
    text_hash: Annotated[str | None, typer.Option(help="Erase the text with this SHA-256, in hexadecimal.")] = None,
    without_key: Annotated[
        bool,
        typer.Option("--without-key", help="Erase everything of requests without a key; with --document, only that."),
    ] = False,
    yes: Yes = False,
    traces_url: Url = None,
) -> None:
    """Erase a tenant, a document or a text, so that no byte of it remains in the database files."""
    from rerankd.feedback import retention

    tenant, target = erasure_target(tenant, document, text_hash, without_key=without_key)
    if not yes:
        typer.confirm(f"Erase {target}?", abort=True, err=True)
    with opened(traces_url) as (store, _):
        if text_hash is not None:
            erased = retention.erase_text(store, text_hash)
        elif document is not None:
            erased = retention.erase_document(store, document, tenant)
        else:
            erased = retention.erase_tenant(store, tenant or "")
    if erased == retention.DeletionCounts():
        raise NotFoundError(
            f"Nothing was erased: there is no {target}.",
            hint="See: rerankd keys list, for the ids of keys." if tenant else "See: rerankd traces list.",
        )
    say(
        f"Erased: {counted(erased.traces, 'trace')}, {counted(erased.texts, 'text')}, "
        f"{counted(erased.feedback, 'item')} of feedback and {counted(erased.cases, 'case')}."
    )
