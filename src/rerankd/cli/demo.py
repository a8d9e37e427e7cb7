"""`rerankd demo`: scores of pairs, then keyword traps before and after reranking."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from rerankd.cli import options
from rerankd.cli.output import bar, cell, stdout, wants_json, write_rows
from rerankd.demo import TrapOutcome, load_pairs, load_traps, run_traps
from rerankd.reranker import Reranker
from rerankd.settings import load_settings


@options.setting_flags("model", "device", "max_length")
def demo(
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Show scores of pairs, and queries on which keyword search is fooled by shared words."""
    reranker = options.open_reranker(load_settings(**flags))
    pairs = load_pairs()
    scores = reranker.score(pairs, activation="sigmoid")
    outcomes = run_traps(reranker, load_traps())
    if as_json:
        write_rows(
            {"relevance_score": float(s), "query": p.query, "document": p.document}
            for s, p in zip(scores, pairs, strict=True)
        )
        write_rows(asdict(outcome) | {"fooled": outcome.fooled, "solved": outcome.solved} for outcome in outcomes)
        return
    console = stdout()
    if wants_json(False):  # piped: a fixed width keeps the tables readable
        console.width = 140
    _print_scores(reranker, scores.tolist())
    table = Table(
        "",
        "query",
        "first by keywords",
        f"first by {reranker.model}",
        "score",
        title="2. Keyword traps: the same candidates, ranked by shared words and by the model",
        show_lines=True,
    )
    for outcome in outcomes:
        table.add_row(*_trap_row(outcome))
    console.print(table)
    console.print(_count(outcomes), highlight=False)


def _print_scores(reranker: Reranker, scores: list[float]) -> None:
    console = stdout()
    if wants_json(False):
        console.width = 140
    table = Table("score", "query", "document", title=f"1. Basic scores ({reranker.model}, {reranker.backend})")
    for value, pair in zip(scores, load_pairs(), strict=True):
        table.add_row(Text(f"{value:.4f} ") + bar(value), cell(pair.query), cell(pair.document))
    console.print(table)


def _trap_row(outcome: TrapOutcome) -> tuple[Text, ...]:
    trap, best = outcome.trap, outcome.after[0]
    mark = Text("✓", style="bold green") if outcome.solved else Text("✗", style="bold red")
    return (
        mark,
        cell(trap.query),
        Text(cell(trap.documents[outcome.before[0]]).plain, style="red" if outcome.fooled else "green"),
        Text(cell(trap.documents[best]).plain, style="green" if outcome.solved else "red"),
        Text(f"{outcome.scores[best]:.3f}"),
    )


def _count(outcomes: list[TrapOutcome]) -> str:
    parts = []
    for language, name in (("zh", "Chinese"), ("en", "English")):
        same_language = [outcome for outcome in outcomes if outcome.trap.language == language]
        parts.append(f"{name} {sum(outcome.solved for outcome in same_language)} of {len(same_language)}")
    solved = sum(outcome.solved for outcome in outcomes)
    by_keywords = sum(not outcome.fooled for outcome in outcomes)
    return f"Traps solved: {solved} of {len(outcomes)} ({', '.join(parts)}); by keywords {by_keywords}."
