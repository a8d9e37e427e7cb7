"""Writer of output lines as Parquet, in constant memory; the same lines give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from rerankd._common.optional import require
from rerankd.jobs.bulk import files
from rerankd.jobs.bulk.rows import RowKind

GROUP_ROWS = 10_000
GROUP_BYTES = 16 * 1024 * 1024
_OUTPUT_COLUMNS = ("index", "relevance_score", "raw_score", "results", "error")
_LARGEST = 2**63


def write_parquet(part: Path, out: Path, kind: RowKind) -> None:
    """Write the lines of `part` to `out`, atomically.

    Fields copied from the input keep their type if all values are strings, integers, numbers or booleans; the values
    of other fields are written as JSON.

    Args:
        part: file of output lines.
        out: path of the Parquet file.
        kind: kind of the rows.

    Raises:
        InvalidRequestError: the file cannot be written.
        MissingDependencyError: pyarrow is not installed.
    """
    require("pyarrow.parquet", "parquet", "Writing Parquet")
    import pyarrow
    import pyarrow.parquet

    column_types = _input_columns(part)
    conversions = {
        name: _CONVERSIONS[column_type] for name, column_type in column_types.items() if column_type in _CONVERSIONS
    }
    schema = _schema(kind, column_types)
    temporary = out.with_name(f"{out.name}.new")
    with files.writable(out), temporary.open("wb") as file:
        with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for rows in _row_groups(part):
                for row in rows:
                    row |= {
                        name: convert(row[name]) for name, convert in conversions.items() if row.get(name) is not None
                    }
                    for result in row.get("results") or ():
                        if result.get("id") is not None:  # ids of all documents share a column, so they are text
                            result["id"] = str(result["id"])
                writer.write_table(pyarrow.Table.from_pylist(rows, schema), row_group_size=GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())
    files.rename(temporary, out)


def _row_groups(part: Path) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    with part.open("rb") as lines:
        for line in lines:
            rows.append(orjson.loads(line))
            size += len(line)
            if len(rows) == GROUP_ROWS or size >= GROUP_BYTES:
                yield rows
                rows, size = [], 0
    if rows:
        yield rows


def _input_columns(part: Path) -> dict[str, str]:
    """Return the types of the columns copied from the input: `str`, `int`, `float`, `bool` or `json`."""
    types: dict[str, str] = {}
    with part.open("rb") as lines:
        for line in lines:
            for name, value in orjson.loads(line).items():
                if name in _OUTPUT_COLUMNS or (value is None and name in types):
                    continue
                value_type = _type(value)
                known = types.get(name) or value_type
                if value_type and known and value_type != known:
                    types[name] = "float" if {known, value_type} == {"int", "float"} else "json"
                else:
                    types[name] = known or value_type
    return {name: kind or "str" for name, kind in types.items()}


def _type(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and not -_LARGEST <= value < _LARGEST:
        return "json"
    name = type(value).__name__
    return name if name in ("str", "int", "float", "bool") else "json"


# Arrow itself refuses integers that a double cannot represent exactly.
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"json": lambda value: orjson.dumps(value).decode(), "float": float}


def _schema(kind: RowKind, column_types: dict[str, str]) -> Any:
    import pyarrow

    arrow_types = {
        "str": pyarrow.string(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "bool": pyarrow.bool_(),
        "json": pyarrow.string(),
    }
    scores = [("relevance_score", pyarrow.float64()), ("raw_score", pyarrow.float64())]
    result = pyarrow.struct([("index", pyarrow.int64()), ("id", pyarrow.string()), *scores])
    outputs = scores if kind == "pairs" else [("results", pyarrow.list_(result))]
    error = pyarrow.struct([("code", pyarrow.string()), ("message", pyarrow.string())])
    columns = [
        ("index", pyarrow.int64()),
        *((name, arrow_types[column_type]) for name, column_type in column_types.items()),
    ]
    return pyarrow.schema([*columns, *outputs, ("error", error)])
