from __future__ import annotations

from typing import Any

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.mcp.tools import MAX_CHARACTERS, MAX_DOCUMENTS, TOOLS


def test_the_arguments_become_the_body_of_a_request() -> None:
    body = TOOLS["rerank"].body({"query": "q", "documents": ["a"], "top_n": 1, "model": None})
    assert body == {"query": "q", "documents": ["a"], "top_n": 1, "return_documents": True}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"documents": ["a"]}, "query: Field required"),
        ({"query": "q", "documents": []}, "documents: List should have at least 1 item"),
        ({"query": "q", "documents": ["a"] * (MAX_DOCUMENTS + 1)}, "at most 1000 items"),
        ({"query": "q", "documents": ["a" * (MAX_CHARACTERS + 1)]}, "documents.0: String should have at most"),
        ({"query": "q", "documents": ["a"], "top_n": 0}, "top_n: Input should be greater than or equal to 1"),
        ({"query": "q", "documents": ["a"], "stream": True}, "stream: Extra inputs are not permitted"),
    ],
)
def test_arguments_out_of_bounds_are_named(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        TOOLS["rerank"].body(arguments)
