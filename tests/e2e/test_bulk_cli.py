"""`rerankd bulk` as people run it, and as machines kill it."""

from __future__ import annotations

import gzip
import json
import os
import pty
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Process, start_program
from tests.program import rerankd

PROGRAM = [sys.executable, "-m", "rerankd"]
ROWS = 400  # some seconds of work: the checkpoint is saved once a second


def run(*arguments: str | Path, folder: Path | None = None) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    completed = rerankd("bulk", *map(str, arguments), folder=folder)
    return completed.returncode, completed.stdout, completed.stderr


def start(*arguments: str | Path, until: str, log: Path) -> Process:
    """Start a run, and return it once its log has a line with `until`."""
    with log.open("wb") as sink:
        process = start_program(["-m", "rerankd", "-v", "bulk", *map(str, arguments)], Path.cwd(), os.environ, sink)
    while until not in log.read_text():
        assert process.poll() is None or until in log.read_text(), log.read_text()
        time.sleep(0.01)
    return process


def end(process: Process, number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait(60)


@pytest.fixture
def pairs(tmp_path: Path, texts: list[str]) -> Path:
    return write(tmp_path / "pairs.jsonl", pair_rows(texts, 100))


def pair_rows(texts: list[str], count: int) -> list[dict[str, Any]]:
    draw = random.Random(3)
    return [
        {"id": f"p{n}", "query": f"{draw.choice(texts)} {n}", "document": draw.choice(texts), "n": n}
        for n in range(count)
    ]


def query_rows(texts: list[str], count: int) -> list[dict[str, Any]]:
    draw = random.Random(4)
    return [
        {
            "id": n,
            "query": f"{draw.choice(texts)} {n}",
            "documents": [{"id": f"d{k}", "text": draw.choice(texts)} for k in range(draw.randint(0, 8))],
        }
        for n in range(count)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path: Path, texts: list[str]) -> None:
    source, calm, hit = write(tmp_path / "in.jsonl", query_rows(texts, ROWS)), tmp_path / "calm", tmp_path / "hit"
    options = ("--out-format", "jsonl", "--chunk-pairs", "8", "--keep-fields")
    assert run(source, "--out", calm, *options)[0] == 0
    positions = []
    for until in ("checkpoint saved", "checkpoint saved", "Resuming after", "checkpoint saved"):
        process = start(source, "--out", hit, *options, until=until, log=tmp_path / "log")
        assert end(process, signal.SIGKILL) == -signal.SIGKILL
        journal = json.loads((tmp_path / "hit.journal").read_text())
        positions.append(journal["position"]["rows"])
    assert positions == sorted(positions)
    assert 0 < positions[0] < positions[1] < positions[-1] < ROWS
    code, _, errors = run(source, "--out", hit, *options)
    assert (code, f"{ROWS:,} rows" in errors) == (0, True)
    assert hit.read_bytes() == calm.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "calm", "hit", "log"}


def test_interrupted_it_says_how_to_go_on(tmp_path: Path, texts: list[str]) -> None:
    source, out = write(tmp_path / "in.jsonl", pair_rows(texts, 30_000)), tmp_path / "out.jsonl"
    options = (source, "--out", out, "--chunk-pairs", "16")
    log = tmp_path / "log"
    process = start(*options, until="checkpoint saved", log=log)
    code, _, errors = run(*options)
    assert (code, "Another run is writing out.jsonl." in errors) == (2, True)
    assert end(process, signal.SIGINT) == 130
    assert "Run the same command again to resume." in log.read_text()
    process = start(*options, until="Resuming after", log=log)
    assert end(process, signal.SIGTERM) == 130
    assert "Run the same command again to resume." in log.read_text()
    assert not out.exists()
    code, _, errors = run(*options, "--top-n", "2")
    assert (code, "started with a different top_n" in errors) == (2, True)


def test_a_full_disk_loses_nothing(tmp_path: Path, pairs: Path) -> None:
    calm, hit = tmp_path / "calm.jsonl", tmp_path / "hit.jsonl"
    options = ("--chunk-pairs", "16")
    assert run(pairs, "--out", calm, *options)[0] == 0

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    command = [*PROGRAM, "bulk", str(pairs), "--out", str(hit), *options]
    completed = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, preexec_fn=little_room
    )
    assert completed.returncode == 2
    assert "hit.jsonl.part cannot be written (File too large)" in completed.stderr
    assert "finished work is kept" in completed.stderr
    assert "Traceback" not in completed.stderr
    code, _, errors = run(pairs, "--out", hit, *options)
    assert (code, "Resuming after" in errors) == (0, True)
    assert hit.read_bytes() == calm.read_bytes()


