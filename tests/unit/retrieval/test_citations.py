from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.retrieval.citations import FIRST_YEAR, CitationFilter


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
        ("a [1-3].", "a [1, 2, 3].", [1, 2, 3], []),
        ("a [1–2].", "a [1, 2].", [1, 2], []),
        ("a [2-9].", "a [2, 3].", [2, 3], [4, 5, 6, 7, 8, 9]),
        ("a [7-9].", "a .", [], [7, 8, 9]),
        ("a [^2] b [^7].", "a [2] b .", [2], [7]),
        ("a [passage 2], [Passages 1 and 3].", "a [2], [1, 3].", [2, 1, 3], []),
        ("竹子［１］、［9］。", "竹子[1]、。", [1], [9]),
        ("a 【1†source】.", "a [1].", [1], []),
        ("in [2023] and [1999, 2001] and [2020-2023]", "in [2023] and [1999, 2001] and [2020-2023]", [], []),
        ("a [1, 2023].", "a [1].", [1], [2023]),
        ("rows[0] and f(x)[0] and a[1][0]", "rows[0] and f(x)[0] and a[1][0]", [1], []),
        ("between [0, 1] and [0-100]", "between [0, 1] and [0-100]", [], []),
        ("use `rows[7]` [1]", "use `rows[7]` [1]", [1], []),
        ("use ``a`[7]`` [1]", "use ``a`[7]`` [1]", [1], []),
        ("```python\nrows[7] = [9]\n```\nso [1] and [9]", "```python\nrows[7] = [9]\n```\nso [1] and ", [1], [9]),
        ("- ~~~\n  x[7]\n  ~~~\n[9]", "- ~~~\n  x[7]\n  ~~~\n", [], [9]),
        ("````\n```\n[7]\n````\n[9]", "````\n```\n[7]\n````\n", [], [9]),
        ("a fence that never ends\n```\n[7]", "a fence that never ends\n```\n[7]", [], []),
        ("a tick ` is no code [7]\n\n`[8]`", "a tick ` is no code \n\n`[8]`", [], [7]),
        ("```[7]``` in a line [9]", "```[7]``` in a line ", [], [9]),
        ("[the site](http://a/[1])", "[the site](http://a/[1])", [1], []),
    ],
)
def test_only_given_passages_are_cited(text: str, left: str, cited: list[int], invalid: list[int]) -> None:
    assert checked([text]) == (left, cited, invalid)


@given(st.text(alphabet="ab [】【]1,29、 ", max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_pieces_do_not_matter(text: str, cuts: list[int]) -> None:
    positions = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(positions)]
    assert checked(pieces) == checked([text])


CODE = ["`", "``", "```", "~~~", "\n", "\n\n", " ", "- ", "> ", "a", "x[7]", "[1]", "[9]", "<", "1."]


@given(st.lists(st.sampled_from(CODE), max_size=30).map("".join), st.lists(st.integers(0, 90), max_size=12))
def test_pieces_of_code_do_not_matter(text: str, cuts: list[int]) -> None:
    positions = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    assert checked([text[a:b] for a, b in itertools.pairwise(positions)]) == checked([text])


@given(st.text(alphabet="a[]123456789, ", max_size=80), st.integers(0, 5))
def test_what_is_left_never_cites_what_was_not_given(text: str, given: int) -> None:
    left, cited, _ = checked([text], given)
    numbers = [int(n) for group in re.findall(r"\[(\d{1,4}(?:, ?\d{1,4})*)\]", left) for n in group.split(",")]
    numbers = [number for number in numbers if number < FIRST_YEAR]
    assert all(1 <= number <= given for number in cited)
    assert set(numbers) <= set(cited) or "[" in text.replace("[", "", 1)
