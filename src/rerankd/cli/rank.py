"""`rerankd rank` and `rerankd score`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from rerankd.cli import options
from rerankd.cli.inputs import read_documents, read_pairs
from rerankd.cli.output import bar, cell, movement, stderr, stdout, wants_json, write_rows
from rerankd.settings import load_settings
from rerankd.types import RankedDocument, RerankResult

Format = Annotated[
    str | None, typer.Option("--format", help="txt, jsonl, csv, tsv or parquet; default: by the ending.")
]


def rank(
    query: Annotated[str, typer.Argument(help="The question.")],
    file: Annotated[
        str, typer.Argument(help="Documents: txt lines, jsonl, csv, tsv or parquet; - for standard input.")
    ],
    top_n: Annotated[int | None, typer.Option(min=1, help="Documents to keep.  [default: 5]")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Lowest score to keep, from 0 to 1.")] = None,
    rules: options.Rules = None,
    fusion: Annotated[
        str | None, typer.Option(help="Count the first stage: none, weighted or rrf.  [default: none]")
    ] = None,
    fusion_weight: Annotated[float | None, typer.Option(min=0, max=100, help="Its weight; the model's is 1.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Keep every document.")] = False,
    field: Annotated[str, typer.Option(help="Column or key that holds the text.")] = "text",
    kind: Format = None,
    model: options.Model = None,
    precision: options.Precision = None,
    device: options.Device = None,
    backend: options.Backend = None,
    batch_tokens: options.BatchTokens = None,
    max_length: options.MaxLength = None,
    truncation: options.Truncation = None,
    long_documents: options.LongDocuments = None,
    threads: options.Threads = None,
    no_activation: options.NoActivation = False,
    as_json: options.Json = False,
) -> None:
    """Put the documents that answer QUERY first."""
    settings = load_settings(
        model=model,
        precision=precision,
        device=device,
        backend=backend,
        max_batch_tokens=batch_tokens,
        max_length=max_length,
        truncation=truncation,
        long_documents=long_documents,
        threads=threads,
        top_n=top_n,
        rules=rules,
        fusion=fusion,
        fusion_weight=fusion_weight,
    )
    documents = read_documents(file, field, kind)
    reranker = options.open_reranker(settings)
    result = reranker.rank(
        query,
        documents,
        None if everything else settings.top_n,
        activation="none" if no_activation else "sigmoid",
        threshold=threshold,
        fusion=settings.fusion,
        fusion_weight=settings.fusion_weight,
        show_progress=sys.stderr.isatty(),
    )
    if wants_json(as_json):
        write_rows(_row(ranked) for ranked in result)
        return
    stdout().print(_table(query, result, not no_activation))
    cut = f", {result.usage.truncated} truncated" if result.usage.truncated else ""
    stderr().print(
        f"{result.usage.pairs} documents, {result.usage.tokens} tokens{cut}, {result.timings['total']:.0f} ms, "
        f"{result.model} ({reranker.backend})",
        style="dim",
        highlight=False,
    )


def score(
    file: Annotated[
        str, typer.Argument(help="Pairs: query<TAB>document lines, or jsonl, csv, parquet; - for standard input.")
    ],
    kind: Format = None,
    model: options.Model = None,
    precision: options.Precision = None,
    device: options.Device = None,
    backend: options.Backend = None,
    batch_tokens: options.BatchTokens = None,
    max_length: options.MaxLength = None,
    truncation: options.Truncation = None,
    long_documents: options.LongDocuments = None,
    threads: options.Threads = None,
    no_activation: options.NoActivation = False,
    as_json: options.Json = False,
) -> None:
    """Score query-document pairs in the order they come."""
    settings = load_settings(
        model=model,
        precision=precision,
        device=device,
        backend=backend,
        max_batch_tokens=batch_tokens,
        max_length=max_length,
        truncation=truncation,
        long_documents=long_documents,
        threads=threads,
    )
    pairs = read_pairs(file, kind)
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
    return row | {"id": document["id"], "text": document["text"], "metadata": document["metadata"]}


def _table(query: str, result: RerankResult, bars: bool) -> Table:
    table = Table("after", "before", "score", "document", title=cell(query))
    for ranked in result:
        value = cell(f"{ranked.relevance_score:.4f} ")
        table.add_row(
            str(ranked.rank_after),
            movement(ranked.rank_before, ranked.rank_after),
            value + bar(ranked.relevance_score) if bars else value,
            cell(ranked.document.text),
        )
    return table
