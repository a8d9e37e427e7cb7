"""Bulk runs on real models: ended anywhere they give the same bytes, and memory does not grow with the input."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rerankd.jobs.bulk.local import LocalExecutor
from rerankd.jobs.bulk.run import BulkProgress, BulkRun, run_bulk
from rerankd.settings import load_settings
from rerankd.wiring.bulk import open_scorer
from tests.unit.jobs.bulk.fakes import Rows, write_rows


class _Ended(BaseException):
    """The program was ended."""


def stop_after(rows: int) -> Callable[[BulkProgress], None]:
    def on_progress(progress: BulkProgress) -> None:
        if progress.rows >= rows:
            raise _Ended

    return on_progress


def repeating(pairs: list[tuple[str, str]]) -> Rows:
    """Rows of which many hold pairs that were there before, in other company."""
    draw = random.Random(2)
    short = [(query[:300], document[:600]) for query, document in pairs]
    return [{"query": query, "document": document} for query, document in draw.choices(short, k=120)]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_ended_between_any_chunks_it_gives_the_same_bytes(
    tmp_path: Path, compiled: dict[str, Path], mixed_pairs: list[tuple[str, str]], precision: str
) -> None:
    source = write_rows(tmp_path / "in.jsonl", repeating(mixed_pairs))
    settings = load_settings(model=str(compiled[precision]), max_length=128)
    calm = BulkRun(source, tmp_path / "calm.jsonl", chunk_pairs=12)
    run_bulk(calm, LocalExecutor(open_scorer(settings)))
    hit = BulkRun(source, tmp_path / "hit.jsonl", chunk_pairs=12)
    for rows in (12, 36, 84):
        with pytest.raises(_Ended):
            run_bulk(hit, LocalExecutor(open_scorer(settings)), stop_after(rows))
    run_bulk(hit, LocalExecutor(open_scorer(settings)))
    assert hit.out.read_bytes() == calm.out.read_bytes()


PROGRAM = """
import sys
from pathlib import Path
from rerankd.jobs.bulk.run import BulkRun, run_bulk
from tests.unit.jobs.bulk.fakes import FakeExecutor

executor = FakeExecutor()
class Forgetful(list):
    def append(self, chunk): pass
executor.seen = Forgetful()
source, out = map(Path, sys.argv[1:])
print(run_bulk(BulkRun(source, out), executor).rows)
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:5] == "VmHWM"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the peak memory of a process")
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, ending: str) -> None:
    peaks = []
    for rows in (20_000, 120_000):
        source = tmp_path / "in.jsonl"
        with source.open("w") as file:
            file.writelines(f'{{"query": "q{n}", "document": "d{n}"}}\n' for n in range(rows))
        command: list[str | Path] = [sys.executable, "-c", PROGRAM, source, tmp_path / f"{rows}.{ending}"]
        root = Path(__file__).parents[2]
        completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280, cwd=root)
        written, peak = map(int, completed.stdout.split())
        assert written == rows
        peaks.append(peak / 1024)
    assert peaks[1] - peaks[0] < 20, f"{peaks[0]:.0f} MB for 20,000 pairs, {peaks[1]:.0f} MB for 120,000"
