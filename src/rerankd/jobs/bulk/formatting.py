"""From scores to lines of output: one per row of input, in its order. Pure."""

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
    """Output of a chunk.

    Attributes:
        lines: of the output.
        failed: lines of the list of rows without a score.
        pairs: pairs with a score.
        unscored: rows without one.
    """

    lines: bytes
    failed: bytes
    pairs: int
    unscored: int


def answer(
    batch: Batch, result: ChunkResult, kind: RowKind, top_n: int | None, activation: Activation
) -> FormattedChunk:
    """Lines for a chunk's rows.

    Args:
        batch: the chunk and its rows.
        result: its scores.
        kind: what the rows are.
        top_n: how many documents of a query to keep; None for all.
        activation: what the scores that are shown are.
    """
    outcomes = iter(result.outcomes)
    found = [(row, row.error if isinstance(row, InvalidRow) else next(outcomes)) for row in batch.rows]
    shown = iter(_pair_scores(found, activation) if kind == "pairs" else ())
    lines, failed = bytearray(), bytearray()
    pairs = unscored = 0
    for row, outcome in found:
        line: dict[str, Any] = {"index": row.index, **({} if row.id is None else {"id": row.id})}
        if isinstance(outcome, RowError) or isinstance(row, InvalidRow):
            error = outcome if isinstance(outcome, RowError) else row.error  # type: ignore[union-attr]
            said = {"code": error.code, "message": error.message}
            failed += _line(line | {"line": row.line, "error": said})
            line |= {**row.fields, **line, "error": said}
            unscored += 1
        elif kind == "pairs":
            line |= {**row.fields, **line, "relevance_score": next(shown), "raw_score": outcome[0]}
        else:
            line |= {**row.fields, **line, "results": _results(row, outcome, row.top_n or top_n, activation)}
        pairs += 0 if isinstance(outcome, RowError) else len(outcome)
        lines += _line(line)
    return FormattedChunk(bytes(lines), bytes(failed), pairs, unscored)


def _pair_scores(found: list[tuple[InputRow | InvalidRow, RowResult]], activation: Activation) -> Iterator[float]:
    return iter(activate([one[0] for _, one in found if not isinstance(one, RowError)], activation).tolist())


def _results(
    row: InputRow, logits: tuple[float, ...], top_n: int | None, activation: Activation
) -> list[dict[str, Any]]:
    ranked = rank_documents(row.documents, [PairScore(logit, 0, False) for logit in logits], top_n, activation)
    return [
        {
            "index": one.index,
            **({} if one.document.id is None else {"id": one.document.id}),
            "relevance_score": one.relevance_score,
            "raw_score": one.raw_score,
        }
        for one in ranked
    ]


def _line(row: dict[str, Any]) -> bytes:
    return orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