def test_parquet_both_ways_gives_the_scores_of_jsonl(tmp_path: Path, texts: list[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = query_rows(texts, 20)
    table, lines = tmp_path / "in.parquet", tmp_path / "in.jsonl.gz"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    lines.write_bytes(gzip.compress(write(tmp_path / "in.jsonl", rows).read_bytes()))
    out_table, out_lines = tmp_path / "out.parquet", tmp_path / "out.jsonl"
    code, errors, _ = run(table, "--out", out_table, "--top-n", "3", "--json")
    assert (code, json.loads(errors)["rows"]) == (0, 20)
    assert run(lines, "--out", out_lines, "--top-n", "3")[0] == 0
    scored_rows = pyarrow.parquet.read_table(out_table).to_pylist()
    assert [{key: value for key, value in row.items() if key != "error"} for row in scored_rows] == read(out_lines)
    for row, result in zip(rows, scored_rows, strict=True):
        assert len(result["results"]) == min(3, len(row["documents"]))
        assert result["id"] == row["id"]


def test_scores_are_those_of_rank_and_score(tmp_path: Path, pairs: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run(pairs, "--out", out, "--keep-fields")[0] == 0
    completed = rerankd("score", str(pairs))
    expected = [json.loads(line) for line in completed.stdout.splitlines()]
    results = read(out)
    assert [row["relevance_score"] for row in results] == [row["relevance_score"] for row in expected]
    assert [row["n"] for row in results] == list(range(100))
    raw = tmp_path / "raw.jsonl"
    assert run(pairs, "--out", raw, "--no-activation")[0] == 0
    assert all(row["relevance_score"] == row["raw_score"] for row in read(raw))


def test_bad_rows(tmp_path: Path, pairs: Path) -> None:
    lines = pairs.read_text().splitlines(keepends=True)
    pairs.write_text("".join([*lines[:70], "nonsense\n", '{"query": "q"}\n', *lines[70:]]))
    out = tmp_path / "out.jsonl"
    code, _, errors = run(pairs, "--out", out, "--chunk-pairs", "16")
    assert code == 2
    assert "pairs.jsonl, line 71: Not JSON" in errors
    assert "--on-error skip" in errors
    code, _, errors = run(pairs, "--out", out, "--chunk-pairs", "16", "--on-error", "skip")
    assert (code, "Resuming after 64 rows" in errors) == (7, True)
    assert "2 rows without a score" in errors
    results = read(out)
    assert len(results) == 102
    assert [row["index"] for row in results if "error" in row] == [70, 71]
    assert [row["line"] for row in read(tmp_path / "out.jsonl.failed.jsonl")] == [71, 72]


def test_a_bar_is_drawn_on_a_terminal(tmp_path: Path, pairs: Path) -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(
        [*PROGRAM, "bulk", pairs, "--out", tmp_path / "out.jsonl", "--chunk-pairs", "16"],
        stdout=subprocess.PIPE,
        stderr=follower,
        env=environment,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert process.communicate()[0] == b""
    os.close(leader)
    assert process.returncode == 0
    assert "pairs/s" in seen.decode()
    assert "left" in seen.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["-", "--out", "out.jsonl"], 2, "Bulk scoring needs files"),
        (["in.jsonl", "--out", "-"], 2, "could not resume"),
        (["in.jsonl", "--out", "out.csv"], 2, "--out-format"),
        (["in.jsonl"], 2, "--out"),
        (["gone.jsonl", "--out", "out.jsonl"], 2, "gone.jsonl cannot be read"),
        (["in.jsonl", "--out", "gone/out.jsonl"], 2, "Check that the folder exists"),
        (["in.jsonl", "--out", "in.jsonl"], 2, "would replace the input"),
        (["in.jsonl", "--out", "out.jsonl", "--model", "./gone"], 3, "does not exist"),
        (["in.jsonl", "--out", "out.jsonl", "--on-error", "ask"], 2, "--on-error"),
    ],
)
def test_exit_codes(tmp_path: Path, arguments: list[str], code: int, sentence: str) -> None:
    write(tmp_path / "in.jsonl", [{"query": "q", "text": "d"}])
    exit_code, output, errors = run(*arguments, folder=tmp_path)
    assert (exit_code, output) == (code, "")
    assert sentence in errors
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl"}
