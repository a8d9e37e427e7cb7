from __future__ import annotations

from dataclasses import replace

import pytest

from rerankd.retrieval.answer import Passage, SearchResult
from rerankd.retrieval.serialization import search_response
from rerankd.server.routes.search import _headers
from rerankd.types import Document, RankedDocument


def passage(*, truncated: bool, dropped: bool = False) -> Passage:
    ranked = RankedDocument(0, Document("a"), 0.5, 0.0, 1, 1, truncated=truncated)
    return Passage(0, ranked, "threshold") if dropped else Passage(1, ranked)


@pytest.mark.parametrize(
    ("passages", "warning"),
    [
        ([passage(truncated=False)], None),
        ([passage(truncated=True), passage(truncated=False)], "1 of 2 pairs of query and document were cut"),
        ([passage(truncated=False), passage(truncated=True, dropped=True)], "1 of 2 pairs"),
        ([], None),
    ],
)
def test_passages_that_were_cut_are_said_in_a_header(passages: list[Passage], warning: str | None) -> None:
    kept = tuple(one for one in passages if not one.dropped)
    dropped = tuple(one for one in passages if one.dropped)
    header = _headers(SearchResult("q", "q", kept, dropped, "mini", "", {}, "r")).get("x-rerankd-warnings")
    assert (header is None) if warning is None else str(header).startswith(warning)


def test_an_instruction_that_was_ignored_is_said_in_header_and_body() -> None:
    result = SearchResult("q", "q", (passage(truncated=False),), (), "mini", "", {}, "r", warnings=("ignored",))
    assert _headers(result)["x-rerankd-warnings"] == "ignored"
    assert search_response(result, explain=False)["meta"] == {"warnings": ["ignored"]}
    assert "meta" not in search_response(replace(result, warnings=()), explain=False)
