from __future__ import annotations

import gzip
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd._common.document_rows import documents_in, text_rows
from rerankd._common.optional import install_command
from rerankd.cli import inputs
from rerankd.cli.inputs import read_documents, read_pairs
from rerankd.errors import InvalidInputFileError, InvalidRequestError, MissingDependencyError
from rerankd.types import Document, Pair


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_text_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "\ufeffone\r\n\n二 \u2028 still two\nthree")
    assert [d.text for d in read_documents(path)] == ["one", "二 \u2028 still two", "three"]


def test_jsonl(tmp_path: Path) -> None:
    rows = [
        '"plain"',
        '{"text": "b", "_id": 7}',
        "",
        '{"text": "c", "id": "x", "metadata": {"k": 1}}',
        '{"text": "d", "page": 3}',
    ]
    assert read_documents(write(tmp_path, "a.jsonl", "\n".join(rows))) == [
        Document("plain"),
        Document("b", 7),
        Document("c", "x", {"k": 1}),
        Document("d", None, {"page": 3}),
    ]


def test_csv_and_tsv(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'id,body\n1,"a, ""b""\nc"\n')
    assert read_documents(path, field="body") == [Document('a, "b"\nc', "1")]
    assert read_documents(write(tmp_path, "a.tsv", 'text\tpage\nsay "hi\t2\n')) == [
        Document('say "hi', None, {"page": "2"})
    ]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["甲", "b"], "id": [1, 2]}), path)
    assert read_documents(str(path)) == [Document("甲", 1), Document("b", 2)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [("a\nb\n", ["a", "b"]), ('{"text": "a"}\n', ["a"]), ('"a"\n"b"', ["a", "b"]), ("", [])],
)
def test_standard_input(content: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert [document.text for document in read_documents("-")] == expected


def test_pairs(tmp_path: Path) -> None:
    assert read_pairs(write(tmp_path, "a.tsv", 'q\td "x\n问\t答\n')) == [Pair("q", 'd "x'), Pair("问", "答")]
    assert read_pairs(write(tmp_path, "a.jsonl", '{"query": "q", "document": ""}')) == [Pair("q", "")]
    assert read_pairs(write(tmp_path, "a.csv", "query,document\nq,d\n")) == [Pair("q", "d")]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", '{"text": "a"}\n{', "a.jsonl, line 2: not JSON .* Write one JSON value per line."),
        ("a.jsonl", "[1]", "line 1: a list, not a document. Write strings or objects."),
        ("a.jsonl", '{"body": "a"}', "line 1: no text under 'text' .columns: body.. Name the column with --field."),
        ("a.jsonl", '{"text": null}', "no text under 'text'"),
        ("a.txt", b"ok\n\xb9\xfa\n", "a.txt, line 2: not UTF-8. Convert it: iconv"),
        ("a.csv", "text\na\nb,c\n", "a.csv, line 3: 2 columns, expected 1 .text.. Quote fields"),
        ("a.csv", 'text\n"a', "a.csv, line 2: unexpected end of data. Correct the quoting."),
        ("a.parquet", "PAR?", "cannot be read .* Check that it is a parquet file."),
    ],
)
def test_bad_documents(name: str, content: str | bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match=sentence):
        read_documents(write(tmp_path, name, content))


def test_bad_pairs(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match="a.tsv, line 1: 1 column, expected 2"):
        read_pairs(write(tmp_path, "a.tsv", "no tab\n"))
    with pytest.raises(InvalidInputFileError, match="not a pair. Write query<TAB>document"):
        read_pairs(write(tmp_path, "a.jsonl", '{"query": "q"}'))


def test_missing_file_and_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match="gone.txt cannot be read .No such file or directory"):
        read_documents(str(tmp_path / "gone.txt"))
    with pytest.raises(InvalidInputFileError, match="Unknown format 'xlsx'. Use txt, json, jsonl, csv, tsv or parquet"):
        read_documents(write(tmp_path, "a.xlsx", "x"), kind="xlsx")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.txt", "a\nb\nc\n")
    monkeypatch.setattr(inputs, "MAX_DOCUMENTS", 2)
    with pytest.raises(InvalidInputFileError, match="more than 2 documents. Split the file."):
        read_documents(path)
    monkeypatch.setattr(inputs, "MAX_BYTES", 2)
    with pytest.raises(InvalidInputFileError, match="is larger than"):
        read_documents(path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=re.escape(install_command("parquet"))):
        read_documents(write(tmp_path, "a.parquet", ""))


