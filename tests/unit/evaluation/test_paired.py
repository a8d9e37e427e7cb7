from __future__ import annotations

from typing import Any

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.paired import paired_result


def result(values: dict[str, float], measures: tuple[str, ...] = ("nDCG@10", "RR")) -> dict[str, Any]:
    return {
        "measures": list(measures),
        "query_ids": list(values),
        "values": {"mini": [[value, 0.5] for value in values.values()]},
        "dataset": {"name": "tiny"},
    }


def test_the_queries_that_both_have_are_compared() -> None:
    before, after = result({"a": 0.1, "b": 1.0, "c": 0.5}), result({"c": 0.5, "b": 0.4, "d": 1.0, "a": 0.2})
    pair = paired_result(before, after, ("mini", "mini"), ("#1", "#2"))
    assert pair["query_ids"] == ["c", "b", "a"]
    assert [row[0] for row in pair["values"]["#1"]] == [0.5, 1.0, 0.1]
    assert [row[0] for row in pair["values"]["#2"]] == [0.5, 0.4, 0.2]
    (first, second) = pair["systems"]
    assert (first["system"], "comparison" in first) == ("#1", False)
    comparison = second["comparison"]
    assert (comparison["wins"], comparison["ties"], comparison["losses"]) == (1, 1, 1)
    assert comparison["deltas"]["nDCG@10"]["mean"] == pytest.approx(-0.5 / 3)
    assert second["measures"]["RR"]["mean"] == 0.5


@pytest.mark.parametrize("after", [result({"z": 1.0}), result({"a": 1.0}, ("P@1", "RR"))])
def test_without_anything_in_common_there_is_nothing_to_compare(after: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="in common"):
        paired_result(result({"a": 1.0}), after, ("mini", "mini"), ("#1", "#2"))
