"""Tables that come into an index, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.retrieval.ingesting import brought_in, opened, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "docs")


def test_columns_of_a_table_keep_their_values(tmp_path: Path, folder: Path) -> None:
    (folder / "c.jsonl").write_text('{"text": "row", "title": "Top", "heading": "mine", "page": "seven"}')
    index = opened(tmp_path)
    brought_in(folder, index)
    [row] = index.rows((folder / "c.jsonl").as_posix())
    metadata = json.loads(row["metadata"])
    assert (metadata["heading"], metadata["page"], metadata["title"]) == ("mine", "seven", "Top")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", "id,text,note\n1,row,\n2,,only a note\n3, ,\n,,\n"),
        ("r.tsv", "text\tnote\nrow\t\n\tone\n \ttwo\n"),
        ("r.jsonl", '{"text": null, "note": "a"}\n{"text": "row"}\n{"text": " \\u00a0", "id": 3}\n{"text": ""}\n'),
        ("r.jsonl", '{"question": "", "answer": null, "id": 1}\n{"question": "Which?", "answer": "row"}\n'
         '{"question": null, "answer": "", "id": 3}\n'),
    ],
)  # fmt: skip
def test_rows_without_text_are_counted(folder: Path, tmp_path: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    report = brought_in(folder, opened(tmp_path))
    assert report.errors == []
    assert report.notes == [((folder / name).as_posix(), "2 rows have no text and were left out.")]


def test_rows_without_an_answer_or_a_question_are_counted(folder: Path, tmp_path: Path) -> None:
    (folder / "faq.csv").write_text("question,answer,id\nWhy?,,1\nHow?,,2\n,Three years.,3\n,,4\nWhat?,That.,5\n")
    index = opened(tmp_path)
    assert brought_in(folder, index).notes == [
        ((folder / "faq.csv").as_posix(), note)
        for note in (
            "1 row has no text and was left out.",
            "2 rows have a question without an answer and were left out.",
            "1 row has an answer without a question.",
        )
    ]
    assert [row["text"] for row in index.rows((folder / "faq.csv").as_posix())] == ["Three years.", "What?\nThat."]


@pytest.mark.parametrize(
    ("name", "first", "bad"),
    [
        ("r.csv", "id,text\n1,One.\n", "2,two,three\n"),
        ("r.tsv", "id\ttext\n1\tOne.\n", "2\ttwo\tthree\n"),
        ("r.jsonl", '{"text": "One."}\n', "{broken\n"),
        ("r.ndjson", '{"text": "One."}\n', '{"name": "no text"}\n'),
        ("faq.csv", "question,answer\nWhy?,\n,One.\n", "a,b,c\n"),
    ],
)
def test_a_table_that_cannot_be_read_to_its_end_is_partly_read(
    folder: Path, tmp_path: Path, name: str, first: str, bad: str
) -> None:
    path = folder / name
    path.write_text(first + bad)
    index = opened(tmp_path)
    report = brought_in(folder, index)
    [(source, reason)] = report.partly_read
    assert (source, report.errors, report.added) == (path.as_posix(), [], 3)
    assert reason.endswith(" The rows before it are in the index.")
    assert [row["text"] for row in index.rows(source)] == ["One."]
    assert report.passages == len(index)
    assert len(report.notes) == 2 * (name == "faq.csv")
    again = brought_in(folder, index)
    assert (again.partly_read, again.passages, again.unchanged) == (report.partly_read, 0, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", "id,text\n1,two,three\n"),
        ("r.csv", "name,note\n1,two\n"),
        ("r.jsonl", "{broken\n"),
        ("r.jsonl", '{"text": ""}\n{broken\n'),
        ("r.parquet", "no parquet"),
    ],
)
def test_a_table_without_a_good_row_is_skipped(folder: Path, tmp_path: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    report = brought_in(folder, opened(tmp_path))
    [(source, reason)] = report.errors
    assert (Path(source).name, report.partly_read) == (name, [])
    assert "before it" not in reason
