from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.retrieval.answer_draft import AnswerDraft
from rerankd.retrieval.chat import ChatError


def written(pieces: list[str], passages: int = 2) -> AnswerDraft:
    draft = AnswerDraft(passages)
    for piece in pieces:
        draft.feed(piece)
    draft.flush()
    return draft


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>Is it [7]? `</think>\n\nBamboo [1].", "Bamboo [1]."),
        ("<thinking>a</thinking>Bamboo.", "Bamboo."),
        ("<THINK>a</THINK>Bamboo.", "Bamboo."),
        ("\n<reasoning>\n```\nx\n</reasoning>Bamboo.", "Bamboo."),
        ("◁think▷a◁/think▷Bamboo.", "Bamboo."),
        ("<think></think>Bamboo.", "Bamboo."),
        ("First.<think>a</think> Second.<think>b</think>", "First. Second."),
        ("thinking without an opening tag [1]</think>Bamboo [2].", "Bamboo [2]."),
        ("Use `<think>` in 1 < 2.", "Use `<think>` in 1 < 2."),
        ("```\n<think>\n```\nBamboo.", "```\n<think>\n```\nBamboo."),
        ("a <thing> b <", "a <thing> b <"),
        ("Bamboo.", "Bamboo."),
    ],
)
def test_thinking_is_not_shown(text: str, answer: str) -> None:
    for pieces in ([text], list(text)):
        draft = written(pieces)
        assert (draft.text, draft.citations.invalid, draft.error) == (answer, [], None)


def test_only_what_is_shown_is_cited() -> None:
    assert written(["maybe [1]</think>Bamboo [2]."]).citations.cited == [2]


@pytest.mark.parametrize("text", ["<think>for ever", "<think>a</think>", "<think>", "thinking</think> "])
def test_an_answer_of_thinking_alone_is_an_error(text: str) -> None:
    draft = written([text])
    assert draft.text == ""
    assert isinstance(draft.error, ChatError)
    assert written([""]).error is None


PARTS = ["<think>", "</think>", "<", "</", "think", ">", "`", "```", "\n", " ", "a", "[1]", "[9]"]


@given(st.lists(st.sampled_from(PARTS), max_size=25).map("".join), st.lists(st.integers(0, 120), max_size=12))
def test_pieces_do_not_matter(text: str, cuts: list[int]) -> None:
    positions = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(positions)]
    one, many = written([text]), written(pieces)
    assert one.text == many.text
    assert (one.citations.cited, one.citations.invalid) == (many.citations.cited, many.citations.invalid)
