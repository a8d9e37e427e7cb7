from __future__ import annotations

from rerankd.errors import ScoringError
from rerankd.jobs.bulk.chunk import Chunk, ChunkResult, RowError


def test_the_bytes_of_a_chunk_are_stable() -> None:
    chunk = Chunk(7, (("问题", ("a", 'b "\n\u0007')), ("q", ())))
    assert chunk.to_bytes() == '[7,[["问题",["a","b \\"\\n\\u0007"]],["q",[]]]]'.encode()


def test_what_was_not_foreseen_is_not_told() -> None:
    assert "secret" not in RowError.of(RuntimeError("secret")).message
    assert RowError.of(ScoringError("No.", hint="Look.")) == RowError("scoring_failed", "No. Look.")


def test_a_chunk_failed_if_nothing_of_it_was_scored() -> None:
    error = RowError("a", "b")
    assert ChunkResult(0, (error, error)).failed
    assert not ChunkResult(0, (error, (1.0,))).failed
    assert not ChunkResult(0, ()).failed
