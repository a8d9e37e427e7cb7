from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankd.errors import InvalidInputFileError, InvalidRequestError, RerankdError, ScoringError
from rerankd.jobs.bulk import output
from rerankd.jobs.bulk.chunk import ChunkResult
from rerankd.jobs.bulk.run import BulkProgress, BulkRun, run_bulk
from tests.unit.jobs.bulk.fakes import Crash, FakeExecutor, dying, pair_rows, query_rows, read_rows, write_rows

SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=40)


@pytest.fixture
def job(tmp_path: Path) -> BulkRun:
    return BulkRun(write_rows(tmp_path / "in.jsonl", pair_rows(100)), tmp_path / "out.jsonl", chunk_pairs=8)


def names(job: BulkRun) -> set[str]:
    return {path.name for path in job.out.parent.iterdir()} - {job.source.name}


def test_one_line_per_row_in_order_and_nothing_else(job: BulkRun) -> None:
    reports: list[BulkProgress] = []
    executor = FakeExecutor()
    total = run_bulk(job, executor, reports.append)
    rows = read_rows(job.out)
    assert [row["id"] for row in rows] == [f"p{n}" for n in range(100)]
    assert rows[0].keys() == {"index", "id", "relevance_score", "raw_score"}
    assert names(job) == {"out.jsonl"}
    assert (total.rows, total.pairs, total.unscored, total.tokens) == (100, 100, 0, 100)
    assert [report.rows for report in reports] == [0, *range(8, 100, 8), 100]
    assert reports[-1].share == 1.0
    assert [chunk.number for chunk in executor.seen] == list(range(13))


def finished(job: BulkRun, crashes: list[int]) -> bytes:
    """Return the output of a run that died that often, each time after that many changes to files."""
    paths = output.OutputPaths(job.out)
    for after in crashes:
        if not _named(paths):
            with contextlib.suppress(Crash), dying(after):
                run_bulk(job, FakeExecutor())
    if not _named(paths):
        run_bulk(job, FakeExecutor(window=1))
        assert not paths.lock.exists()
    assert names(job) <= {path.name for path in (paths.out, paths.failed, paths.lock)}
    return job.out.read_bytes()


def _named(paths: output.OutputPaths) -> bool:
    return paths.out.exists() and not paths.journal.exists()


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    sizes=SIZES,
    bad=st.sets(st.integers(0, 40)),
    chunk_pairs=st.integers(1, 16),
    seconds=st.sampled_from([0.0, float("inf")]),
    crashes=st.lists(st.integers(0, 60), max_size=5),
    ending=st.sampled_from(["jsonl", "parquet"]),
)
def test_any_crash_anywhere_leaves_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    bad: set[int],
    chunk_pairs: int,
    seconds: float,
    crashes: list[int],
    ending: str,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    rows: list[Any] = [{} if n in bad else row for n, row in enumerate(query_rows(sizes))]
    source = write_rows(folder / "in.jsonl", rows)
    if all(n in bad for n in range(len(sizes))):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "CHECKPOINT_SECONDS", seconds)
        patch.setattr(os, "fsync", lambda descriptor: None)  # a process dies here; its disk does not
        outputs = []
        for name, points in (("calm", []), ("hit", crashes)):
            (folder / name).mkdir()
            job = BulkRun(
                source, folder / name / f"out.{ending}", on_error="skip", chunk_pairs=chunk_pairs, keep_fields=True
            )
            content = finished(job, points)
            failed = output.OutputPaths(job.out).failed
            outputs.append((content, failed.read_bytes() if failed.exists() else b""))
        assert outputs[0] == outputs[1]


def test_a_run_that_was_named_and_not_tidied_is_done(job: BulkRun) -> None:
    run_bulk(job, FakeExecutor())
    expected = job.out.read_bytes()
    job.out.unlink()
    changes = 0
    while not job.out.exists():
        changes += 1
        with contextlib.suppress(Crash), dying(changes):
            run_bulk(replace(job, restart=True), FakeExecutor())
    assert "out.jsonl.journal" in names(job)
    executor = FakeExecutor()
    assert run_bulk(job, executor).pairs == 100
    assert executor.seen == []
    assert job.out.read_bytes() == expected
    assert names(job) == {"out.jsonl"}


def test_an_output_is_not_written_over(job: BulkRun) -> None:
    run_bulk(job, FakeExecutor())
    with pytest.raises(InvalidRequestError, match="exists already"):
        run_bulk(job, FakeExecutor())
    assert run_bulk(replace(job, restart=True), FakeExecutor()).pairs == 100


def interrupted(job: BulkRun, dies: int = 5) -> None:
    with pytest.raises(RerankdError, match="The broker is gone"):
        run_bulk(job, FakeExecutor(dies=dies))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"top_n": 3}, "top_n"),
        ({"activation": "none"}, "activation"),
        ({"keep_fields": True}, "keep_fields"),
        ({"chunk_pairs": 9}, "chunk_pairs"),
    ],
)
def test_another_run_does_not_go_on(job: BulkRun, change: dict[str, Any], name: str) -> None:
    interrupted(job)
    with pytest.raises(InvalidRequestError, match=rf"started with a different {name}\..*--restart"):
        run_bulk(replace(job, **change), FakeExecutor())
    other = FakeExecutor()
    other.identity = {**other.identity, "version": "2"}
    with pytest.raises(InvalidRequestError, match="a different version"):
        run_bulk(job, other)
    executor = FakeExecutor()
    run_bulk(job, executor)
    assert executor.seen[0].number == 5


