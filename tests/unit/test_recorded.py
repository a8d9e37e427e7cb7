from __future__ import annotations

import json
from typing import Any

import pytest

from tests.recorded.rules import Accepted, differences

LINES = Accepted("stores/lines/*", "they say when", added="time")
NESTED = Accepted("stores/lines/*", "they say when", added="metadata/time")
BEFORE = {"query": "q", "scores": [1.5]}


def unwanted(before: list[str], after: list[str], accepted: Accepted) -> list[str]:
    changes = differences({"lines": before}, {"lines": after})
    return [change.path for change in changes if not accepted.covers("stores", change)]


@pytest.mark.parametrize("after", [BEFORE | {"time": 1.5e9}, BEFORE])
def test_a_line_may_have_what_was_added(after: dict[str, Any]) -> None:
    assert unwanted([json.dumps(BEFORE)], [json.dumps(after)], LINES) == []


def test_what_was_added_may_be_one_level_down() -> None:
    after = BEFORE | {"metadata": {"time": 1.5e9}}
    assert unwanted([json.dumps(BEFORE)], [json.dumps(after)], NESTED) == []
    after = BEFORE | {"metadata": {"time": 1.5e9, "more": 1}}
    assert unwanted([json.dumps(BEFORE)], [json.dumps(after)], NESTED) == ["lines/0"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "garbage",
        "[]",
        "7",
        json.dumps({"time": 1.5e9}),
        json.dumps(BEFORE | {"time": "yesterday"}),
        json.dumps(BEFORE | {"time": 1.5e9, "more": 1}),
        json.dumps(BEFORE | {"time": 1.5e9, "query": "p"}),
        json.dumps(BEFORE | {"time": 1.5e9, "scores": []}),
    ],
)
def test_nothing_else_may_differ(line: str) -> None:
    assert unwanted([json.dumps(BEFORE)], [line], LINES) == ["lines/0"]


@pytest.mark.parametrize("count", [0, 2])
def test_lines_that_are_lost_or_new_are_not_accepted(count: int) -> None:
    assert unwanted([json.dumps(BEFORE)], [json.dumps(BEFORE)] * count, LINES) == ["lines/(length)"]
