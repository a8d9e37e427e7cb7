from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.rules.pattern import Pattern


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^(a+)+$", "a" * 2000 + "!"),
        (r"^(a|a)*$", "a" * 2000 + "!"),
        (r"^(\w+\s?)*$", "word " * 400 + "!"),
        (r"(.*)*x", "y" * 2000),
        (r"(a?){500}a{500}", "a" * 499),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 2000),
        (r".*.*.*.*=.*", "x" * 2000),
    ],
)
def test_no_pattern_takes_more_than_linear_time(pattern: str, text: str) -> None:
    compiled, started = Pattern(pattern), time.process_time()
    compiled.search(text)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"^\w+$", "Müller", True),
        (r"\w", "手机", True),
        (r"^\d{4}$", "２０２４", True),
        (r"a\sb", "a\u00a0b", True),
        (r"[\w-]+@", "jörg@", True),
        (r"^\W+$", "é", False),
        (r"\D", "7", False),
        (r"^[^\s]+$", "a\u3000b", False),
        (r"[\u4e00-\u9fff]", "保修", True),
        (r"\bAI\b", "what is AI?", True),
        (r"\bAI\b", "email", False),
        (r"\bvat\b|增值税", "增值税", True),
        (r"多久$", "保修多久\n", True),
        (r"[]a]", "]", True),
        (r"[\]\d]", "]", True),
        ("ä", "Ä", True),
        (r"end\Z", "the end", True),
        ("x", "\ud800x", True),
    ],
)
def test_classes_and_anchors_mean_what_they_mean_in_python(pattern: str, text: str, matches: bool) -> None:
    assert Pattern(pattern).search(text) is matches
    assert (re.search(pattern, text, re.IGNORECASE) is not None) is matches


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "not a regular expression"),
        ("[z-a]", "not a regular expression"),
        ("(?=x)", "linear time"),
        ("(?<!x)y", "linear time"),
        (r"(a)\1", "linear time"),
        ("(?>a)", "linear time"),
        ("a{1001}", "at most 1000 times"),
        ("((a{100}){100}){100}", "at most 1000 times"),
        (r"\büber\b", "not ASCII"),
        (r"\b\w+\b", "not ASCII"),
        (r"\b(?:über|unter)", "not ASCII"),
        (r"[\W_]", "brackets"),
    ],
)
def test_what_has_no_linear_equivalent_is_refused_and_named(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Pattern(pattern)


@given(st.text(alphabet=r"ab1 \wds[]^-.*+?|()$é手", max_size=12), st.text(alphabet="ab1 é手-_", max_size=8))
def test_an_accepted_pattern_agrees_with_python(pattern: str, text: str) -> None:
    try:
        compiled = Pattern(pattern)
        expected = re.compile(pattern, re.IGNORECASE)
    except (ValueError, re.error, RecursionError, FutureWarning):
        return
    assert compiled.search(text) is (expected.search(text) is not None)
