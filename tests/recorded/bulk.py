"""Output of a bulk run, in rows and in bytes."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.recorded.commands import lines
from tests.recorded.inputs import DOCUMENTS, NAMED, PAIRS, QUERIES, TINY
from tests.recorded.program import Program


def record(folder: Path) -> dict[str, Any]:
    """Return the files that `rerankd bulk` makes of every kind of input."""
    queries: list[dict[str, Any]] = [
        {"id": number, "query": query, "documents": NAMED if number else DOCUMENTS, "label": f"第{number}"}
        for number, query in enumerate(QUERIES)
    ]
    queries[2] |= {"top_n": 2, "id": "third"}
    pairs: list[Any] = [{"query": query, "document": document} for query, document in PAIRS]
    bad = [*pairs[:2], {"query": "", "document": "a"}, 7, {"query": "a"}, *pairs[2:]]
    (folder / "queries.jsonl").write_text(lines(queries), encoding="utf-8")
    (folder / "pairs.jsonl.gz").write_bytes(gzip.compress(lines(pairs).encode()))
    (folder / "bad.jsonl").write_text(lines(bad), encoding="utf-8")
    tiny = ("--model", str(TINY))
    runs = {
        "queries": ("queries.jsonl", "--out", "queries.out.jsonl", "--json"),
        "kept": ("queries.jsonl", "--out", "kept.jsonl", "--keep-fields", "--top-n", "3", *tiny),
        "logits": ("pairs.jsonl.gz", "--out", "logits.jsonl", "--no-activation", "--chunk-pairs", "2"),
        "bad": ("bad.jsonl", "--out", "bad.out.jsonl", "--on-error", "skip", "--json", *tiny),
        "stopped": ("bad.jsonl", "--out", "stopped.jsonl", *tiny),
        "there already": ("pairs.jsonl.gz", "--out", "logits.jsonl"),
        "parquet": ("queries.jsonl", "--out", "queries.parquet", *tiny),
        "pairs to parquet": ("pairs.jsonl.gz", "--out", "pairs.parquet", "--keep-fields", *tiny),
        "from parquet": ("pairs.parquet", "--out", "again.jsonl", *tiny),
    }
    recorded: dict[str, Any] = {}
    with Program(folder) as program:
        for name, arguments in runs.items():
            recorded[name] = program.run("bulk", *arguments)
    written = sorted(path for path in folder.iterdir() if path.is_file())
    recorded["files"] = [path.name for path in written]
    recorded["texts"] = {
        path.name: [without_digits(line) for line in path.read_bytes().decode().split("\n")]
        for path in written
        if path.suffix == ".jsonl" and path.name not in ("queries.jsonl", "bad.jsonl")
    }
    tables = {path.name: pq.read_table(path) for path in written if path.suffix == ".parquet"}
    recorded["tables"] = {
        name: {"schema": str(table.schema.remove_metadata()).splitlines(), "rows": table.to_pylist()}
        for name, table in tables.items()
    }
    return recorded


def without_digits(line: str) -> dict[str, Any]:
    """Return a line of bytes with the digits of its floats out, and these floats."""
    number = re.compile(r"-?\d+\.\d+(e-?\d+)?")
    return {"bytes": number.sub("<float>", line), "floats": [float(match[0]) for match in number.finditer(line)]}
