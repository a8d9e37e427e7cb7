from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.jobs.bulk import jsonl_reader
from rerankd.jobs.bulk.formats import detect_kind, format_of, open_reader
from rerankd.jobs.bulk.jsonl_reader import JsonlReader
from rerankd.jobs.bulk.reader import Offset, RawRow, Reader
from tests.unit.jobs.bulk.fakes import Rows, pair_rows, query_rows, write_rows

LINES = st.lists(st.sampled_from(["", "  ", "{}", '{"a": "熊猫"}', "nonsense", "[1]", '{"b": "' + "x" * 40 + '"}']))


def all_rows(reader: Reader, start: Offset | None = None) -> list[RawRow]:
    return list(reader.rows(start or Offset()))


@pytest.mark.parametrize("packed", [False, True])
@given(lines=LINES, ending=st.sampled_from(["\n", "\r\n"]), last=st.booleans(), data=st.data())
def test_jsonl_is_read_from_any_row_on(
    tmp_path_factory: pytest.TempPathFactory,
    packed: bool,
    lines: list[str],
    ending: str,
    last: bool,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("read") / "in.jsonl"
    raw = (ending.join(lines) + (ending if last else "")).encode()
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with JsonlReader(path) as reader:
        every_row = [(row.content, str(row.fault), row.after) for row in reader.rows(Offset())]
        assert len(every_row) == sum(bool(line.strip()) for line in lines)
        number = data.draw(st.integers(0, len(every_row)))
        start = every_row[number - 1][2] if number else Offset()
        assert [(row.content, str(row.fault), row.after) for row in reader.rows(start)] == every_row[number:]
        assert reader.matches_prefix(start)


def test_a_changed_beginning_is_noticed_and_a_changed_end_is_not(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", pair_rows(6))
    with JsonlReader(path) as reader:
        offset = all_rows(reader)[2].after
    lines = path.read_text().splitlines(keepends=True)
    for number, confirmed in ((0, False), (2, False), (3, True), (5, True)):
        path.write_text("".join([*lines[:number], lines[number].replace("q", "z"), *lines[number + 1 :]]))
        with JsonlReader(path) as reader:
            assert reader.matches_prefix(offset) is confirmed
    path.write_text("".join(lines[:2]))
    with JsonlReader(path) as reader:
        assert not reader.matches_prefix(offset)


def test_bad_lines_are_told_by_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl_reader, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(jsonl_reader, "_BLOCK", 7)
    path = tmp_path / "in.jsonl"
    long = b'"' + b"x" * (1 << 20) + b'"'
    path.write_bytes(b"\xef\xbb\xbf{}\n\n" + long + b"\n\xff\n{\n1\n" + long)
    with JsonlReader(path) as reader:
        rows = all_rows(reader)
        assert [row.after for row in reader.rows(rows[1].after)] == [row.after for row in rows[2:]]
        assert reader.matches_prefix(rows[-1].after)
        assert reader.share(rows[-1].after) == 1.0
    assert [(row.after.line, str(row.fault or "")[:12]) for row in rows] == [
        (1, ""),
        (3, "Longer than "),
        (4, "Not JSON (st"),
        (5, "Not JSON (un"),
        (6, ""),
        (7, "Longer than "),
    ]


def test_files_that_cannot_be_read_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match="cannot be read"):
        JsonlReader(tmp_path / "gone.jsonl")
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" * 10_000)[:-20])
    with JsonlReader(path) as reader, pytest.raises(InvalidInputFileError, match="file is whole"):
        all_rows(reader)
    (tmp_path / "in.parquet").write_bytes(b"nothing")
    with pytest.raises(InvalidInputFileError, match="whole Parquet file"):
        open_reader(tmp_path / "in.parquet", None, keep_fields=False)


def parquet(path: Path, rows: Rows, group: int = 7) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)
    return path


@pytest.mark.slow
@given(count=st.integers(0, 400), group=st.integers(1, 300), data=st.data())
def test_parquet_is_read_from_any_row_on(
    tmp_path_factory: pytest.TempPathFactory, count: int, group: int, data: st.DataObject
) -> None:
    rows = pair_rows(count)
    path = parquet(tmp_path_factory.mktemp("read") / "in.parquet", rows, group)
    start = data.draw(st.integers(0, count))
    with open_reader(path, None, keep_fields=False) as reader:
        read = all_rows(reader, Offset(start, start, start))
        assert [row.content for row in read] == rows[start:]
        assert [row.after.rows for row in read] == list(range(start + 1, count + 1))
        assert reader.share(Offset(rows=count)) == (1.0 if count else None)


def test_only_needed_columns_are_read(tmp_path: Path) -> None:
    path = parquet(tmp_path / "in.parquet", [{"query": "q", "text": "d", "blob": b"x"}])
    for keep, names in ((False, {"query", "text"}), (True, {"query", "text", "blob"})):
        with open_reader(path, None, keep_fields=keep) as reader:
            content: Any = all_rows(reader)[0].content
            assert content.keys() == names
            assert detect_kind(reader, path) == "pairs"
            assert not reader.matches_prefix(Offset(1, 1, 1))


def test_kind_is_told_by_the_first_row_that_tells(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("nonsense\n{}\n" + json.dumps(query_rows([1])[0]) + "\n")
    with JsonlReader(path) as reader:
        assert detect_kind(reader, path) == "queries"
    path.write_text('{"question": "q"}\n')
    with JsonlReader(path) as reader, pytest.raises(InvalidInputFileError, match="none of the first 1 row is"):
        detect_kind(reader, path)
    path.write_text("")
    with JsonlReader(path) as reader:
        assert detect_kind(reader, path) == "pairs"
        assert reader.share(Offset()) is None
    with (
        open_reader(parquet(tmp_path / "in.parquet", [{"a": 1}]), None, keep_fields=True) as reader,
        pytest.raises(InvalidInputFileError, match="has the columns a"),
    ):
        detect_kind(reader, tmp_path / "in.parquet")


def test_formats(tmp_path: Path) -> None:
    assert format_of(Path("a.PQ"), None, "--format") == "parquet"
    assert format_of(Path("a.ndjson.gz"), None, "--format") == "jsonl"
    assert format_of(Path("a.csv"), "jsonl", "--format") == "jsonl"
    for path, declared in ((Path("a.csv"), None), (Path("a"), None), (Path("a.jsonl"), "csv")):
        with pytest.raises(InvalidRequestError, match="--format"):
            format_of(path, declared, "--format")
