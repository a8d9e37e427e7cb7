from __future__ import annotations

from typing import Any

import pytest

from rerankd._common.validation import plain_metadata, to_documents, to_pairs, to_query
from rerankd.errors import InvalidRequestError
from rerankd.types import Document

NAN = float("nan")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "The query is empty. Pass the question as a non-empty string."),
        (" \n\t", "The query is empty."),
        (None, "The query is None, not a string."),
        (NAN, r"The query is NaN \(a missing value\), not a string."),
        (7, "The query is of type int, not a string."),
    ],
)
def test_bad_queries(query: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        to_query(query)


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ("one string", "documents is of type str, not a list. Pass a list of documents."),
        (None, "documents is None, not a list."),
        ({"text": "a"}, "documents is of type dict, not a list."),
        (["a", None], r"Document 1 is None. A document is a string, a rerankd.Document, or a dict with 'text'"),
        (["a", NAN], r"Document 1 is NaN \(a missing value\)."),
        ([7], "Document 0 is of type int."),
        ([{"content": "a"}], "Document 0 has no 'text'."),
        ([{"text": None}], "The text of document 0 is None."),
        ([{"text": NAN}], r"The text of document 0 is NaN \(a missing value\)."),
        ([{"text": "a", "metadata": 3}], "The metadata of document 0 is of type int. metadata is a dict."),
        ([Document(None)], "The text of document 0 is None."),  # type: ignore[arg-type]
    ],
)
def test_bad_documents(documents: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        to_documents(documents)


def test_documents_keep_place_id_and_metadata() -> None:
    document = Document("c", "z", {"page": 1})
    documents = to_documents(["a", {"text": "b", "id": 7, "metadata": {"k": "v"}}, document])
    assert documents == [Document("a"), Document("b", "7", {"k": "v"}), document]
    assert to_documents(text for text in ("a",)) == [Document("a")]


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ("ab", "pairs is of type str, not a list."),
        (["ab"], "Pair 0 is of type str, not a pair of strings."),
        ([("a", "b", "c")], "Pair 0 is of type tuple, not a pair of strings."),
        ([("a", "b"), ("a", None)], "Pair 1 holds of type str and None."),
        ([(" ", "b")], "The query of pair 0 is empty."),
    ],
)
def test_bad_pairs(pairs: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        to_pairs(pairs)


def test_metadata_is_what_json_can_hold() -> None:
    assert plain_metadata({"a": [1, {"b": None}], "c": object}) == {"a": [1, {"b": None}], "c": "<class 'object'>"}
