"""`rerankd rules`: check a file of rules, try it on documents, preview it on traces."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rerankd.cli import options
from rerankd.cli.inputs import read_documents
from rerankd.cli.output import cell, movement, stdout, wants_json, write_rows
from rerankd.cli.traces import Model, Since, Tenant, Until, Url, opened, print_replays, say, trace_filter
from rerankd.errors import NotFoundError
from rerankd.ranking.order import order_of
from rerankd.rules.rule_file import read_rules
from rerankd.settings import load_settings
from rerankd.types import Adjustment, PairScore

app = typer.Typer(help="Rules by which you correct the model.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="YAML file of rules.")]


@app.command()
def check(file: File) -> None:
    """Check a file of rules; what is wrong is said with its line, and the exit code is 2."""
    rules = read_rules(file)
    kinds = Counter(rule.action for rule in rules.rules)
    counted = ", ".join(f"{count} {action}" for action, count in sorted(kinds.items()))
    say(f"{file} is good: {len(rules)} rules ({counted or 'none'}), version {rules.version}.")


@app.command("test")
def try_rules(
    file: File,
    query: Annotated[str, typer.Argument(help="The question.")],
    documents: Annotated[str, typer.Argument(help="Documents, as `rerankd rank` reads them; - for standard input.")],
    tenant: Annotated[str, typer.Option(help="Key id that asks.")] = "",
    model: options.Model = None,
    field: Annotated[str, typer.Option(help="Column or key that holds the text.")] = "text",
    as_json: options.Json = False,
) -> None:
    """Rank documents with and without the rules, and show which of them fire."""
    rules = read_rules(file)
    found = read_documents(documents, field, None)
    reranker = options.open_reranker(load_settings(model=model))
    asked = rules.expanded(query, tenant)
    logits = options.logits_of(reranker)(asked, [document.text for document in found])
    scores = [PairScore(logit, 0, False) for logit in logits]
    adjustments = rules.adjustments(query, found, tenant)
    without, ruled = order_of(found, scores), order_of(found, scores, adjustments)
    hidden = [place for place in without if adjustments[place].filtered]
    places = {place: rank for rank, place in enumerate(ruled, 1)}
    before = {place: rank for rank, place in enumerate(without, 1)}
    if wants_json(as_json):
        write_rows(
            {"index": i, "id": found[i].id, "text": found[i].text, "rank_without": before[i], "rank": places.get(i)}
            | {"raw_score": logits[i], "shift": adjustments[i].boost}
            | {"rules": [asdict(one) for one in adjustments[i].matched_rules]}
            for i in [*ruled, *hidden]
        )
        return
    table = Table("place", "without", "score", "shift", "rules", "document", title=cell(asked))
    for i in [*ruled, *hidden]:
        rank = places.get(i)
        table.add_row(
            *("left out" if rank is None else str(rank), "" if rank is None else movement(before[i], rank)),
            *(f"{logits[i]:.3f}", f"{adjustments[i].boost:+.3f}" if adjustments[i].boost else ""),
            *(cell(_fired(adjustments[i]), 80), cell(found[i].text, 60)),
        )
    stdout().print(table)


@app.command()
def preview(
    file: File,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    model: Model = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 1000,
    traces_url: Url = None,
    as_json: options.Json = False,
) -> None:
    """Show which recorded rankings a file of rules would change, before it is put in force."""
    from rerankd.traces.replay import preview as previewed
    from rerankd.traces.replay import summary

    rules = read_rules(file)
    with opened(traces_url) as (store, settings):
        traces = store.list_traces(trace_filter(tenant, since, until, model), limit=limit)
        if not traces:
            raise NotFoundError("There is no such trace.", hint="See: rerankd traces list")
        score = options.late_logits(settings.model_copy(update={"rules": None}))
        found = (full for trace in traces for full in store.load([trace]))  # one at a time: texts are large
        replays = list(previewed(found, rules, score))
    moved = [one for one in replays if one.moves]
    if wants_json(as_json):
        write_rows(asdict(one) for one in moved)
    else:
        print_replays([one for one in replays if one.moves or one.skipped][:50])
    short = summary(replays)
    say(
        f"Rules {rules.version}: {len(moved)} of {short.replayed} rankings move, {short.skipped} skipped. Another "
        f"document is first in {short.top_changed:.1%}; {short.entered:.2f} documents enter those kept, on average."
    )


def _fired(adjustment: Adjustment) -> str:
    return ", ".join(f"{one.rule} ({one.action} {one.weight:+g})" for one in adjustment.matched_rules)
