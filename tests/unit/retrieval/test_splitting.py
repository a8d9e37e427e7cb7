from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rerankd._common.sentences import sentences
from rerankd.errors import InvalidRequestError
from rerankd.retrieval.splitting import Block, SplitOptions, split
from tests.unit.retrieval.letters import offsets


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


def test_a_passage_ends_with_its_page() -> None:
    blocks = [Block("The boiler stands", page=1), Block("in the cellar.", page=2), Block("It is old.", page=2)]
    passages = list(split(blocks, offsets, SplitOptions(64, 8)))
    assert [(one.text, one.page) for one in passages] == [("The boiler stands", 1), ("in the cellar.\nIt is old.", 2)]


WRAPPED = """To descale the kettle, fill it with half a litre of vinegar and five
litres of water. Let it stand for an hour, as is written on the sheet
that came with it under the number 4711.
Then rinse it twice with clear water; the smell is gone after the
second time. Never use soap."""
UMGEBROCHEN = """水壶需要除垢时，请先加入半升白醋和五升
清水。静置一小时，然后倒掉里面的
液体。最后用清水冲洗两次，气味就会
消失。切勿使用肥皂。"""


@pytest.mark.parametrize(
    "text", [WRAPPED, UMGEBROCHEN, WRAPPED.replace("\n", "\n    "), "> " + WRAPPED.replace("\n", "\n> ")]
)
@pytest.mark.parametrize("overlap", [0, 8])
def test_passages_of_wrapped_text_end_at_sentences(text: str, overlap: int) -> None:
    passages = [one.text for one in split([Block(text)], offsets, SplitOptions(36, overlap))]
    assert len(passages) > 1
    assert all(one.endswith((".", "。")) for one in passages)


def test_a_sentence_longer_than_a_passage_is_cut_between_lines() -> None:
    lines = [" ".join(f"w{line}x{word}" for word in range(9)) for line in range(8)]
    passages = [one.text for one in split([Block("\n".join(lines))], offsets, SplitOptions(20, 0))]
    assert passages == ["\n".join(lines[start : start + 2]) for start in range(0, 8, 2)]


def test_each_passage_of_a_table_has_its_header() -> None:
    header = "| article | price |\n|---|---|\n"
    rows = [f"| kettle K{number}. Blue. | {number + 20} |" for number in range(60)]
    block = Block(header + "\n".join(rows), ("Prices",), header_lines=2, line=3)
    passages = list(split([Block("All prices.", ("Prices",), line=1), block], offsets, SplitOptions(64, 16)))
    assert len(passages) > 6
    assert passages[0].text.startswith(f"Prices\nAll prices.\n{header}| kettle K0.")
    assert all(one.text.count("| article | price |\n|---|---|\n") == 1 for one in passages)
    assert all(len(offsets(one.text)) <= 64 for one in passages)
    assert [row for row in rows if not any(row in one.text.split("\n") for one in passages)] == []
    for one in passages[1:]:
        first = one.text.split("\n")[3]
        assert one.line == 5 + rows.index(first)


def test_a_table_header_comes_back_after_other_text() -> None:
    table = Block("name | age\nAnn | 7\nBob | 8", header_lines=1)
    [passage] = split([table, Block("Between."), table], offsets, SplitOptions(64, 0))
    assert passage.text == "name | age\nAnn | 7\nBob | 8\nBetween.\nname | age\nAnn | 7\nBob | 8"
    wide = Block(" | ".join(f"column{number}" for number in range(40)) + "\na | b", header_lines=1)
    passages = list(split([wide], offsets, SplitOptions(16, 0)))
    assert all(len(offsets(one.text)) <= 16 for one in passages)
    assert "a | b" in passages[-1].text
    assert [one.text for one in split([Block("only | a header", header_lines=1)], offsets)] == ["only | a header"]


def test_words_are_cut_only_if_they_are_too_long() -> None:
    def letters(text: str) -> list[tuple[int, int]]:
        return [(at, at + 1) for at, char in enumerate(text) if not char.isspace()]

    words = ["extraordinary", "kettle", "no", "supercalifragilistic", "lid"] * 5
    passages = [one.text for one in split([Block(" ".join(words))], letters, SplitOptions(21, 0))]
    assert " ".join(passages).split() == words
    passages = [one.text for one in split([Block("a" * 50)], letters, SplitOptions(20, 0))]
    assert passages == ["a" * 20, "a" * 20, "a" * 10]


def test_the_line_is_where_a_passage_begins() -> None:
    text = "\n".join(f"Line {number} says this and that." for number in range(10, 40))
    for one in split([Block(f"\n\n{text}", line=8)], offsets, SplitOptions(24, 8)):
        assert one.text.startswith(f"Line {one.line} says")
    assert [one.line for one in split([Block("no line")], offsets)] == [0]


def test_each_word_of_a_long_heading_is_in_a_passage() -> None:
    heading = " ".join(f"word{number}" for number in range(30))
    passages = [one.text for one in split([Block("Text.", ("Top", heading))], offsets, SplitOptions(16, 0))]
    assert set(heading.split()) <= set(" ".join(passages).split())
    assert "Text." in passages[-1]


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
