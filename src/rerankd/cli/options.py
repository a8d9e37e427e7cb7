"""Flags that several commands share, and the reranker they describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from rerankd.reranker import Reranker
from rerankd.settings import Settings

Model = Annotated[
    str | None, typer.Option("--model", "-m", help="mini, a folder, org/name[@revision], or registry:NAME[@ALIAS].")
]
Precision = Annotated[str | None, typer.Option(help="fp32, fp16, bf16 or int8.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Backend = Annotated[str | None, typer.Option(help="auto, onnx or torch.")]
BatchTokens = Annotated[int | None, typer.Option("--batch-tokens", min=1, help="Tokens computed together at most.")]
MaxLength = Annotated[int | None, typer.Option(min=8, help="Longest pair in tokens.")]
LongDocuments = Annotated[str | None, typer.Option(help="truncate, or chunk: read windows, the best counts.")]
Truncation = Annotated[str | None, typer.Option(help="only_second or longest_first.")]
Threads = Annotated[int | None, typer.Option(min=0, help="CPU threads; 0 for one per core.")]
Rules = Annotated[str | None, typer.Option(help="YAML file of rules, as docs/rules.md says.")]
NoActivation = Annotated[bool, typer.Option("--no-activation", help="Scores are logits instead of 0 to 1.")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines, also on a terminal.")]


def open_reranker(settings: Settings) -> Reranker:
    """The reranker that the settings describe."""
    return Reranker(
        settings.model,
        backend=settings.backend,
        device=settings.device,
        precision=settings.precision,
        max_length=settings.max_length,
        truncation=settings.truncation,
        long_documents=settings.long_documents,
        chunk_overlap=settings.chunk_overlap,
        max_chunks=settings.max_chunks,
        max_batch_tokens=settings.max_batch_tokens,
        threads=settings.threads,
        cache_dir=settings.cache_dir,
        registry=settings.registry,
        rules=settings.rules,
    )


def late_logits(settings: Settings) -> Callable[[str, Sequence[str]], Sequence[float]]:
    """`logits_of` a reranker that is opened when it is first asked."""
    opened: list[Reranker] = []

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        if not opened:
            opened.append(open_reranker(settings))
        return logits_of(opened[0])(query, texts)

    return score


def logits_of(reranker: Reranker) -> Callable[[str, Sequence[str]], Sequence[float]]:
    """A function from a query and texts to the reranker's logits."""

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        logits: list[float] = reranker.score([(query, text) for text in texts], activation="none").tolist()
        return logits

    return score
