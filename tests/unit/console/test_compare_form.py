"""Documents that are pasted into the form, or sent with it as a file."""

from __future__ import annotations

import gzip

import orjson
import pytest

from rerankd.console.compare_form import MAX_DOCUMENTS, as_lines, read_file, read_pasted, shown_in_field
from rerankd.errors import InvalidInputFileError, InvalidRequestError, PayloadTooLargeError
from rerankd.types import Document

SCORED = Document("b", "x", {"score": 2.5, "title": "B"})


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("one\n\n二\r\n", [Document("one"), Document("二")]),
        ('["a", {"text": "b", "id": "x", "score": 2.5, "title": "B"}]', [Document("a"), SCORED]),
        ('"a"\n{"text": "b", "id": "x", "metadata": {"score": 2.5, "title": "B"}}', [Document("a"), SCORED]),
        ('{"query": "q",\n "documents": ["a", {"text": "b", "id": "y"}]}', [Document("a"), Document("b", "y")]),
        ('{"text":\n "a"}', [Document("a")]),
        ("[1] a footnote\n[2] another", [Document("[1] a footnote"), Document("[2] another")]),
    ],
)
def test_pasted_documents(text: str, documents: list[Document]) -> None:
    assert read_pasted(text) == documents
    assert read_pasted(as_lines(documents)) == documents


def test_documents_can_be_sent_as_json_whatever_they_hold() -> None:
    text = (
        '{"text": "a \\ud800", "id": 18446744073709551617, "x": [NaN, {"\\udfff": 1e999}], "n": 18446744073709551616}'
    )
    [document] = read_pasted(text)
    assert document.text == "a \ufffd"
    assert document.id == "18446744073709551617"
    assert document.metadata["n"] == "18446744073709551616"
    assert read_pasted(orjson.dumps([{"text": document.text, "id": document.id, **document.metadata}]).decode())


def test_hidden_characters_are_shown_in_the_form() -> None:
    documents = [Document("a\u200bb\x1b\u202e\U000e0041")]
    shown = shown_in_field("a\u200bb\x1b\u202e\U000e0041", documents)
    assert shown == '"a\\u200bb\\u001b\\u202e\\udb40\\udc41"'
    assert read_pasted(shown) == documents
    assert shown_in_field("a\nb", [Document("a"), Document("b")]) == "a\nb"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"text": "a"}\n{"text": 7}', "Documents, line 2: no text under 'text'"),
        ('["a", 7]', "Documents, item 2: a int, not a document"),
        ('{"text": "a"}\n{"text": ', "Documents, line 2: not JSON"),
        (" \n", "There are no documents"),
        ('{"documents": []}', "There are no documents"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        read_pasted(text)


def test_too_many_documents() -> None:
    with pytest.raises(PayloadTooLargeError, match="more than 500 documents"):
        read_pasted("a\n" * (MAX_DOCUMENTS + 1))
    assert len(read_pasted("a\n" * MAX_DOCUMENTS)) == MAX_DOCUMENTS


def test_files_are_read_as_on_the_command_line() -> None:
    rows = "id,text,score\nx,b,2.5\n".encode("utf-16")
    assert read_file("a.csv", rows, 1000) == [Document("b", "x", {"score": 2.5})]
    assert read_file("a.JSONL.gz", gzip.compress(b'{"text": "b", "_id": 3}'), 1000) == [Document("b", 3)]
    assert read_file("notes", b"one\ntwo", 1000) == [Document("one"), Document("two")]


def test_files_that_cannot_be_read() -> None:
    with pytest.raises(InvalidInputFileError, match="lines of a .pdf file are not documents"):
        read_file("a.pdf", b"", 1000)
    with pytest.raises(InvalidInputFileError, match="Parquet"):
        read_file("a.parquet", b"PAR1", 1000)
    with pytest.raises(InvalidInputFileError, match="line 2: not UTF-8"):
        read_file("a.txt", b"one\n\xff", 1000)
    with pytest.raises(InvalidInputFileError, match="cannot be unpacked"):
        read_file("a.txt.gz", gzip.compress(b"one")[:-9], 1000)
    with pytest.raises(PayloadTooLargeError, match="larger than 1,000 bytes"):
        read_file("a.txt.gz", gzip.compress(b"a" * 5000), 1000)
