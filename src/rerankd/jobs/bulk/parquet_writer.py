"""Lines of output as Parquet, in constant memory; the same lines give the same bytes."""

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
_OWN = ("index", "relevance_score", "raw_score", "results", "error")
_LARGEST = 2**63


def write_parquet(part: Path, out: Path, kind: RowKind) -> None:
    """Write the lines of `part` to `out`, which is there whole or not at all.

    Carried fields that are strings, whole numbers, numbers or truth values throughout keep their type; others become
    JSON texts.

    Args:
        part: lines of output.
        out: where the table goes.
        kind: what the rows are.

    Raises:
        InvalidRequestError: it cannot be written.
        MissingDependencyError: pyarrow is not installed.
    """
    require("pyarrow.parquet", "parquet", "Writing Parquet")
    import pyarrow
    import pyarrow.parquet

    carried = _carried(part)
    changes = {name: _CHANGES[held] for name, held in carried.items() if held in _CHANGES}
    schema = _schema(kind, carried)
    made = out.with_name(f"{out.name}.new")
    with files.writable(out), made.open("wb") as file:
        with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for rows in _groups(part):
                for row in rows:
                    row |= {name: change(row[name]) for name, change in changes.items() if row.get(name) is not None}
                writer.write_table(pyarrow.Table.from_pylist(rows, schema), row_group_size=GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())
    files.rename(made, out)


def _groups(part: Path) -> Iterator[list[dict[str, Any]]]:
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


def _carried(part: Path) -> dict[str, str]:
    """Names of the columns beside our own, with what they hold: `str`, `int`, `float`, `bool` or `json`."""
    found: dict[str, str] = {}
    with part.open("rb") as lines:
        for line in lines:
            for name, value in orjson.loads(line).items():
                if name in _OWN or (value is None and name in found):
                    continue
                own = _type(value)
                before = found.get(name) or own
                wide = {before, own} == {"int", "float"}
                found[name] = own if before in (own, "") else "float" if wide else before if not own else "json"
    return {name: kind or "str" for name, kind in found.items()}


def _type(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and not -_LARGEST <= value < _LARGEST:
        return "json"
    name = type(value).__name__
    return name if name in ("str", "int", "float", "bool") else "json"


# Arrow itself refuses whole numbers that a double does not hold exactly.
_CHANGES: dict[str, Callable[[Any], Any]] = {"json": lambda value: orjson.dumps(value).decode(), "float": float}


def _schema(kind: RowKind, carried: dict[str, str]) -> Any:
    import pyarrow

    types = {
        "str": pyarrow.string(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "bool": pyarrow.bool_(),
        "json": pyarrow.string(),
    }
    scores = [("relevance_score", pyarrow.float64()), ("raw_score", pyarrow.float64())]
    one = pyarrow.struct([("index", pyarrow.int64()), ("id", pyarrow.string()), *scores])
    own = scores if kind == "pairs" else [("results", pyarrow.list_(one))]
    error = pyarrow.struct([("code", pyarrow.string()), ("message", pyarrow.string())])
    columns = [("index", pyarrow.int64()), *((name, types[held]) for name, held in carried.items())]
    return pyarrow.schema([*columns, *own, ("error", error)])
