from __future__ import annotations

import pytest

from rerankd._common.plural import counted


@pytest.mark.parametrize(
    ("count", "words", "sentence"),
    [
        (1, ("row",), "1 row"),
        (0, ("row",), "0 rows"),
        (2, ("query", "queries"), "2 queries"),
        (1, ("query is", "queries are"), "1 query is"),
        (12345, ("token",), "12,345 tokens"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, words: tuple[str, ...], sentence: str) -> None:
    assert counted(count, *words) == sentence
