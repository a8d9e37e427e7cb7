from __future__ import annotations

import codecs
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.parsing import parse_here
from rerankd.retrieval.table_parsers import parse_csv, parse_jsonl, parse_parquet

ROWS = "id,text\r\n1,The warranty lasts three years.\r\n2,保修期为三年。\r\n"


def units(path: Path, content: str | bytes, **options: Any) -> list[ParsedDocument]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(parse_here(path, **options))


def texts(path: Path, content: str | bytes, **options: Any) -> list[str]:
    return ["\n".join(block.text for block in unit.blocks) for unit in units(path, content, **options)]


MARKS = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE,
         "utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE}  # fmt: skip


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt", "a.md", "a.html"])
def test_unicode_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str, name: str) -> None:
    first, second = "The warranty lasts three years.", "保修期为三年。"
    content = {
        "a.csv": ROWS,
        "a.tsv": ROWS.replace(",", "\t"),
        "a.jsonl": "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in (first, second)),
        "a.html": f"<p>{first}</p><p>{second}</p>",
    }.get(name, f"{first}\r\n\r\n{second}\r\n")
    read = texts(tmp_path / name, MARKS[encoding] + content.encode(encoding))
    assert "\n".join(read).strip().split("\n") == [first, second]


@pytest.mark.parametrize(
    ("name", "encoding"), [("a.csv", "gb18030"), ("a.csv", "cp932"), ("a.jsonl", "gb18030"), ("a.tsv", "euc-jp")]
)
def test_rows_in_older_encodings_are_read(tmp_path: Path, name: str, encoding: str) -> None:
    text = "製品の保証期間は一年です。これは保証書です。" if encoding != "gb18030" else "本产品的保修期为一年。"
    lines = {"a.jsonl": json.dumps({"text": text}, ensure_ascii=False)}.get(name, f"text\n{text}")
    assert texts(tmp_path / name, (lines + "\n").encode(encoding)) == [text]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("id,text\n1,Fine.\n2,Refunds take five days, except on holidays.\n", r"Row 2 \(line 3\) has 3 values for 2"),
        ('id,text\n1,"two\nlines"\n2,a,b\n', r"Row 2 \(line 4\) has 3 values for 2"),
        ("text\nHello, world\n", r"Row 1 \(line 2\) has 2 values for 1 col"),
        ("id;text\n1;a;b\n2;c\n", "separated by a semicolon, not by a comma.*--delimiter"),
        ('id,text\n1,fine\n2,"never closed\n3,x\n', r"Row 2 \(line .*cannot be read"),
        ('id,text\n1,"a "quoted" word"\n', r"Row 1 \(line 2\).*cannot be read"),
        ("id,text,text\n1,a,b\n", "'text' appears twice"),
        ("id,text\n1,a\n2\n", "Row 2 has no text column"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_number(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(InvalidInputFileError, match=says):
        units(tmp_path / "a.csv", content)


def test_a_row_of_another_separator_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match=r"Row 1 \(line 2\) has 3 values.*a tab in quotes"):
        units(tmp_path / "a.tsv", "id\ttext\n1\ta\tb\n")
    with pytest.raises(InvalidInputFileError, match="has 3 values"):
        units(tmp_path / "a.csv", "id|text\n1|a|b\n", delimiter="|")


@pytest.mark.parametrize(("delimiter", "name"), [(";", "a semicolon"), ("\t", "a tab"), ("|", "a vertical bar")])
def test_a_separator_is_detected_where_the_rows_agree(tmp_path: Path, delimiter: str, name: str) -> None:
    content = f"id{delimiter}text\n1{delimiter}Five days, mostly.\n2{delimiter}Nine.\n"
    first, second = units(tmp_path / "a.csv", content)
    assert [block.text for block in first.blocks] == ["Five days, mostly."]
    assert (first.notes, second.notes) == ((f"Its columns are separated by {name}.",), ())
    assert texts(tmp_path / "b.csv", content, delimiter={"\t": "tab"}.get(delimiter, delimiter)) == [
        "Five days, mostly.", "Nine.",
    ]  # fmt: skip
    assert texts(tmp_path / "c.csv", f"sep={delimiter}\r\n{content}") == ["Five days, mostly.", "Nine."]


def test_separators_within_values_do_not_mislead(tmp_path: Path) -> None:
    assert texts(tmp_path / "a.csv", 'id,text\n1,"a; b; c"\n2,x; y\n') == ["a; b; c", "x; y"]
    assert texts(tmp_path / "a.csv", "text\na; b\nc | d\n") == ["a; b", "c | d"]
    assert texts(tmp_path / "a.csv", 'id;text\n1;"a; b, c"\n') == ["a; b, c"]
    assert texts(tmp_path / "a.csv", "id;name, first;text\n1;Smith, John;Hello\n") == ["Hello"]
    assert texts(tmp_path / "a.csv", "id,text;note\n1,a;b\n", text_field="text;note") == ["a;b"]
    assert texts(tmp_path / "a.TSV", 'id\ttext\n1\tHe said "no, \n2\t5" wide\n') == ['He said "no, ', '5" wide']
    assert texts(tmp_path / "a.tsv", 'id\ttext\n1\t"no" he said\n') == ['"no" he said']
    assert texts(tmp_path / "a.tsv", 'id\ttext\n1\t"two\nlines"\n') == ["two\nlines"]
    assert texts(tmp_path / "a.csv", "id,text,\n1,a,\n2,b,,\n") == ["a", "b"]
    with pytest.raises(InvalidInputFileError, match="cannot separate columns"):
        units(tmp_path / "a.csv", "text\nx\n", delimiter="ab")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "question,answer,topic\nHow long is it?,Three years.,warranty\n"),
        ("a.csv", "Question,Answer,topic\nHow long is it?,Three years.,warranty\n"),
        ("a.csv", "topic;Q;A\nwarranty;How long is it?;Three years.\n"),
        ("a.tsv", "Frage\tAntwort\ttopic\nHow long is it?\tThree years.\twarranty\n"),
        ("a.jsonl", '{"question": "How long is it?", "answer": "Three years.", "topic": "warranty"}\n'),
        ("a.csv", "问题,答案,topic\nHow long is it?,Three years.,warranty\n"),
    ],
)
def test_questions_and_answers_are_both_text(tmp_path: Path, name: str, content: str) -> None:
    [unit] = units(tmp_path / name, content)
    assert [(block.text, block.headings) for block in unit.blocks] == [("Three years.", ("How long is it?",))]
    assert unit.metadata["topic"] == "warranty"
    assert "Three years." not in unit.metadata.values()


