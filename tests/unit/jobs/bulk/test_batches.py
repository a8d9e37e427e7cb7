from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from rerankd.jobs.bulk.batches import Batch, ReadRow, batches
from rerankd.jobs.bulk.chunk import RowError
from rerankd.jobs.bulk.reader import Offset
from rerankd.jobs.bulk.rows import InputRow, InvalidRow
from rerankd.types import Document

SIZES = st.lists(st.one_of(st.none(), st.lists(st.integers(0, 12), max_size=9)), max_size=30)


def read(sizes: list[list[int] | None], start: int = 0) -> Iterator[ReadRow]:
    for n, document_sizes in enumerate(sizes[start:], start):
        after = Offset(rows=n + 1)
        if document_sizes is None:
            yield InvalidRow(n, n + 1, None, RowError("a", "b"), {}), after
        else:
            yield InputRow(n, n + 1, None, "q", tuple(Document("x" * size) for size in document_sizes), None, {}), after


def cut(sizes: list[list[int] | None], start: int = 0, first: int = 0) -> list[Batch]:
    return list(batches(read(sizes, start), first, pairs=8, characters=40))


@given(SIZES)
def test_every_row_is_in_one_chunk_and_no_chunk_is_too_large(sizes: list[list[int] | None]) -> None:
    chunks = cut(sizes)
    assert [row.index for batch in chunks for row in batch.rows] == list(range(len(sizes)))
    assert [batch.chunk.number for batch in chunks] == list(range(len(chunks)))
    for batch in chunks:
        assert len(batch.chunk.groups) == sum(isinstance(row, InputRow) for row in batch.rows)
        if len(batch.rows) > 1:
            assert batch.chunk.pairs <= 8
            assert len(batch.rows) <= 8
            assert sum(row.characters for row in batch.rows if isinstance(row, InputRow)) <= 40


@given(SIZES, st.data())
def test_going_on_behind_any_chunk_cuts_the_same(sizes: list[list[int] | None], data: st.DataObject) -> None:
    chunks = cut(sizes)
    done = data.draw(st.integers(0, len(chunks)))
    start = chunks[done - 1].after.rows if done else 0
    assert cut(sizes, start, done) == chunks[done:]
