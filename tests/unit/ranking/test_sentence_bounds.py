from __future__ import annotations  # noqa: I001

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rerankd._common.characters import is_blank
from rerankd.ranking.sentence_bounds import MAX_ASCII, MAX_OTHER, joined_bounds, sentence_bounds
import itertools

FAMILY = "👩\u200d👩\u200d👧\u200d👦"
PIECES = [
    "a",
    "熊",
    ". ",
    "。",
    "\n",
    "\n\n",
    " ",
    "- ",
    "🐼",
    FAMILY,
    "🇫🇷",
    "e\u0301",
    "👍🏽",
    "❤\ufe0f",
    "\u200b",
    "```\n",
    "?!",
]
texts = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]), max_size=60).map("".join)


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_bounds(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\u200b ", []),
        ("no end", ["no end"]),
        ("  One. Two!\n", ["One.", "Two!"]),
        ("天气好。走吧！ OK?", ["天气好。", "走吧！", "OK?"]),
        ("iPhone 15发布了。It costs 3.5k. 价格贵", ["iPhone 15发布了。", "It costs 3.5k.", "价格贵"]),
        ("Steps:\n1. Open it.\n2. Close\n   it", ["Steps:", "1. Open it.", "2. Close\n   it"]),
        ("See:\n```python\nx = f(1)\ny = x.z\n```\nDone.", ["See:", "```python", "x = f(1)\ny = x.z", "```", "Done."]),
        ("| a | b |\n|---|---|\n| c | d |", ["| a | b |", "|---|---|", "| c | d |"]),
        ("a\r\nb.\r\n\r\nc", ["a\r\nb.", "c"]),
        ("🐼 eats. 🎋!", ["🐼 eats.", "🎋!"]),
    ],
)
def test_sentences_of_texts(text: str, expected: list[str]) -> None:
    assert parts(text) == expected


@given(texts)
@example("x" * (MAX_ASCII + 1))
@example("熊" * (3 * MAX_OTHER + 7))
@example(FAMILY * 300)
@example("e\u0301" * 700)
def test_spans_lie_in_the_text_in_order_and_do_not_overlap(text: str) -> None:
    bounds = sentence_bounds(text)
    position = 0
    for start, end in bounds:
        assert position <= start < end <= len(text)
        assert is_blank(text[position:start])  # nothing that can be seen is between two sentences
        assert text[start:end] == text[start:end].strip()
        assert not is_blank(text[start:end])
        assert len(text[start:end]) <= (MAX_ASCII if text.isascii() else max(MAX_ASCII, MAX_OTHER))
        position = end
    assert is_blank(text[position:])


@pytest.mark.parametrize("unit", [FAMILY, "e\u0301", "🇫🇷", "👍🏽", "❤\ufe0f", "क्षि"])
def test_a_long_text_is_cut_between_characters(unit: str) -> None:
    """Of text that has no end of sentence, and no word."""
    pieces = parts(unit * 1000)
    assert len(pieces) > 1
    assert "".join(pieces) == unit * 1000
    for piece in pieces:
        assert unicodedata.category(piece[0])[0] != "M"
        assert piece[0] not in "\u200d🏽"
        assert piece[-1] != "\u200d"


def test_a_long_sentence_is_cut_behind_words() -> None:
    text = "the quick brown fox jumps over the lazy dog, " * 200
    pieces = parts(text)
    assert all(piece.split()[-1] in text.split() for piece in pieces)
    assert " ".join(pieces) == text.strip()
    lengths = [len(piece) for piece in pieces]
    assert max(lengths) <= MAX_ASCII
    assert min(lengths) > MAX_ASCII / 2


@pytest.mark.parametrize("unit", ["word ", "大熊猫吃竹子，", "a。", "x", ". ", "\n", "a\n", "👩\u200d"])
def test_a_megabyte_on_one_line(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit)))[:1_000_000]
    bounds = sentence_bounds(text)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(bounds))
    assert len(joined_bounds(bounds, 200)) <= 200


@given(st.integers(0, 500), st.integers(1, 50))
def test_joining_keeps_the_ends_and_is_even(count: int, limit: int) -> None:
    bounds = [(3 * number, 3 * number + 2) for number in range(count)]
    joined = joined_bounds(bounds, limit)
    assert len(joined) == min(count, limit)
    if bounds:
        assert (joined[0][0], joined[-1][1]) == (0, bounds[-1][1])
    sizes = [(end - start + 1) // 3 for start, end in joined]
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert all(after[0] - before[1] == 1 for before, after in itertools.pairwise(joined))
