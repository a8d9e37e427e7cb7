from __future__ import annotations

import pytest

from rerankd._common.error_text import first_line, public_message
from rerankd.errors import RerankdError, ScoringError


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


def test_public_messages_quote_only_our_own_errors() -> None:
    ours, foreign = ScoringError("No score.", hint="Try again."), ValueError("the password is x")
    assert (public_message(ours), public_message(ours, hint=True)) == ("No score.", "No score. Try again.")
    assert public_message(ours, "It fails.") == "No score."
    assert (public_message(foreign), public_message(foreign, "It fails.", hint=True)) == ("ValueError", "It fails.")


def test_public_messages_are_never_empty() -> None:
    assert public_message(RerankdError("")) == public_message(RerankdError(""), hint=True) == "RerankdError"
    assert public_message(TimeoutError()) == "TimeoutError"
