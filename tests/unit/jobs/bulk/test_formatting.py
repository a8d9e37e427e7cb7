from __future__ import annotations

import json
from typing import Any

from rerankd.jobs.bulk.batches import Batch
from rerankd.jobs.bulk.chunk import Chunk, ChunkResult, RowError
from rerankd.jobs.bulk.formatting import format_chunk
from rerankd.jobs.bulk.reader import Offset
from rerankd.jobs.bulk.rows import InputRow, InvalidRow
from rerankd.types import Document

BAD = InvalidRow(1, 5, "x", RowError("invalid_input_file", "Not JSON."), {"keep": 1})
FAILED = RowError("scoring_failed", "No.")


def batch(*rows: InputRow | InvalidRow) -> Batch:
    return Batch(Chunk(0, tuple(row.group for row in rows if isinstance(row, InputRow))), rows, Offset(), None)


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def pair(index: int, fields: dict[str, Any] | None = None) -> InputRow:
    return InputRow(index, index + 4, f"p{index}", "q", (Document("d"),), None, fields or {})


def test_pairs() -> None:
    rows = batch(pair(0, {"id": "p0", "query": "q", "score": 3, "raw_score": "old"}), BAD, pair(2), pair(3))
    formatted = format_chunk(rows, ChunkResult(0, ((0.0,), FAILED, (2.0,))), "pairs", None, "sigmoid")
    assert lines(formatted.lines) == [
        {"index": 0, "id": "p0", "query": "q", "score": 3, "relevance_score": 0.5, "raw_score": 0.0},
        {"index": 1, "id": "x", "keep": 1, "error": {"code": "invalid_input_file", "message": "Not JSON."}},
        {"index": 2, "id": "p2", "error": {"code": "scoring_failed", "message": "No."}},
        {"index": 3, "id": "p3", "relevance_score": 0.8807970779778823, "raw_score": 2.0},
    ]
    assert lines(formatted.failed) == [
        {"index": 1, "id": "x", "line": 5, "error": {"code": "invalid_input_file", "message": "Not JSON."}},
        {"index": 2, "id": "p2", "line": 6, "error": {"code": "scoring_failed", "message": "No."}},
    ]
    assert (formatted.pairs, formatted.unscored) == (2, 2)


def test_queries_are_ranked_and_cut() -> None:
    documents = (Document("a", "A"), Document("b"), Document("c", "C"))
    rows = batch(
        InputRow(0, 1, None, "q", documents, None, {}),
        InputRow(1, 2, None, "q", documents, 1, {}),
        InputRow(2, 3, 7, "q", (), None, {}),
    )
    result = ChunkResult(0, ((1.0, 3.0, 1.0), (1.0, 3.0, 1.0), ()))
    rankings = lines(format_chunk(rows, result, "queries", None, "none").lines)
    assert rankings[0]["results"] == [
        {"index": 1, "relevance_score": 3.0, "raw_score": 3.0},
        {"index": 0, "id": "A", "relevance_score": 1.0, "raw_score": 1.0},
        {"index": 2, "id": "C", "relevance_score": 1.0, "raw_score": 1.0},
    ]
    assert [len(line["results"]) for line in rankings] == [3, 1, 0]
    assert rankings[2]["id"] == 7
    formatted = format_chunk(rows, result, "queries", 2, "none")
    assert [len(line["results"]) for line in lines(formatted.lines)] == [2, 1, 0]
    assert (formatted.pairs, formatted.failed) == (6, b"")


def test_nothing_of_a_chunk_was_scored() -> None:
    formatted = format_chunk(batch(BAD), ChunkResult(0, ()), "pairs", None, "sigmoid")
    assert (formatted.pairs, formatted.unscored, len(lines(formatted.lines))) == (0, 1, 1)
