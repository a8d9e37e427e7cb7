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


def test_a_length_that_is_raised_is_warned_about() -> None:
    def warnings(**fields: object) -> list[str]:
        return validated(ScoreRequestBody, {"text_1": "q", "text_2": "d"} | fields).warnings

    assert warnings(truncate_prompt_tokens=3) == ["truncate_prompt_tokens is below 8 and was raised"]
    assert warnings(truncate_prompt_tokens=9) == warnings(truncate_prompt_tokens=-1) == warnings() == []
    differs = "truncate_prompt_tokens differs from max_length and was ignored"
    assert warnings(truncate_prompt_tokens=3, max_length=64) == [differs]
