from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.models.files import load_model
from rerankd.scoring.backend import Backend
from rerankd.scoring.encoder import TruncationOptions
from rerankd.scoring.onnx_backend import OnnxBackend
from rerankd.scoring.parallel import WorkerPool
from tests.faults import ScriptedBackend, scripted_scorer


class TwoWorkers(ScriptedBackend):
    """A backend of two workers, which compute with another backend."""

    workers = 2

    def __init__(self) -> None:
        super().__init__()
        self.single_thread: Backend = ScriptedBackend()  # type: ignore[assignment]


def test_as_many_items_as_workers_run_in_parallel() -> None:
    backend = TwoWorkers()
    both = threading.Barrier(2)

    def compute(used: Backend, item: int) -> int:
        assert used is backend.single_thread
        both.wait(30)  # breaks unless two are inside at once
        return item * 10

    assert list(WorkerPool(backend).map(compute, [3, 1, 2, 4])) == [30, 10, 20, 40]


def test_fewer_parts_run_in_turn_on_all_cores() -> None:
    backend = TwoWorkers()
    assert list(WorkerPool(backend).map(lambda used, item: (used is backend, item), [7])) == [(True, 7)]


def test_without_workers() -> None:
    backend = ScriptedBackend()
    assert list(WorkerPool(backend).map(lambda used, item: (used is backend, item), [1, 2])) == [
        (True, 1),
        (True, 2),
    ]


def test_the_first_failure_is_raised() -> None:
    def compute(used: Backend, item: int) -> int:
        return 1 // item

    with pytest.raises(ZeroDivisionError):
        list(WorkerPool(TwoWorkers()).map(compute, [1, 0, 2]))


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_single_thread_gives_the_same_scores_to_the_last_bit(compiled: dict[str, Path], precision: str) -> None:
    files = load_model(str(compiled[precision]))
    wide, narrow = OnnxBackend(files, threads=2), OnnxBackend(files, threads=1)
    assert (wide.workers, narrow.workers, narrow.single_thread) == (2, 1, None)
    assert wide.single_thread is not None
    scorer = scripted_scorer(ScriptedBackend(), files)
    documents = ["apple " * count for count in (1, 5, 20, 60, 100)]
    pairs = [
        pair for windows in scorer.encoder.encode("which fruit", documents, TruncationOptions(64)) for pair in windows
    ]
    for pair in pairs:
        assert np.array_equal(wide.logits([pair]), wide.single_thread.logits([pair]))


def test_scores_do_not_depend_on_how_many_cores_there_are() -> None:
    pairs = [("苹果手机", f"第{number}台手机 " * number) for number in range(1, 9)]
    one, two = (Reranker("mini", device="cpu", threads=threads) for threads in (1, 2))
    assert np.array_equal(one.score(pairs), two.score(pairs))


def test_a_large_model_is_held_once(compiled: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerankd.scoring.onnx_backend.MAX_DUPLICATED_BYTES", 10)
    assert OnnxBackend(load_model(str(compiled["int8"])), threads=2).single_thread is None


def test_what_has_not_begun_is_left_out_when_it_is_left_early() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def compute(used: Backend, item: int) -> int:
        begun.append(item)
        if item > 1:
            gate.wait(30)
        return item

    results = WorkerPool(TwoWorkers()).map(compute, list(range(1, 50)))
    assert next(results) == 1
    threading.Timer(0.05, gate.set).start()
    results.close()  # type: ignore[attr-defined]  # a generator
    assert len(begun) < 10
    count = len(begun)
    assert list(WorkerPool(TwoWorkers()).map(lambda backend, item: item, [1, 2])) == [1, 2]
    assert len(begun) == count, "nothing is left running"


@pytest.mark.slow
def test_threads_end_with_their_pool() -> None:
    pool = WorkerPool(TwoWorkers())
    seen: set[threading.Thread] = set()

    def compute(used: Backend, item: int) -> int:
        seen.add(threading.current_thread())
        return item

    assert list(pool.map(compute, [1, 2, 3])) == [1, 2, 3]
    assert seen
    del pool
    gc.collect()
    for thread in seen:
        thread.join(30)
        assert not thread.is_alive()


def test_several_callers_get_their_own_results() -> None:
    pool = WorkerPool(TwoWorkers())
    results: dict[int, list[int]] = {}

    def call(number: int) -> None:
        results[number] = list(pool.map(lambda backend, item: item + number, range(200)))

    callers = [threading.Thread(target=call, args=(1000 * number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert results == {1000 * n: [1000 * n + item for item in range(200)] for n in range(4)}
