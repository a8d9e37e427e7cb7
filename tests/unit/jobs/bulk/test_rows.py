from __future__ import annotations

from typing import Any

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.jobs.bulk.rows import InputRow, RowKind, parse_row, row_id, row_kind
from rerankd.types import Document


def parse(content: object, kind: RowKind = "queries", *, keep_fields: bool = False) -> InputRow:
    return parse_row(content, kind, 4, 9, max_documents=3, keep_fields=keep_fields)


def test_rows_of_both_kinds() -> None:
    row = parse({"id": 7, "query": "q", "documents": ["a", {"text": "b", "id": 2}], "top_n": 1, "x": 0})
    assert row == InputRow(4, 9, 7, "q", (Document("a"), Document("b", 2)), 1, {})
    assert row.group == ("q", ("a", "b"))
    assert row.characters == 3
    pair = {"query": "q", "text": "d", "x": [1]}
    assert parse(pair, "pairs", keep_fields=True).fields == pair
    assert parse({"query": "q", "document": {"text": "d"}}, "pairs").group == ("q", ("d",))


def test_rows_tell_what_they_are() -> None:
    assert row_kind({"query": "q", "documents": None}) == "queries"
    assert row_kind({"query": "q", "text": "d"}) == "pairs"
    silent: list[object] = [None, [], {}, {"query": "q"}, {"documents": []}]
    assert [row_kind(content) for content in silent] == [None] * 5


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1], "A list, not an object"),
        ({"query": "q", "text": "d"}, "not a query with 'documents'"),
        ({"query": " ", "documents": []}, "The query is empty"),
        ({"query": 3, "documents": []}, "of type int"),
        ({"query": "q", "documents": "d"}, "not a list"),
        ({"query": "q", "documents": ["a", None]}, "Document 1 is None"),
        ({"query": "q", "documents": ["a"] * 4}, "4 documents, more than 3"),
        ({"query": "q", "documents": [], "id": 1.5}, "The id is of type float"),
        ({"query": "q", "documents": [], "id": True}, "The id is of type bool"),
        ({"query": "q", "documents": [], "top_n": 0}, "top_n is 0"),
        ({"query": "q", "documents": [], "top_n": "3"}, "top_n is '3'"),
    ],
)
def test_bad_rows_are_sentences(content: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence) as caught:
        parse(content)
    assert caught.value.hint


def test_a_pair_is_expected_among_pairs() -> None:
    with pytest.raises(InvalidRequestError, match="not a pair"):
        parse({"query": "q", "documents": []}, "pairs")


def test_an_identity_that_cannot_be_used_is_left_out() -> None:
    assert [row_id(content) for content in (None, {"id": [1]}, {"id": "a"}, {"id": 0})] == [None, None, "a", 0]
