from __future__ import annotations

import pytest

from rerankd._common.error_text import first_line


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("disk full"), "disk full"),
        (OSError("disk full\r\nat block 7"), "disk full"),
        (ValueError("\n  indented \nrest"), "indented"),
        (TimeoutError(), "TimeoutError"),
        (TimeoutError(""), "TimeoutError"),
        (ValueError(" \n\t\n"), "ValueError"),
        (ValueError("x" * 500), "x" * 200),
    ],
)
def test_first_line(error: Exception, text: str) -> None:
    assert first_line(error) == text


def test_first_line_of_a_given_length() -> None:
    assert first_line(ValueError("abcdef"), 3) == "abc"
