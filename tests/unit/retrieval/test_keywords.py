from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.retrieval.keywords import MAX_WORD_BYTES, keywords


def test_keywords_of_mixed_text() -> None:
    assert keywords("The iPhone手机, v2") == ["the", "iphone", "手", "机", "手机", "v2"]


@pytest.mark.parametrize(
    ("document", "query"),
    [
        (unicodedata.normalize("NFD", "Herr Müller wohnt in Zürich."), "Müller"),
        ("Herr Müller wohnt in Zürich.", unicodedata.normalize("NFD", "Zürich")),
        ("The class Kettle\u200bWarmer heats milk.", "KettleWarmer"),
        ("The class KettleWarmer heats milk.", "Kettle\u200bWarmer"),
        ("the hand\u00adbook of boilers", "handbook"),
        ("a server with one ＧＰＵ", "gpu"),
        ("a server with one GPU", "ｇｐｕ"),
        ("Hauptstraße 7", "HAUPTSTRASSE"),
        ("the eﬃcient kettle", "efficient"),
        ("ﾔｶﾝの保証", "ヤカン"),
        ("このやかんのほしょうきかんはにねんです", "ほしょうきかん"),
        ("제품의 보증기간은 일년입니다", "보증기간"),
        (unicodedata.normalize("NFD", "제품의 보증기간은 일년입니다"), "보증기간"),
        ("การรับประกันสองปี", "รับประกัน"),
        ("मेरा हिन्दी पाठ", "हिन्दी"),
        ("⼿机的保修期", "手机"),
    ],
)
def test_a_word_is_found_however_it_is_written(document: str, query: str) -> None:
    assert keywords(query)
    assert set(keywords(query)) <= set(keywords(document))


def test_marks_stay_with_their_letter() -> None:
    assert keywords("हिन्दी पाठ") == ["हिन्दी", "पाठ"]
    assert keywords("Spin\u0308al") == ["spin\u0308al"]


@given(st.text(min_size=1))
def test_no_letter_or_digit_is_left_out(text: str) -> None:
    terms = keywords(text)
    assert all(len(term.encode(errors="replace")) <= MAX_WORD_BYTES for term in terms)
    for char in filter(str.isalnum, text):
        assert set("".join(keywords(char))) <= set("".join(terms))


def test_a_long_word_is_several_terms_and_none_is_lost() -> None:
    word = "0123456789abcdef" * 8
    assert "".join(keywords(word)) == word
    assert keywords("é" * 40) == ["é" * 30, "é" * 10]
    assert keywords("a" * MAX_WORD_BYTES) == ["a" * MAX_WORD_BYTES]
