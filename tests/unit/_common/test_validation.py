from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas
import pyarrow
import pytest

from rerankd._common.validation import (
    check_max_length,
    check_positive,
    plain_metadata,
    to_documents,
    to_pairs,
    to_query,
)
from rerankd.errors import InvalidRequestError
from rerankd.types import Document, Pair

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
    assert documents == [Document("a"), Document("b", 7, {"k": "v"}), document]
    assert to_documents(text for text in ("a",)) == [Document("a")]


@pytest.mark.parametrize(
    ("fields", "document"),
    [
        ({"text": "a", "score": 9}, Document("a", None, {"score": 9})),
        ({"text": "a", "id": 3, "title": "t"}, Document("a", 3, {"title": "t"})),
        ({"text": "a", "id": "3"}, Document("a", "3")),
        ({"text": "a", "metadata": {"k": 1}, "score": 0.5}, Document("a", None, {"k": 1, "score": 0.5})),
        (
            {"text": "a", "metadata": {"page": 1}, "page": 2},
            Document("a", None, {"page": 2, "metadata": {"page": 1}}),
        ),
        ({"text": "a", "id": None, "metadata": None}, Document("a")),
        ({"text": "a", "id": NAN}, Document("a")),
    ],
)
def test_nothing_of_a_dict_is_lost(fields: dict[str, Any], document: Document) -> None:
    assert to_documents([fields]) == [document]


def test_rows_of_tables_are_documents() -> None:
    columns = {"text": ["a", "b"], "id": [1, 2], "score": [0.5, 2.0]}
    expected = [Document("a", 1, {"score": 0.5}), Document("b", 2, {"score": 2.0})]
    for table in (pandas.DataFrame(columns), pyarrow.table(columns)):
        assert to_documents(table) == expected
    assert to_documents(pandas.Series(["a", "b"])) == [Document("a"), Document("b")]
    assert to_documents(np.array(["a", "b"])) == [Document("a"), Document("b")]
    with pytest.raises(InvalidRequestError, match="Document 0 has no 'text'"):
        to_documents(pandas.DataFrame({"body": ["a"]}))


def _objects(*items: Any) -> npt.NDArray[np.object_]:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


@pytest.mark.parametrize(
    "pairs",
    [
        np.array([["q", "d"], ["r", "e"]]),
        np.array([["q", "d"], ["r", "e"]], dtype=object),
        _objects(("q", "d"), ["r", "e"]),
        [np.array(["q", "d"]), ("r", "e")],
        zip(["q", "r"], ["d", "e"], strict=True),
        [{"query": "q", "document": "d"}, {"query": "r", "document": "e", "more": 1}],
        pandas.DataFrame({"document": ["d", "e"], "query": ["q", "r"]}),
        pyarrow.table({"query": ["q", "r"], "document": ["d", "e"]}),
    ],
    ids=lambda pairs: type(pairs).__name__,
)
def test_pairs_of_every_kind(pairs: Any) -> None:
    read = to_pairs(pairs)
    assert read == [Pair("q", "d"), Pair("r", "e")]
    assert {type(text) for pair in read for text in pair} == {str}


def test_numbers_of_numpy_are_numbers() -> None:
    check_positive(top_n=np.int64(2), batch_size=np.uint8(1))  # type: ignore[arg-type]
    length = check_max_length(np.int32(64), 512, "mini")  # type: ignore[arg-type]
    assert (length, type(length)) == (64, int)
    for value in (np.int64(0), np.float64(2.0), np.bool_(True), True, "2"):
        with pytest.raises(InvalidRequestError, match="top_n must be an integer"):
            check_positive(top_n=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ("ab", "pairs is of type str, not a list."),
        (["ab"], "Pair 0 is of type str, not a pair of strings."),
        ([("a", "b", "c")], "Pair 0 is of type tuple, not a pair of strings."),
        ([("a", "b"), ("a", None)], "Pair 1 holds of type str and None."),
        ([(" ", "b")], "The query of pair 0 is empty."),
        (np.array(["q", "d"]), "Pair 0 is of type str"),
        (np.array([["a", "b", "c"]]), "Pair 0 is of type ndarray, not a pair of strings."),
        (np.array([[1, 2]]), "Pair 0 holds of type int and of type int."),
        (np.array("q"), "pairs is of type ndarray, not a list."),
        (pandas.DataFrame({"a": ["q"], "b": ["d"]}), "Pair 0 is of type dict, not a pair of strings."),
    ],
)
def test_bad_pairs(pairs: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        to_pairs(pairs)


def test_metadata_is_what_json_can_hold() -> None:
    assert plain_metadata({"a": [1, {"b": None}], "c": object}) == {"a": [1, {"b": None}], "c": "<class 'object'>"}


def test_metadata_that_json_cannot_carry_become_text() -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    given = {"long": 10**29, "least": -(2**63), "most": 2**64 - 1, "list": [2**64], "deep": deep}
    assert plain_metadata(given) == {
        "long": "1" + "0" * 29, "least": -(2**63), "most": 2**64 - 1, "list": "[18446744073709551616]",
        "deep": "[" * 401 + "]" * 401,
    }  # fmt: skip


def test_metadata_without_end_are_named() -> None:
    endless: list[Any] = []
    for _ in range(200_000):
        endless = [endless]
    given = {"endless": endless, "digits": 10**5000}
    assert [text.split(" (")[0] for text in plain_metadata(given).values()] == ["list", "int"]
