"""Cutting the input into chunks: where one ends depends on the rows alone, so that a resumed run cuts the same."""

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
    """A chunk with what stays at home of it.

    Attributes:
        chunk: what is scored.
        rows: the rows of it, and those in between that cannot be scored.
        after: place in the input behind the last of them.
        share: how much of the input is before that place, if that can be told.
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
    """Cut rows into chunks of at most `pairs` pairs, rows and `characters`; a row that is larger is one of its own.

    Args:
        rows: rows, each with the place behind it.
        first: number of the first chunk.
        pairs: of one chunk at most; a row without pairs counts as one.
        characters: of one chunk's texts at most.
        share: how much of the input is before a place.

    Raises:
        Whatever `rows` raises; the rows of the chunk that was not full are dropped then.
    """
    held: list[InputRow | InvalidRow] = []
    number, held_pairs, held_characters, after = first, 0, 0, Offset()
    for row, behind in rows:
        own, long = (max(1, len(row.documents)), row.characters) if isinstance(row, InputRow) else (1, 0)
        if held and (held_pairs + own > pairs or held_characters + long > characters):
            yield _batch(number, held, after, share)
            number, held, held_pairs, held_characters = number + 1, [], 0, 0
        held.append(row)
        held_pairs, held_characters, after = held_pairs + own, held_characters + long, behind
    if held:
        yield _batch(number, held, after, share)


def _batch(
    number: int, rows: list[InputRow | InvalidRow], after: Offset, share: Callable[[Offset], float | None]
) -> Batch:
    chunk = Chunk(number, tuple(row.group for row in rows if isinstance(row, InputRow)))
    return Batch(chunk, tuple(rows), after, share(after))
