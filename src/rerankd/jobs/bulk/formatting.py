"""Output lines of scored chunks: one per row of the input, in its order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from rerankd.jobs.bulk.batches import Batch
from rerankd.jobs.bulk.chunk import ChunkResult, RowError, RowResult
from rerankd.jobs.bulk.rows import InputRow, InvalidRow, RowKind
from rerankd.ranking.activation import activate
from rerankd.ranking.order import rank_documents
from rerankd.types import Activation, PairScore


@dataclass(frozen=True, slots=True)
class FormattedChunk:
    """Output lines of a chunk.

    Attributes:
        lines: lines for the output file.
        failed: lines for the file of rows without a score.
        pairs: number of pairs with a score.
        unscored: number of rows without a score.
    """

    lines: bytes
    failed: bytes
    pairs: int
    unscored: int


def format_chunk(
    batch: Batch, result: ChunkResult, kind: RowKind, top_n: int | None, activation: Activation
) -> FormattedChunk:
    """Format the rows of a chunk as output lines.

    Args:
        batch: chunk with its rows.
        result: scores of the chunk.
        kind: kind of the rows.
        top_n: documents to keep per query; None for all.
        activation: activation of `relevance_score`.
    """
    outcomes = iter(result.outcomes)
    rows = [(row, row.error if isinstance(row, InvalidRow) else next(outcomes)) for row in batch.rows]
    pair_scores = iter(_pair_scores(rows, activation) if kind == "pairs" else ())
    lines, failed = bytearray(), bytearray()
    pairs = unscored = 0
    for row, outcome in rows:
        line: dict[str, Any] = {"index": row.index, **({} if row.id is None else {"id": row.id})}
        if isinstance(outcome, RowError) or isinstance(row, InvalidRow):
            error = outcome if isinstance(outcome, RowError) else row.error  # type: ignore[union-attr]
            error_fields = {"code": error.code, "message": error.message}
            failed += _line(line | {"line": row.line, "error": error_fields})
            line |= {**row.fields, **line, "error": error_fields}
            unscored += 1
        elif kind == "pairs":
            line |= {**row.fields, **line, "relevance_score": next(pair_scores), "raw_score": outcome[0]}
        else:
            line |= {**row.fields, **line, "results": _results(row, outcome, row.top_n or top_n, activation)}
        pairs += 0 if isinstance(outcome, RowError) else len(outcome)
        lines += _line(line)
    return FormattedChunk(bytes(lines), bytes(failed), pairs, unscored)


def _pair_scores(rows: list[tuple[InputRow | InvalidRow, RowResult]], activation: Activation) -> Iterator[float]:
    return iter(activate([outcome[0] for _, outcome in rows if not isinstance(outcome, RowError)], activation).tolist())


def _results(
    row: InputRow, logits: tuple[float, ...], top_n: int | None, activation: Activation
) -> list[dict[str, Any]]:
    ranked = rank_documents(row.documents, [PairScore(logit, 0, False) for logit in logits], top_n, activation)
    return [
        {
            "index": ranked_document.index,
            **({} if ranked_document.document.id is None else {"id": ranked_document.document.id}),
            "relevance_score": ranked_document.relevance_score,
            "raw_score": ranked_document.raw_score,
        }
        for ranked_document in ranked
    ]


def _line(row: dict[str, Any]) -> bytes:
    return orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
