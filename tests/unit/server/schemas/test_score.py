from __future__ import annotations

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.server.request_parsing import validated
from rerankd.server.schemas.score import ScoreRequestBody


def pairs(**fields: object) -> list[tuple[str, str]]:
    return validated(ScoreRequestBody, fields).pairs()


def test_pairs_of_score() -> None:
    assert pairs(text_1="q", text_2=["a", "b"]) == [("q", "a"), ("q", "b")]
    assert pairs(queries=["p", "q"], items=["a", "b"]) == [("p", "a"), ("q", "b")]
    with pytest.raises(InvalidRequestError, match="2 queries and 3 documents"):
        pairs(text_1=["p", "q"], text_2=["a", "b", "c"])
    with pytest.raises(InvalidRequestError, match="Both queries and documents"):
        pairs(text_1=["p"])
