"""Batches of rows: the boundaries depend on the rows alone, so that a resumed run makes the same chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rerankd.jobs.bulk.chunk import Chunk
from rerankd.jobs.bulk.reader import Offset
from rerankd.jobs.bulk.rows import InputRow, InvalidRow

CHUNK_PAIRS = 512
CHUNK_CHARACTERS = 2_000_000
ReadRow = tuple[InputRow | InvalidRow, Offset]


@dataclass(frozen=True, slots=True)
class Batch:
    """Chunk with the rows that it was made of, which are not sent to the executor.

    Attributes:
        chunk: texts to score.
        rows: rows of the chunk, and the invalid rows between them.
        after: offset in the input behind the last row.
        share: share of the input before that offset, 0 to 1; None if it is unknown.
    """

    chunk: Chunk
    rows: tuple[InputRow | InvalidRow, ...]
    after: Offset
    share: float | None


def batches(
    rows: Iterator[ReadRow],
    first: int = 0,
    *,
    pairs: int = CHUNK_PAIRS,
    characters: int = CHUNK_CHARACTERS,
    share: Callable[[Offset], float | None] = lambda position: None,
) -> Iterator[Batch]:
    """Group rows into chunks of at most `pairs` pairs and rows, and `characters`; a larger row is a chunk of its own.

    Args:
        rows: rows, each with the offset behind it.
        first: number of the first chunk.
        pairs: largest number of pairs of a chunk; a row without pairs counts as one.
        characters: largest length of a chunk's texts together.
        share: returns the share of the input before an offset.

    Raises:
        RerankdError: `rows` raised it; the rows of the unfinished chunk are dropped.
    """
    pending: list[InputRow | InvalidRow] = []
    number, pending_pairs, pending_characters, after = first, 0, 0, Offset()
    for row, offset in rows:
        row_pairs, row_characters = (
            (max(1, len(row.documents)), row.characters) if isinstance(row, InputRow) else (1, 0)
        )
        if pending and (pending_pairs + row_pairs > pairs or pending_characters + row_characters > characters):
            yield _batch(number, pending, after, share)
            number, pending, pending_pairs, pending_characters = number + 1, [], 0, 0
        pending.append(row)
        pending_pairs, pending_characters = pending_pairs + row_pairs, pending_characters + row_characters
        after = offset
    if pending:
        yield _batch(number, pending, after, share)


def _batch(
    number: int, rows: list[InputRow | InvalidRow], after: Offset, share: Callable[[Offset], float | None]
) -> Batch:
    chunk = Chunk(number, tuple(row.group for row in rows if isinstance(row, InputRow)))
    return Batch(chunk, tuple(rows), after, share(after))
