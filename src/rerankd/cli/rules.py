"""`rerankd rules`: check a rule file, test it on documents, preview it on traces."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rerankd._common.plural import counted
from rerankd.cli import options
from rerankd.cli.inputs import read_documents
from rerankd.cli.output import cell, movement, say, stdout, wants_json, write_rows
from rerankd.cli.replays import print_replays
from rerankd.cli.trace_options import Model, Since, Tenant, Until, Url, opened, replay_row, trace_filter
from rerankd.errors import NotFoundError
from rerankd.ranking.order import order_of
from rerankd.rules.rule_file import read_rules
from rerankd.settings import load_settings
from rerankd.types import Adjustment, PairScore

app = typer.Typer(help="Rules that boost, bury, pin, filter and expand.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="YAML file of rules.")]


@app.command()
def check(file: File) -> None:
    """Check a rule file; an error names its line, and the exit code is 2."""
    rules = read_rules(file)
    kinds = Counter(rule.action for rule in rules.rules)
    actions = ", ".join(f"{count} {action}" for action, count in sorted(kinds.items()))
    say(f"{file} is valid: {counted(len(rules), 'rule')} ({actions or 'none'}), version {rules.version}.")


@app.command("test")
@options.setting_flags("model", "instruction")
def try_rules(
    file: File,
    query: Annotated[str, typer.Argument(help="The question.")],
    documents: Annotated[str, typer.Argument(help="File of documents, as for `rerankd rank`; - for standard input.")],
    tenant: Annotated[str, typer.Option(help="API key id of the request.")] = "",
    field: Annotated[str, typer.Option(help="Column or key with the text.")] = "text",
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Rank documents with and without the rules, and show which rules match."""
    rules = read_rules(file)
    candidates = read_documents(documents, field, None)
    reranker = options.open_reranker(load_settings(**flags))
    expanded_query = rules.expand_query(query, tenant)
    logits = options.logits_of(reranker)(expanded_query, [document.text for document in candidates], None)
    scores = [PairScore(logit, 0, False) for logit in logits]
    adjustments = rules.adjustments(query, candidates, tenant)
    plain_order, ruled_order = order_of(candidates, scores), order_of(candidates, scores, adjustments)
    filtered = [index for index in plain_order if adjustments[index].filtered]
    rank_with_rules = {index: rank for rank, index in enumerate(ruled_order, 1)}
    rank_without_rules = {index: rank for rank, index in enumerate(plain_order, 1)}
    if wants_json(as_json):
        write_rows(
            {
                "index": i,
                "id": candidates[i].id,
                "text": candidates[i].text,
                "rank_without": rank_without_rules[i],
                "rank": rank_with_rules.get(i),
            }
            | {"raw_score": logits[i], "shift": adjustments[i].boost}
            | {"rules": [asdict(rule) for rule in adjustments[i].matched_rules]}
            for i in [*ruled_order, *filtered]
        )
        return
    table = Table("rank", "without rules", "score", "shift", "rules", "document", title=cell(expanded_query))
    for i in [*ruled_order, *filtered]:
        rank = rank_with_rules.get(i)
        table.add_row(
            "filtered" if rank is None else str(rank),
            "" if rank is None else movement(rank_without_rules[i], rank),
            *(f"{logits[i]:.3f}", f"{adjustments[i].boost:+.3f}" if adjustments[i].boost else ""),
            *(cell(_matched(adjustments[i]), 80), cell(candidates[i].text, 60)),
        )
    stdout().print(table)


@app.command()
def preview(
    file: File,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    model: Model = None,
    limit: Annotated[int, typer.Option(min=1, help="Most traces, newest first.")] = 1000,
    traces_url: Url = None,
    as_json: options.Json = False,
) -> None:
    """Show which recorded rankings a rule file would change, before it is deployed."""
    from rerankd.traces.replay import replay_with_rules, summarize

    rules = read_rules(file)
    with opened(traces_url) as (store, settings):
        traces = store.list_traces(trace_filter(tenant, since, until, model), limit=limit)
        if not traces:
            raise NotFoundError("No trace matches.", hint="See: rerankd traces list")
        score = options.lazy_logits(settings.model_copy(update={"rules": None}))
        full_traces = (full for trace in traces for full in store.load([trace]))  # one at a time: texts are large
        replays = list(replay_with_rules(full_traces, rules, score))
    changed = [replay for replay in replays if replay.moves]
    if wants_json(as_json):
        write_rows(replay_row(replay) for replay in changed)
    else:
        print_replays([replay for replay in replays if replay.moves or replay.skipped][:50])
    totals = summarize(replays)
    say(
        f"Rules {rules.version}: {len(changed)} of {counted(totals.replayed, 'ranking')} would change, "
        f"{totals.skipped} skipped. The first document changes in {totals.top_changed:.1%}; "
        f"on average {totals.entered:.2f} documents "
        "enter the results."
    )


def _matched(adjustment: Adjustment) -> str:
    return ", ".join(f"{rule.rule} ({rule.action} {rule.weight:+g})" for rule in adjustment.matched_rules)
