from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd._common.sentences import sentences


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("天气好。走吧！去哪？", ["天气好。", "走吧！", "去哪？"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("One. Two! Three? Four", ["One.", " Two!", " Three?", " Four"]),
        ("Dr. Li met Mr. Wu, e.g. at 3.5 km.", ["Dr. Li met Mr. Wu, e.g. at 3.5 km."]),
        ("See fig. 2. Then go.", ["See fig. 2. Then go."]),
        ("version 1.2.3 is out", ["version 1.2.3 is out"]),
        ("line one\nline two", ["line one\nline two"]),
        ("line one.\nline two.\n", ["line one.\n", "line two.\n"]),
        ("one\n\ntwo\n \nthree", ["one\n\n", "two\n \n", "three"]),
        ("the number 4711.\nCall it.", ["the number 4711.\n", "Call it."]),
        ("He met Dr.\nLi there. Bye.", ["He met Dr.\nLi there.", " Bye."]),
        ("Made by Acme Inc.\n\nNext", ["Made by Acme Inc.\n\n", "Next"]),
        ("things:\n- one\n- two\n  goes on\n1. three", ["things:\n", "- one\n", "- two\n  goes on\n", "1. three"]),
        ("| a | b |\n| c | d |", ["| a | b |\n", "| c | d |"]),
        ("name\tage\nAnn\t7", ["name\tage\n", "Ann\t7"]),
        ("> quoted and\n> wrapped\n> - item", ["> quoted and\n> wrapped\n", "> - item"]),
        ("> quoted\nnot quoted", ["> quoted\n", "not quoted"]),
        ("hard break  \nafter it", ["hard break  \n", "after it"]),
        ("天气\n很好。走\n吧！", ["天气\n很好。", "走\n吧！"]),
        ("यह एक है। वह दो है।", ["यह एक है।", " वह दो है।"]),
        ("كيف الحال؟ بخير", ["كيف الحال؟", " بخير"]),
        ("", []),
    ],
)
def test_sentences(text: str, cut: list[str]) -> None:
    assert sentences(text) == cut


@given(st.text(alphabet="ab .。!\n“”1、手|-\t", max_size=80))
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


@pytest.mark.parametrize(
    "text", [" " * 100_000, "\n " * 50_000, "." * 100_000, ". " * 50_000, "a\n" * 50_000, "|" * 100_000]
)
def test_odd_texts_take_no_longer(text: str) -> None:
    began = time.process_time()
    assert "".join(sentences(text)) == text
    assert time.process_time() - began < 5
