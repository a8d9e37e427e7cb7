from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.retrieval.keywords import MAX_QUERY_KEYWORDS, MAX_WORD_BYTES, keywords, query_keywords


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
        ("the ´kettle´ and the ¨lid", "kettle lid"),
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


@pytest.mark.parametrize(
    "query",
    [
        " ".join(f"word{number}" for number in range(500)) + " needle",
        "请问一下如果我在去年冬天于你们位于火车站旁边的那家分店购买的电热水壶在使用了大约十一个月之后突然无法加热而且发票已经找不到了那么应该怎样申请更换滤芯",
        "昨年の冬に駅前の店で買った電気ケトルが十一か月使ったところで急に温まらなくなり領収書も見つからないのですがどのように申し込めばよいでしょうか",
        "작년겨울역앞매장에서산전기주전자가열한달쓰고나서갑자기가열되지않고영수증도찾을수없는데어떻게신청해야하나요",
    ],
)
def test_the_end_of_a_long_query_is_searched(query: str) -> None:
    assert set(keywords(query)) == set(query_keywords(query))
    assert keywords(query[-6:])[-1] in query_keywords(query)


def test_a_query_that_is_too_long_to_search_is_refused() -> None:
    words = [f"word{number}" for number in range(MAX_QUERY_KEYWORDS + 1)]
    assert len(query_keywords(" ".join(words[1:] * 2))) == MAX_QUERY_KEYWORDS
    with pytest.raises(InvalidRequestError, match="2,049 different words; at most 2,048"):
        query_keywords(" ".join(words))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Kettle™", ["kettle", "tm"]),
        ("Care℠ plan", ["care", "sm", "plan"]),
        ("Kettle®", ["kettle"]),
        ("warranty¹", ["warranty", "1"]),
        ("a load of 10⁶", ["a", "load", "of", "10", "6"]),
        ("10⁻⁶", ["10", "6"]),
        ("5½ cm", ["5", "1", "2", "cm"]),
        ("①②步", ["1", "2", "步"]),
        ("km² H₂O", ["km2", "h2o"]),
    ],
)
def test_signs_join_no_word_and_no_number(text: str, terms: list[str]) -> None:
    assert keywords(text) == terms
