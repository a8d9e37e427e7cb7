"""Words of a query, found in texts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.retrieval.matched_words import QueryWords


def found(query: str, text: str) -> list[str]:
    return [text[start:end] for start, end in QueryWords(query).spans(text)]


@pytest.mark.parametrize(
    ("query", "text", "words"),
    [
        ("How long is the WARRANTY?", "The warranty is long; warranty-free.", ["warranty", "long", "warranty"]),
        ("the who", "Who are the Who?", ["Who", "the", "Who"]),
        ("手机保修多久", "这款手机的保修期是两年", ["手机", "保修"]),
        ("猫", "小猫和猫头鹰", ["猫", "猫"]),
        ("怎么退货", "怎么办？七天内可退货。", ["退货"]),
        ("iPhone 保修", "ｉＰｈｏｎｅ的保修", ["ｉＰｈｏｎｅ", "保修"]),
        ("kettle", "Ket\u200btle, ket\u00adtles", ["Ket\u200btle"]),
        ("Straße", "STRASSE 5", ["STRASSE"]),
        ("warranty", "", []),
        ("?!", "what?!", []),
        ("", "text", []),
    ],
)
def test_words(query: str, text: str, words: list[str]) -> None:
    assert found(query, text) == words


@given(st.text(), st.text())
def test_spans_are_in_order_and_apart(query: str, text: str) -> None:
    last = -1
    for start, end in QueryWords(query).spans(text):
        assert last < start < end <= len(text)
        last = end


def test_a_word_of_a_million_letters_takes_no_time() -> None:
    started = time.perf_counter()
    assert QueryWords("a" * 1000 + " b").spans("a" * 1_000_000) == [(0, 1_000_000)]
    assert time.perf_counter() - started < 5
