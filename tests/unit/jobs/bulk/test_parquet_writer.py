from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rerankd.jobs.bulk import parquet_writer
from rerankd.jobs.bulk.parquet_writer import write_parquet
from tests.unit.jobs.bulk.fakes import write_rows

RESULT = {"index": 1, "id": "b", "relevance_score": 0.5, "raw_score": 0.0}


def written(tmp_path: Path, rows: list[dict[str, Any]], kind: Any) -> Any:
    import pyarrow.parquet

    out = tmp_path / "out.parquet"
    write_parquet(write_rows(tmp_path / "part", rows), out, kind)
    assert {path.name for path in tmp_path.iterdir()} == {"part", "out.parquet"}
    return pyarrow.parquet.ParquetFile(out)


def test_rows_are_those_of_the_lines(tmp_path: Path) -> None:
    error = {"code": "a", "message": "b"}
    rows = [{"index": 0, "id": 3, "results": [RESULT]}, {"index": 1, "error": error}, {"index": 2, "results": []}]
    records = written(tmp_path, rows, "queries").read().to_pylist()
    assert records == [
        {"index": 0, "id": 3, "results": [RESULT], "error": None},
        {"index": 1, "id": None, "results": None, "error": error},
        {"index": 2, "id": None, "results": [], "error": None},
    ]


def test_carried_fields_keep_their_type_or_become_text(tmp_path: Path) -> None:
    one = {"index": 0, "s": "a", "i": 1, "f": 2**60 + 1, "b": True, "o": {"x": 1}, "m": 1, "h": 2**63, "n": None}
    two: dict[str, Any] = {"index": 1, "s": None, "i": 2, "f": 0.5, "b": None, "o": None, "m": "t", "late": 1, "l": []}
    file = written(tmp_path, [one, two], "pairs")
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert types | {"s": "string", "i": "int64", "f": "double", "b": "bool", "o": "string", "m": "string"} == types
    rows = file.read().to_pylist()
    assert (rows[0]["o"], rows[0]["m"], rows[1]["m"]) == ('{"x":1}', "1", '"t"')
    assert rows[0]["f"] == float(2**60 + 1)
    assert (rows[1]["o"], rows[0]["n"], rows[0]["late"], rows[1]["l"]) == (None, None, None, "[]")


def test_groups_are_bounded_and_bytes_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writer, "GROUP_ROWS", 10)
    monkeypatch.setattr(parquet_writer, "GROUP_BYTES", 400)
    rows = [{"index": n, "relevance_score": 0.5, "raw_score": 0.0, "t": "x" * (n % 30)} for n in range(100)]
    file = written(tmp_path, rows, "pairs")
    first = (tmp_path / "out.parquet").read_bytes()
    assert file.num_row_groups >= 10
    assert file.read().column("index").to_pylist() == list(range(100))
    written(tmp_path, rows, "pairs")
    assert (tmp_path / "out.parquet").read_bytes() == first


def test_no_rows_make_an_empty_table(tmp_path: Path) -> None:
    assert written(tmp_path, [], "pairs").read().num_rows == 0


def test_ids_of_documents_are_text_whatever_they_were(tmp_path: Path) -> None:
    results = [{"index": n, "id": id_, "relevance_score": 0.5, "raw_score": 0.0} for n, id_ in enumerate([7, "a"])]
    results.append({"index": 2, "relevance_score": 0.5, "raw_score": 0.0})
    rows = written(tmp_path, [{"index": 0, "results": results}], "queries").read().to_pylist()
    assert [result["id"] for result in rows[0]["results"]] == ["7", "a", None]
