from __future__ import annotations

import pytest

from rerankd.retrieval.list_numbers import chinese, circled, letters, roman


@pytest.mark.parametrize(("number", "text"), [(1, "a"), (26, "z"), (27, "aa"), (52, "az"), (703, "aaa"), (0, "0")])
def test_letters(number: int, text: str) -> None:
    assert letters(number) == text


@pytest.mark.parametrize(("number", "text"), [(26, "z"), (27, "aa"), (29, "cc"), (-1, "-1")])
def test_letters_as_word_repeats_them(number: int, text: str) -> None:
    assert letters(number, repeated=True) == text


@pytest.mark.parametrize(("number", "text"), [(9, "ix"), (14, "xiv"), (3999, "mmmcmxcix"), (4000, "4000"), (0, "0")])
def test_roman(number: int, text: str) -> None:
    assert roman(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "零"), (3, "三"), (10, "十"), (11, "十一"), (21, "二十一"), (100, "一百"), (110, "一百一十"),
     (101, "一百零一"), (1001, "一千零一"), (1010, "一千零一十"), (10_000, "10000")],
)  # fmt: skip
def test_chinese(number: int, text: str) -> None:
    assert chinese(number) == text


def test_circled() -> None:
    assert [circled(number) for number in (0, 1, 20, 21)] == ["0", "①", "⑳", "21"]
