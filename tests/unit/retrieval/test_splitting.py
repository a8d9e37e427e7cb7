from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.retrieval.splitting import Block, SplitOptions, sentences, split
from tests.unit.retrieval.letters import offsets


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("天气好。走吧！去哪？", ["天气好。", "走吧！", "去哪？"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("One. Two! Three? Four", ["One.", " Two!", " Three?", " Four"]),
        ("Dr. Li met Mr. Wu, e.g. at 3.5 km.", ["Dr. Li met Mr. Wu, e.g. at 3.5 km."]),
        ("See fig. 2. Then go.", ["See fig. 2. Then go."]),
        ("version 1.2.3 is out", ["version 1.2.3 is out"]),
        ("line one\nline two", ["line one\n", "line two"]),
        ("", []),
    ],
)
def test_sentences(text: str, cut: list[str]) -> None:
    assert sentences(text) == cut


@given(st.text(alphabet="ab .。!\n“”1、手", max_size=80))
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


def test_headings_are_context_and_part_passages() -> None:
    blocks = [Block("first", ("A",)), Block("second", ("A",)), Block("third", ("A", "B")), Block("fourth", ("C",))]
    passages = list(split(blocks, offsets, SplitOptions(16, 0)))
    assert [(one.text, one.headings) for one in passages] == [
        ("A\nfirst\nsecond", ("A",)),
        ("A > B\nthird", ("A", "B")),
        ("C\nfourth", ("C",)),
    ]


def test_neighbours_share_whole_sentences() -> None:
    text = "".join(f"第{i}句话说完。" for i in range(1, 9))
    passages = [one.text for one in split([Block(text)], offsets, SplitOptions(24, 10))]
    assert len(passages) > 2
    for one, other in itertools.pairwise(passages):
        assert sentences(one)[-1].strip() == sentences(other)[0].strip()


def test_a_sentence_that_is_too_long_is_cut_by_tokens() -> None:
    text = " ".join(f"w{i}" for i in range(100))
    passages = [one.text for one in split([Block(text)], offsets, SplitOptions(30, 0))]
    assert [len(offsets(one)) for one in passages] == [30, 30, 30, 10]
    assert " ".join(passages) == text


def test_pages_are_where_a_passage_begins() -> None:
    blocks = [Block("a " * 12, page=1), Block("b " * 12, page=2)]
    assert [one.page for one in split(blocks, offsets, SplitOptions(16, 0))] == [1, 2]


@pytest.mark.parametrize(("tokens", "overlap"), [(8, 0), (32, 17), (32, -1)])
def test_sizes_that_make_no_sense(tokens: int, overlap: int) -> None:
    with pytest.raises(InvalidRequestError):
        SplitOptions(tokens, overlap)


BLOCKS = st.lists(
    st.builds(
        Block,
        st.text(alphabet="abc de.。，\n手机", max_size=200),
        st.sampled_from([(), ("标题",), ("Top", "A very long heading " * 4)]),
        st.integers(0, 3),
    ),
    max_size=6,
)


@given(BLOCKS, st.integers(16, 40), st.integers(0, 8))
@example([Block("a手a手a手a"), Block("a手a手a手a 。a a")], 16, 0)  # a word with a full stop in it, where a passage ends
def test_no_passage_is_too_long_and_nothing_is_lost(blocks: list[Block], tokens: int, overlap: int) -> None:
    passages = list(split(blocks, offsets, SplitOptions(tokens, overlap)))
    assert all(len(offsets(one.text)) <= tokens for one in passages)
    written = "".join("".join(block.text.split()) for block in blocks)
    shown = "".join("".join(one.text.split()) for one in passages)
    assert len(shown) >= len(written)
    for block in blocks:
        for word in block.text.replace("。", "。 ").split():
            assert (
                any(word in "".join(one.text.split("\n")) or word in one.text for one in passages)
                or len(offsets(word)) > 1
            )
