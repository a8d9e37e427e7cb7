from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.retrieval.citations import CitationFilter


def checked(pieces: list[str], given: int = 3) -> tuple[str, list[int], list[int]]:
    check = CitationFilter(given)
    text = "".join(check.feed(piece) for piece in pieces) + check.flush()
    return text, check.cited, check.invalid


@pytest.mark.parametrize(
    ("text", "left", "cited", "invalid"),
    [
        ("a [1].", "a [1].", [1], []),
        ("a [2][1] b [2].", "a [2][1] b [2].", [2, 1], []),
        ("a [1, 3].", "a [1, 3].", [1, 3], []),
        ("中文【2】，【1、3】。", "中文[2]，[1, 3]。", [2, 1, 3], []),
        ("a [9].", "a .", [], [9]),
        ("a [1, 9].", "a [1].", [1], [9]),
        ("a [0].", "a .", [], [0]),
        ("see [the manual] and x[i]", "see [the manual] and x[i]", [], []),
        ("open [1", "open [1", [], []),
        ("[12345]", "[12345]", [], []),
    ],
)
def test_only_given_passages_are_cited(text: str, left: str, cited: list[int], invalid: list[int]) -> None:
    assert checked([text]) == (left, cited, invalid)


@given(st.text(alphabet="ab [】【]1,29、 ", max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_pieces_do_not_matter(text: str, cuts: list[int]) -> None:
    positions = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(positions)]
    assert checked(pieces) == checked([text])


@given(st.text(alphabet="a[]123456789, ", max_size=80), st.integers(0, 5))
def test_what_is_left_never_cites_what_was_not_given(text: str, given: int) -> None:
    left, cited, _ = checked([text], given)
    numbers = [int(n) for group in re.findall(r"\[(\d{1,4}(?:, ?\d{1,4})*)\]", left) for n in group.split(",")]
    assert all(1 <= number <= given for number in cited)
    assert set(numbers) <= set(cited) or "[" in text.replace("[", "", 1)
