"""Documents in texts; the command line's tests read files of every format."""

from __future__ import annotations

import pytest

from rerankd._common.delimited import Delimited
from rerankd._common.document_rows import decode_text, documents_in, kind_of_name, text_columns, text_rows
from rerankd.errors import InvalidInputFileError
from rerankd.types import Document


def test_the_format_follows_from_the_first_character() -> None:
    assert [row for _, row in text_rows('["a", "b"]', "x")] == ["a", "b"]
    assert [row for _, row in text_rows('{"text": "a"}\n"b"', "x")] == [{"text": "a"}, "b"]
    assert [row for _, row in text_rows("[1] a\nb", "x")] == ["[1] a", "b"]


def test_columns_of_another_name() -> None:
    rows = text_rows("body;id\na;7", "x", "csv", Delimited(text_columns("body"), ";"))
    assert list(documents_in(rows, "body")) == [Document("a", "7")]
    with pytest.raises(InvalidInputFileError, match="x, line 1: no text under 'text'"):
        list(text_rows("body\na", "x", "csv"))


def test_names_and_bytes() -> None:
    assert (kind_of_name("A.NDJSON.gz"), kind_of_name("notes")) == ("jsonl", None)
    assert decode_text("a".encode("utf-16"), "x") == "a"
    with pytest.raises(InvalidInputFileError, match="x is a PDF file, not text"):
        decode_text(b"%PDF-1.7", "x")