def texts(path: str, **options: Any) -> list[str]:
    return [document.text for document in read_documents(path, **options)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", '["one", {"text": "two", "page": 1}]', ["one", "two"]),
        ("a.json", '[\n  {"text": "one"},\n  {"text": "two"}\n]\n', ["one", "two"]),
        ("a.json", '{"text": "one"}\n{"text": "two"}\n', ["one", "two"]),
        ("a.json", '{"text": "one"}', ["one"]),
        ("a.json", "[]", []),
        ("a.json", "", []),
        ("a.JSON", '["one"]', ["one"]),
        ("documents", '["one", "two"]', ["one", "two"]),
        ("documents", "[1] a footnote\n[2] another", ["[1] a footnote", "[2] another"]),
        ("a.list", "one\ntwo", ["one", "two"]),
        ("a.text", '["not json"]', ['["not json"]']),
        ("a.ndjson", '"one\u2028still one"\n', ["one\u2028still one"]),
        ("a.tab", "text\none", ["one"]),
        ("a.txt", "zwölf\n二".encode("utf-16"), ["zwölf", "二"]),
        ("a.csv", "text\nzwölf\n".encode("utf-16"), ["zwölf"]),
        ("a.jsonl.gz", gzip.compress(b'"one"\n', mtime=0), ["one"]),
        ("a.txt.gz", gzip.compress("一\n二".encode(), mtime=0), ["一", "二"]),
    ],
)
def test_records_of_every_format(name: str, content: str | bytes, expected: list[str], tmp_path: Path) -> None:
    assert texts(write(tmp_path, name, content)) == expected


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", "[1]", "item 1: a int, not a document"),
        ("a.json", '[["a"]]', "item 1: a list, not a document"),
        ("a.json", '["a", {"body": "b"}]', "item 2: no text under 'text' .columns: body."),
        ("a.json", '{"documents": ["a"]}', "item 1: no text under 'text' .columns: documents."),
        ("a.json", '["a"', "a.json: not JSON"),
        ("a.md", "# Top\n", "lines of a .md file are not documents. .* --format txt"),
        ("a.html", "<p>a", "lines of a .html file are not documents"),
        ("a.docx", b"PK\x03\x04", "lines of a .docx file are not documents"),
        ("a.txt", b"PK\x03\x04", "is a ZIP archive or Office file, not text"),
        ("paper", b"%PDF-1.7", "is a PDF file, not text"),
        ("a.txt", "one\ntwo".encode("utf-16-le"), "line 1: a NUL character"),
        ("a.txt.gz", gzip.compress(b"one", mtime=0)[:-4], "cannot be read"),
        ("a.csv", "id,text,text\n1,a,b\n", "line 1: 2 columns are called 'text'"),
        ("a.csv", "no header\n", "line 1: no text under 'text' .columns: no header."),
        ("a.csv", "id;text\n1;a\n", "line 1: no text .* separated by ';': pass --separator ';'"),
        ("a.csv", "id\ttext\n1\ta\n", "pass --separator TAB"),
        ("a.tsv", "id\ttext\n1\ta\tb\n", "line 2: 3 columns, expected 2"),
        ("a.tsv", "id\ttext\n1\n", "line 2: 1 column, expected 2"),
        ("a.csv", "id,text\n1,a, b\n", "line 2: 3 columns, expected 2 .id, text.. Quote fields"),
    ],
)
def test_what_is_no_list_of_documents_is_refused(
    name: str, content: str | bytes, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputFileError, match=sentence):
        read_documents(write(tmp_path, name, content))


def test_a_format_that_is_named_is_read(tmp_path: Path) -> None:
    assert texts(write(tmp_path, "a.md", "# Top\n\nbody"), kind="txt") == ["# Top", "body"]
    assert texts(write(tmp_path, "a.csv", 'id;text\n1;"a;b"\n'), separator=";") == ["a;b"]
    assert texts(write(tmp_path, "a.csv", "id\ttext\n1\ta,b\n"), separator="TAB") == ["a,b"]
    with pytest.raises(InvalidRequestError, match="The separator is 'ab'"):
        texts(write(tmp_path, "a.csv", "text\n"), separator="ab")


def test_scores_of_csv_are_numbers_and_nothing_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "_id,text,score,note,\nx,a,9.5,n,\n")
    assert read_documents(path) == [Document("a", "x", {"score": 9.5, "note": "n", "column 5": ""})]
    path = write(tmp_path, "a.json", '[{"text": "a", "id": 3, "_id": "y", "metadata": {"k": 1}, "page": 2}]')
    assert read_documents(path) == [Document("a", 3, {"_id": "y", "k": 1, "page": 2})]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "query\tdocument\nq\td\n"),
        ("a.tsv", "Question\tAnswer\nq\td\n"),
        ("a.tsv", "passage\tquery\nd\tq\n"),
        ("a.tsv", "id\tquery\tdocument\n1\tq\td\n"),
        ("a.csv", "question,answer\nq,d\n"),
        ("a.csv", "Query,Document\nq,d\n"),
        ("a.json", '[["q", "d"]]'),
        ("a.json", '[{"query": "q", "document": "d"}]'),
        ("a.jsonl", '{"query": "q", "text": "d"}\n'),
        ("a.jsonl", '["q", "d"]\n'),
    ],
)
def test_a_header_is_no_pair(name: str, content: str, tmp_path: Path) -> None:
    assert read_pairs(write(tmp_path, name, content)) == [Pair("q", "d")]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "what is it?,a panda\n", "line 1: no column 'query' .columns: what is it., a panda."),
        ("a.csv", "query,body\nq,d\n", "line 1: no column 'document'"),
        ("a.csv", "query,document\nq,a, b\n", "line 2: 3 columns, expected 2"),
        ("a.tsv", "q\td\tmore\n", "line 1: 3 columns, expected 2"),
        ("a.json", '["q"]', "item 1: not a pair"),
        ("a.json", '[["q", "d", "e"]]', "item 1: not a pair"),
    ],
)
def test_what_is_no_list_of_pairs_is_refused(name: str, content: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match=sentence):
        read_pairs(write(tmp_path, name, content))


@pytest.mark.slow
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1))
def test_jsonl_keeps_every_text(texts: list[str]) -> None:
    rows = "\n".join(json.dumps({"text": text}) for text in texts)
    read = [document.text for document in documents_in(text_rows(rows, "x", "jsonl"))]
    assert read == texts


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"text":' * 100_000])
def test_json_nested_without_end_is_refused(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path, name, content)
    for read in (read_documents, read_pairs):
        with pytest.raises(InvalidInputFileError, match="nested too deep"):
            read(path)
