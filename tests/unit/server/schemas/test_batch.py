from __future__ import annotations

from typing import Any

import pytest

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.server.schemas.batch import read_batch
from rerankd.settings import load_settings

ONE = {"query": "q", "documents": ["d"]}


def test_an_object_and_a_bare_array_are_the_same() -> None:
    for content in ([ONE, ONE], {"requests": [ONE, ONE]}):
        batch = read_batch(content, load_settings())
        assert (len(batch.rows), batch.timeout, batch.body(1).query) == (2, None, "q")


def test_other_fields_are_defaults_of_all_rankings() -> None:
    content = {"requests": [ONE, ONE | {"top_n": 5}], "top_n": 2, "model": "m", "timeout": 3, "priority": 8}
    batch = read_batch(content, load_settings())
    assert [batch.body(n).top_n for n in range(2)] == [2, 5]
    assert (batch.body(1).model, batch.body(1).priority, batch.body(1).timeout, batch.timeout) == ("m", 8, None, 3)


@pytest.mark.parametrize("content", [[], {}, {"requests": []}, {"requests": None}, {"requests": ONE}, ONE])
def test_what_holds_no_rankings_is_refused(content: Any) -> None:
    with pytest.raises(InvalidRequestError, match="requests is not a list of rankings"):
        read_batch(content, load_settings())


def test_limits_are_for_all_rankings_together() -> None:
    settings = load_settings(max_queries=3, max_documents=5)
    assert len(read_batch([ONE] * 3, settings).rows) == 3
    with pytest.raises(PayloadTooLargeError, match="4 rankings; 3 are allowed"):
        read_batch([ONE] * 4, settings)
    with pytest.raises(PayloadTooLargeError, match="6 documents; 5 are allowed in all"):
        read_batch([{"query": "q", "documents": ["d"] * 3}] * 2, settings)


@pytest.mark.parametrize(("row", "message"), [(7, "not a JSON object"), ({"query": "q"}, "documents: Field required")])
def test_an_invalid_ranking_names_its_fault(row: Any, message: str) -> None:
    batch = read_batch([ONE, row], load_settings())
    assert batch.body(0).query == "q"
    with pytest.raises(InvalidRequestError, match=message):
        batch.body(1)
