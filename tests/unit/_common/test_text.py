from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd._common.text import is_unspaced, normalized


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("Mu\u0308ller", "müller"),
        ("Kettle\u200bWarmer", "kettlewarmer"),
        ("Kettle\u2060Warmer", "kettlewarmer"),
        ("hand\u00adbook", "handbook"),
        ("\ufeffGPU", "gpu"),
        ("ＧＰＵ", "gpu"),
        ("STRASSE", "straße"),
        ("ΟΔΟΣ", "οδος"),
        ("ﬁlter", "filter"),
        ("ｶﾞｲﾄﾞ", "ガイド"),
        ("\u1112\u1161\u11ab\u1100\u116e\u11a8", "한국"),
        ("⼿机", "手机"),
        ("x²", "x2"),
        ("می\u200cخواهم", "میخواهم"),
        ("\u202eabc\u202c", "abc"),
        ("❤\ufe0f", "❤"),
        ("葛\U000e0100", "葛"),
        ("ab\x00cd\x07", "abcd"),
        ("a\x0cb\nc", "a\x0cb\nc"),
    ],
)
def test_what_reads_alike_is_alike(written: str, plain: str) -> None:
    assert normalized(written) == normalized(plain)


def test_visible_differences_remain() -> None:
    different = ["müller", "muller", "mueller", "手机", "手機", "10 €", "10 $", "a b", "ab"]
    assert len({normalized(text) for text in different}) == len(different)


@given(st.text())
def test_normalizing_twice_changes_nothing_and_the_form_of_the_input_does_not_count(text: str) -> None:
    plain = normalized(text)
    assert normalized(plain) == plain
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert normalized(unicodedata.normalize(form, text)) == plain


@pytest.mark.parametrize(
    ("char", "expected"), [("手", True), ("か", True), ("한", True), ("ก", True), ("a", False), ("·", False)]
)
def test_scripts_without_spaces(char: str, expected: bool) -> None:
    assert is_unspaced(char) is expected
