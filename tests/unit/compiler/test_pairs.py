from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.compiler.compile import read_pairs
from rerankd.errors import InvalidInputFileError


@pytest.mark.parametrize("separator", "\u2028\u2029\x85\x0b\x0c\x1e")
def test_a_separator_inside_a_text_ends_no_line(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(f"q\tone{separator}two\r\nq\tthree\r\n", encoding="utf-8", newline="")
    assert read_pairs(path) == {"q": [f"one{separator}two", "three"]}


def test_a_byte_order_mark_is_no_part_of_the_query(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("q\ta\nq\tb\n", encoding="utf-8-sig")
    assert list(read_pairs(path)) == ["q"]


def test_a_query_may_begin_like_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("# pairs of the shop\n#panda\ta\n#panda\tb\n", encoding="utf-8")
    assert read_pairs(path) == {"#panda": ["a", "b"]}


def test_a_line_is_named_as_editors_count(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("q\ta\u2028b\nno tab\n", encoding="utf-8")
    with pytest.raises(InvalidInputFileError, match="line 2: no tab"):
        read_pairs(path)