def test_a_title_without_text_is_kept(tmp_path: Path) -> None:
    assert texts(tmp_path / "a.csv", "title,text\nOnly a title,\n") == ["Only a title"]
    assert [unit.fault for unit in units(tmp_path / "b.csv", "title,text\n,Only a text\n")] == [""]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "question,answer\nWhy?,Because.\nHow long?,\n,Three years.\n"),
        ("a.tsv", "Frage\tAntwort\nWhy?\tBecause.\nHow long?\t \n\tThree years.\n"),
        ("a.csv", "问题,答案\nWhy?,Because.\nHow long?,\u3000\n ,Three years.\n"),
        (
            "a.jsonl",
            '{"q": "Why?", "a": "Because."}\n{"q": "How long?", "a": null}\n{"q": null, "a": "Three years."}\n',
        ),
    ],
)
def test_a_question_without_an_answer_is_no_document(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    assert texts(path, content) == ["Because.", "", "Three years."]
    assert [unit.fault for unit in units(path, content)] == ["", "no answer", "no question"]


def test_a_question_above_an_empty_text_column_has_no_answer_either(tmp_path: Path) -> None:
    assert texts(tmp_path / "a.csv", "question,text\nWhy?,\n,Three years.\n") == ["", "Three years."]
    assert texts(tmp_path / "b.csv", "question,reply\nWhy?,\nHow?,So.\n", text_field="reply") == ["", "So."]


def test_lost_characters_are_counted_by_row(tmp_path: Path) -> None:
    content = ("id,text\n" + "1,Größe und Maß für Käufer\n" * 30).encode() + b"2,caf\xe9\n"
    assert [unit.lost_characters for unit in units(tmp_path / "a.csv", content)] == [0] * 30 + [1]


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rerankd.retrieval import table_parsers

    monkeypatch.setattr(table_parsers, "MAX_FIELD", 1000)
    with pytest.raises(InvalidInputFileError, match="Line 2 is longer"):
        units(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "' + "x" * 2000 + '"}\n')
    with pytest.raises(InvalidInputFileError, match=r"Row 1 .*field larger than"):
        units(tmp_path / "a.csv", "text\n" + "x" * 2000)


def test_json_lines_hold_any_character(tmp_path: Path) -> None:
    assert texts(tmp_path / "a.jsonl", '{"text": "a\u2028b\x85c"}\r\n{"text": "d"}\r\n') == ["a\u2028b\x85c", "d"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n\u2028\x85",;|'), max_size=30))
)
def test_every_word_of_a_row_is_in_its_document(rows: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table, lines = Path(folder) / "a.csv", Path(folder) / "a.jsonl"
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["id", "text"], *([number, row] for number, row in enumerate(rows))])
        lines.write_bytes("\n".join(json.dumps({"text": row}, ensure_ascii=False) for row in rows).encode())
        for path in (table, lines):
            read = [" ".join(block.text for block in unit.blocks).split() for unit in parse_here(path)]
            assert read == [row.split() for row in rows]


