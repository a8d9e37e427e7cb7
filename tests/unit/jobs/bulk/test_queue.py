from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from rerankd._common.backoff import Backoff
from rerankd.errors import OverloadedError, RerankdError, ScoringError, UnavailableError
from rerankd.jobs.bulk.chunk import Chunk, RowError
from rerankd.jobs.bulk.queue import QueueExecutor
from rerankd.jobs.queue import JobQueue
from rerankd.jobs.sqlite_store import SqliteStore

CHUNK = Chunk(0, (("q", ("d", "e")),))


@contextmanager
def worked(folder: Path, answer: Callable[[int, Any], dict[str, Any]]) -> Iterator[JobQueue]:
    """Return a queue whose parts get the rows that `answer` makes, from the number of the part and the work."""
    store, new, numbers = SqliteStore(folder / "jobs.sqlite"), threading.Semaphore(0), iter(range(1000))
    ended = threading.Event()

    def work() -> None:
        while new.acquire() and not ended.is_set():
            claim, number = store.claim(), next(numbers)
            assert claim
            rows = [answer(number, piece) for piece in orjson.loads(claim.payload)]
            failed = sum("error" in row for row in rows)
            store.finish(claim, orjson.dumps(rows), len(rows) - failed, failed)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield JobQueue(store, new.release)
    finally:
        ended.set()
        new.release()
        thread.join()
        store.close()


def scored(piece: Any, version: str = "1") -> dict[str, Any]:
    usage = {"pairs": 1, "tokens": 3, "truncated": 0}
    scores = [[float(len(text)) for text in documents] for _, documents in piece["groups"]]
    return {"model": "mini", "version": version, "policy": "", "scores": scores, "usage": usage}


def outcome(executor: QueueExecutor, chunk: Chunk = CHUNK) -> list[Any]:
    """Return the results of a run, or the error that ends it; a run that does not end is an error too."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.extend(executor.run(iter([chunk])))
        except RerankdError as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    return results


def test_chunks_are_jobs_that_are_forgotten_when_they_are_fetched(tmp_path: Path) -> None:
    with worked(tmp_path, lambda number, piece: scored(piece)) as queue:
        (result,) = outcome(QueueExecutor(queue))
        assert (result.outcomes, result.tokens) == (((1.0, 1.0),), 3)
        assert queue.store.jobs() == []


def test_pairs_of_one_query_travel_together(tmp_path: Path) -> None:
    seen: list[Any] = []

    def answer(number: int, piece: Any) -> dict[str, Any]:
        seen.append(piece["groups"])
        return scored(piece)

    chunk = Chunk(0, (("q", ("a",)), ("r", ("bb", "ccc")), ("q", ()), ("q", ("a", "dddd"))))
    with worked(tmp_path, answer) as queue:
        (result,) = outcome(QueueExecutor(queue), chunk)
    assert seen[1:] == [[["q", ["a", "a", "dddd"]], ["r", ["bb", "ccc"]]]]
    assert result.outcomes == ((1.0,), (2.0, 3.0), (), (1.0, 4.0))


def test_rows_of_a_chunk_that_failed_are_tried_alone(tmp_path: Path) -> None:
    def answer(number: int, piece: Any) -> dict[str, Any]:
        failing = any("bad" in documents for _, documents in piece["groups"])
        return {"error": {"code": "scoring_failed", "message": "No."}} if failing else scored(piece)

    chunk = Chunk(0, (("q", ("a",)), ("q", ("bad",)), ("q", ("ccc",))))
    with worked(tmp_path, answer) as queue:
        (result,) = outcome(QueueExecutor(queue), chunk)
    assert result.outcomes == ((1.0,), RowError("scoring_failed", "No."), (3.0,))


def test_a_model_that_changes_meanwhile_ends_the_run(tmp_path: Path) -> None:
    with worked(tmp_path, lambda number, piece: scored(piece, version=str(number))) as queue:
        (error,) = outcome(QueueExecutor(queue))
        assert isinstance(error, ScoringError)
        assert "changed during the run" in error.message


def test_what_cannot_be_handed_in_again_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with worked(tmp_path, lambda number, piece: scored(piece)) as queue:
        executor = QueueExecutor(queue)

        def refused(job: str) -> bool:
            raise RerankdError("No.")

        monkeypatch.setattr(queue.store, "delete", refused)
        (error,) = outcome(executor)
        assert error.message == "No."


def test_a_queue_that_is_away_for_a_while_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with worked(tmp_path, lambda number, piece: scored(piece)) as queue:
        executor = QueueExecutor(queue, backoff=Backoff(attempts=None, first=0.0))
        results, failures = queue.store.results, iter([UnavailableError("Redis is away."), OverloadedError("Full.")])

        def unreliable(job: str) -> Any:
            if error := next(failures, None):
                raise error
            return results(job)

        monkeypatch.setattr(queue.store, "results", unreliable)
        (result,) = outcome(executor)
    assert result.outcomes == ((1.0, 1.0),)


def test_a_queue_that_stays_away_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with worked(tmp_path, lambda number, piece: scored(piece)) as queue:
        executor = QueueExecutor(queue, patience=0.0, backoff=Backoff(attempts=None, first=0.0))

        def away(job: str) -> Any:
            raise UnavailableError("Redis is away.")

        monkeypatch.setattr(queue.store, "results", away)
        (error,) = outcome(executor)
    assert isinstance(error, UnavailableError)