def test_an_input_that_changed_behind_the_place_is_gone_on_with(job: BulkRun) -> None:
    interrupted(job)
    with job.source.open("a") as file:
        file.write('{"query": "new", "text": "row"}\n')
    executor = FakeExecutor()
    assert run_bulk(job, executor).rows == 101
    assert executor.seen[0].number == 5
    job.out.unlink()
    interrupted(job)
    job.source.write_text(job.source.read_text().replace('"p3"', '"p?"', 1))
    with pytest.raises(InvalidRequestError, match="started with a different input"):
        run_bulk(job, FakeExecutor())


def test_a_bad_row_ends_the_run_and_can_be_mended(job: BulkRun) -> None:
    lines = job.source.read_text().splitlines(keepends=True)
    job.source.write_text("".join([*lines[:50], '{"query": ""}\n', *lines[51:]]))
    with pytest.raises(InvalidInputFileError, match=r"in\.jsonl, line 51: .*--on-error skip") as caught:
        run_bulk(job, FakeExecutor())
    assert "finished work is kept" in str(caught.value)
    job.source.write_text("".join(lines))
    executor = FakeExecutor()
    run_bulk(job, executor)
    assert executor.seen[0].number == 6
    mended = job.out.read_bytes()
    run_bulk(replace(job, restart=True), FakeExecutor())
    assert job.out.read_bytes() == mended


def test_a_limit_that_ended_a_run_can_be_raised(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", query_rows([3, 3, 9, 1]))
    job = BulkRun(source, tmp_path / "out.jsonl", chunk_pairs=4, max_documents=5)
    with pytest.raises(InvalidInputFileError, match=r"line 3: 9 documents, more than 5\. Raise it"):
        run_bulk(job, FakeExecutor())
    executor = FakeExecutor()
    assert run_bulk(replace(job, max_documents=9), executor).pairs == 16
    assert executor.seen[0].number == 1


def test_going_past_bad_rows_is_decided_at_any_time(job: BulkRun) -> None:
    lines = job.source.read_text().splitlines(keepends=True)
    job.source.write_text("".join([*lines[:50], "nonsense\n", *lines[51:]]))
    with pytest.raises(InvalidInputFileError, match="line 51: Not JSON"):
        run_bulk(job, FakeExecutor())
    assert run_bulk(replace(job, on_error="skip"), FakeExecutor()).unscored == 1
    assert read_rows(job.out)[50] == {"index": 50, "error": read_rows(output.OutputPaths(job.out).failed)[0]["error"]}
    assert names(job) == {"out.jsonl", "out.jsonl.failed.jsonl"}


def test_rows_that_cannot_be_scored_are_set_aside(tmp_path: Path) -> None:
    rows = query_rows([3, 2, 4, 1])
    job = BulkRun(write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", chunk_pairs=4)
    total = run_bulk(job, FakeExecutor(refused=frozenset({"d3"})))
    assert (total.rows, total.pairs, total.unscored) == (4, 6, 1)
    assert [row["index"] for row in read_rows(job.out) if "error" in row] == [2]


def test_a_model_that_scores_nothing_ends_the_run_and_nothing_of_it_stays(job: BulkRun) -> None:
    broken = FakeExecutor(refused=frozenset(f"d{n}" for n in range(7)))
    with pytest.raises(ScoringError, match="3 chunks in a row"):
        run_bulk(job, broken)
    executor = FakeExecutor()
    assert run_bulk(job, executor).unscored == 0
    assert executor.seen[0].number == 0


def test_an_answer_for_another_chunk_is_not_written(job: BulkRun) -> None:
    class Confused(FakeExecutor):
        def run(self, chunks: Any) -> Any:
            return (ChunkResult(result.number + 1, result.outcomes) for result in super().run(chunks))

    with pytest.raises(ScoringError, match="returned chunk 1 for chunk 0"):
        run_bulk(job, Confused())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"out": Path("out.csv")}, "--out-format"),
        ({"source": Path("in.txt")}, "--format"),
        ({"out": Path("out.jsonl.gz")}, "cannot be gzipped"),
        ({"activation": "softmax"}, "softmax"),
    ],
)
def test_jobs_that_make_no_sense(job: BulkRun, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequestError, match=sentence):
        run_bulk(replace(job, **change), FakeExecutor())
    with pytest.raises(InvalidRequestError, match="replace the input"):
        run_bulk(replace(job, out=job.source), FakeExecutor())


def test_what_is_in_the_way_is_a_sentence(job: BulkRun) -> None:
    paths = output.OutputPaths(job.out)
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        run_bulk(replace(job, out=job.out.parent / "gone" / "out.jsonl"), FakeExecutor())
    paths.part.write_text("mine")
    with pytest.raises(InvalidRequestError, match=r"out\.jsonl\.part exists already"):
        run_bulk(job, FakeExecutor())
    paths.part.unlink()
    interrupted(job)
    os.truncate(paths.part, 10)
    with pytest.raises(InvalidRequestError, match=r"shorter .10 bytes.*--restart"):
        run_bulk(job, FakeExecutor())
    paths.part.unlink()
    with pytest.raises(InvalidRequestError, match=r"is missing.*--restart"):
        run_bulk(job, FakeExecutor())
    run_bulk(replace(job, restart=True), FakeExecutor())
    job.out.unlink()
    job.out.mkdir()
    with pytest.raises(InvalidRequestError, match="is a folder"):
        run_bulk(replace(job, restart=True), FakeExecutor())


def test_an_empty_input_gives_an_empty_output(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("\n")
    for ending in ("jsonl", "parquet"):
        out = tmp_path / f"out.{ending}"
        assert run_bulk(BulkRun(source, out), FakeExecutor()).rows == 0
        assert out.exists()
