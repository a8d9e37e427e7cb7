"""`rerankd rank` and `rerankd score`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from rerankd._common.plural import counted
from rerankd.cli import options
from rerankd.cli.highlight import highlighted
from rerankd.cli.inputs import read_documents, read_pairs
from rerankd.cli.output import bar, cell, movement, say, stderr, stdout, wants_json, write_rows
from rerankd.settings import load_settings
from rerankd.types import RankedDocument, RerankResult, SpanOptions

Format = Annotated[
    str | None, typer.Option("--format", help="txt, json, jsonl, csv, tsv or parquet.  [default: from the file name]")
]
Separator = Annotated[str | None, typer.Option(help="Character between the columns of csv, or TAB.  [default: ,]")]


@options.setting_flags("top_n", "rules", "fusion", "fusion_weight", *options.MODEL_FLAGS)
def rank(
    query: Annotated[str, typer.Argument(help="The question.")],
    file: Annotated[
        str,
        typer.Argument(
            help="File of documents: txt (one per line), json, jsonl, csv, tsv or parquet; - for standard input."
        ),
    ],
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drop documents with a score below this, from 0 to 1.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Return all documents.")] = False,
    spans: Annotated[
        bool, typer.Option("--spans", help="Highlight the sentences that answer QUERY; each is scored like a document.")
    ] = False,
    span_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Highlight sentences with this score or more, from 0 to 1.")
    ] = SpanOptions().threshold,
    max_spans: Annotated[
        int | None, typer.Option(min=1, help="Highlight at most so many sentences of a document, the best ones.")
    ] = None,
    field: Annotated[str, typer.Option(help="Column or key with the text.")] = "text",
    kind: Format = None,
    separator: Separator = None,
    no_activation: options.NoActivation = False,
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Rank the documents of FILE by how well they answer QUERY."""
    settings = load_settings(**flags)
    documents = read_documents(file, field, kind, separator)
    if not documents:
        say(f"{file} holds no documents.")
    reranker = options.open_reranker(settings)
    result = reranker.rank(
        query,
        documents,
        None if everything else settings.top_n,
        activation="none" if no_activation else "sigmoid",
        threshold=threshold,
        fusion=settings.fusion,
        fusion_weight=settings.fusion_weight,
        spans=SpanOptions(span_threshold, max_spans) if spans else None,
        show_progress=sys.stderr.isatty(),
    )
    for warning in result.warnings:
        say(f"{warning}.")
    if wants_json(as_json):
        write_rows(_row(ranked) for ranked in result)
        return
    console = stdout()
    console.print(_table(query, result, not no_activation, plain=console.color_system is None or console.no_color))
    sentences = f"{counted(result.usage.sentences, 'sentence')}, " if spans else ""
    truncated = f", {result.usage.truncated} truncated" if result.usage.truncated else ""
    stderr().print(
        f"{counted(result.usage.pairs, 'document')}, {sentences}{counted(result.usage.tokens, 'token')}{truncated}, "
        f"{result.timings['total']:.0f} ms, {result.model} ({reranker.backend})",
        style="dim",
        highlight=False,
    )


@options.setting_flags(*options.MODEL_FLAGS)
def score(
    file: Annotated[
        str,
        typer.Argument(
            help="File of pairs: lines of query<TAB>document, or json, jsonl, csv, parquet; - for standard input."
        ),
    ],
    kind: Format = None,
    separator: Separator = None,
    no_activation: options.NoActivation = False,
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Score (query, document) pairs, in the order of the file."""
    settings = load_settings(**flags)
    pairs = read_pairs(file, kind, separator)
    if not pairs:
        say(f"{file} holds no pairs.")
    reranker = options.open_reranker(settings)
    scores = reranker.score(pairs, activation="none" if no_activation else "sigmoid", show_progress=sys.stderr.isatty())
    if wants_json(as_json):
        name = "raw_score" if no_activation else "relevance_score"
        write_rows({name: float(value), "query": q, "document": d} for value, (q, d) in zip(scores, pairs, strict=True))
        return
    table = Table("score", "query", "document")
    for value, (query, document) in zip(scores, pairs, strict=True):
        table.add_row(f"{value:.4f}", cell(query), cell(document))
    stdout().print(table)


def _row(ranked: RankedDocument) -> dict[str, Any]:
    row = asdict(ranked)
    document = row.pop("document")
    if ranked.spans is None:
        del row["spans"]
    return row | {"id": document["id"], "text": document["text"], "metadata": document["metadata"]}


def _table(query: str, result: RerankResult, bars: bool, *, plain: bool) -> Table:
    table = Table("after", "before", "score", "document", title=cell(query))
    for ranked in result:
        text, value = ranked.document.text, cell(f"{ranked.relevance_score:.4f} ")
        table.add_row(
            str(ranked.rank_after),
            movement(ranked.rank_before, ranked.rank_after),
            value + bar(ranked.relevance_score) if bars else value,
            cell(text) if ranked.spans is None else highlighted(text, ranked.spans, plain=plain),
        )
    return table