@pytest.mark.parametrize(
    ("row", "name", "metadata"),
    [
        ('{"id": 123456789012345678901234567890, "text": "a"}', "123456789012345678901234567890", {}),
        ('{"id": 7.0, "text": "a"}', "7", {}),
        ('{"id": 1.5, "text": "a"}', "1.5", {}),
        ('{"id": true, "text": "a"}', "", {"id": True}),
        ('{"id": null, "docid": "d", "text": "a"}', "d", {}),
        ('{"_id": "p", "id": "q", "text": "a"}', "p", {"id": "q"}),
        ('{"ID": ["p"], "text": "a"}', "", {"ID": ["p"]}),
    ],
)
def test_no_id_of_a_row_is_lost(tmp_path: Path, row: str, name: str, metadata: dict[str, object]) -> None:
    (tmp_path / "a.jsonl").write_text(row)
    [document] = parse_jsonl(tmp_path / "a.jsonl", None)
    assert (document.id, document.metadata) == (name, metadata)


@pytest.mark.parametrize(
    ("content", "metadata"),
    [
        (",text,\n1,hello,z\n", {"column 1": "1", "column 3": "z"}),
        ("text,,\nhello,,b\n", {"column 3": "b"}),
        ("text,a,\nhello,1,\n", {"a": "1"}),
        (",,\ntext,a,\nhello,1\n", {"a": "1"}),
        ('"",text\n0,hello\n', {"column 1": "0"}),
    ],
)
def test_columns_without_a_name_keep_their_values(tmp_path: Path, content: str, metadata: dict[str, str]) -> None:
    (tmp_path / "a.csv").write_text(content)
    [document] = parse_csv(tmp_path / "a.csv", None)
    assert document.metadata == metadata


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"text": "a", "text": "b"}', "Line 1 has the key 'text' twice"),
        ('{"text": "a", "n": 1, "n": 2}', "Line 1 has the key 'n' twice"),
        ('{"text": ["a"]}', "Row 1: the column 'text' holds a list, not a text"),
        ('{"body": 5, "x": 1}', "Row 1: the column 'body' holds a int, not a text"),
        ('{"name": "a"}', "Row 1 has no text column; its columns are name"),
    ],
)
def test_what_would_be_lost_is_refused(tmp_path: Path, row: str, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(row)
    with pytest.raises(InvalidInputFileError, match=says):
        list(parse_jsonl(tmp_path / "a.jsonl", None))


def test_a_key_may_be_said_in_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": 'say "text"', "x": ["text", {"x": 1}], "text2": "text"}))
    [document] = parse_jsonl(tmp_path / "a.jsonl", None)
    assert document.metadata == {"x": ["text", {"x": 1}], "text2": "text"}


def test_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pyarrow.table([["a"], ["b"]], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InvalidInputFileError, match="The column 'text' appears twice"):
        list(parse_parquet(tmp_path / "a.parquet", None))


def test_parquet_of_bytes_is_said(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": [b"a"]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidInputFileError, match="the column 'text' holds a bytes, not a text"):
        list(parse_parquet(tmp_path / "a.parquet", None))
