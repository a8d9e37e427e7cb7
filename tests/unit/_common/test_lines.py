from __future__ import annotations

import pytest

from rerankd._common.lines import split_lines

OTHER_SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


@pytest.mark.parametrize("separator", OTHER_SEPARATORS)
def test_only_line_feeds_end_a_line(separator: str) -> None:
    assert split_lines(f"a{separator}b\nc") == [f"a{separator}b", "c"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\n", ["a"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("a\n\nb", ["a", "", "b"]),
        ("a\rb", ["a\rb"]),
    ],
)
def test_lines_as_editors_count_them(text: str, lines: list[str]) -> None:
    assert split_lines(text) == lines
