from __future__ import annotations

from typing import Any

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.server.request_parsing import validated
from rerankd.server.schemas.dialects import EmptyDocumentsError
from rerankd.server.schemas.tei import PredictRequestBody, TeiRequestBody
from rerankd.settings import load_settings


def test_a_flat_pair_is_one_pair_with_one_list_of_predictions() -> None:
    one, many = (validated(PredictRequestBody, {"inputs": inputs}) for inputs in (["q", "d"], [["q", "d"]]))
    assert one.pairs() == many.pairs() == [("q", "d")]
    assert one.to_response([0.5]) == [{"score": 0.5, "label": "LABEL_0"}]
    assert many.to_response([0.5]) == [[{"score": 0.5, "label": "LABEL_0"}]]


@pytest.mark.parametrize("inputs", ["a", ["a"], ["a", "b", "c"], [["a"]], [["a", "b"], ["c"]], ["a", ["b"]], [1], None])
def test_what_is_not_made_of_pairs_is_refused(inputs: Any) -> None:
    with pytest.raises(InvalidRequestError, match="^inputs"):
        validated(PredictRequestBody, {"inputs": inputs})


def test_no_pairs() -> None:
    with pytest.raises(EmptyDocumentsError):
        validated(PredictRequestBody, {"inputs": []}).pairs()


@pytest.mark.parametrize("query", ["", "  ", "\n"])
def test_an_empty_query_beside_a_document_is_scored(query: str) -> None:
    assert validated(PredictRequestBody, {"inputs": [query, "d"]}).pairs() == [(query, "d")]
    body = validated(TeiRequestBody, {"query": query, "texts": ["d"]})
    assert body.ranking_query == query
    assert len(body.ranking_documents(load_settings())) == 1


def test_two_empty_texts_are_no_pair() -> None:
    body = validated(TeiRequestBody, {"query": "", "texts": ["d", ""]})
    with pytest.raises(InvalidRequestError, match=r"^texts\.1: query and document are both empty"):
        body.ranking_documents(load_settings())
    with pytest.raises(InvalidRequestError, match=r"^inputs\.0: query and document are both empty"):
        validated(PredictRequestBody, {"inputs": ["", ""]}).pairs()
    assert validated(PredictRequestBody, {"inputs": [["q", ""], ["", "d"]]}).pairs() == [("q", ""), ("", "d")]
