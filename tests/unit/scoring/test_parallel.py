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
    """Two lanes, which are a backend of their own."""

    workers = 2

    def __init__(self) -> None:
        super().__init__()
        self.single_thread: Backend = ScriptedBackend()  # type: ignore[assignment]


def test_as_many_parts_as_lanes_run_side_by_side() -> None:
    backend = TwoWorkers()
    both = threading.Barrier(2)

    def compute(given: Backend, part: int) -> int:
        assert given is backend.single_thread
        both.wait(30)  # breaks unless two are inside at once
        return part * 10

    assert list(WorkerPool(backend).each(compute, [3, 1, 2, 4])) == [30, 10, 20, 40]


def test_fewer_parts_run_in_turn_on_all_cores() -> None:
    backend = TwoWorkers()
    assert list(WorkerPool(backend).each(lambda given, part: (given is backend, part), [7])) == [(True, 7)]


def test_without_lanes() -> None:
    backend = ScriptedBackend()
    assert list(WorkerPool(backend).each(lambda given, part: (given is backend, part), [1, 2])) == [
        (True, 1),
        (True, 2),
    ]


def test_the_first_failure_is_raised() -> None:
    def compute(given: Backend, part: int) -> int:
        return 1 // part

    with pytest.raises(ZeroDivisionError):
        list(WorkerPool(TwoWorkers()).each(compute, [1, 0, 2]))


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_lane_gives_the_same_scores_to_the_last_bit(compiled: dict[str, Path], precision: str) -> None:
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

    def compute(given: Backend, part: int) -> int:
        begun.append(part)
        if part > 1:
            gate.wait(30)
        return part

    results = WorkerPool(TwoWorkers()).each(compute, list(range(1, 50)))
    assert next(results) == 1
    threading.Timer(0.05, gate.set).start()
    results.close()  # type: ignore[attr-defined]  # a generator
    assert len(begun) < 10
    count = len(begun)
    assert list(WorkerPool(TwoWorkers()).each(lambda given, part: part, [1, 2])) == [1, 2]
    assert len(begun) == count, "nothing is left running"


def test_threads_end_with_their_lanes() -> None:
    pool = WorkerPool(TwoWorkers())
    seen: set[threading.Thread] = set()

    def compute(given: Backend, part: int) -> int:
        seen.add(threading.current_thread())
        return part

    assert list(pool.map(compute, [1, 2, 3])) == [1, 2, 3]
    assert seen
    del pool
    gc.collect()
    for thread in seen:
        thread.join(30)
        assert not thread.is_alive()


def test_several_callers_get_their_own_results() -> None:
    pool = WorkerPool(TwoWorkers())
    found: dict[int, list[int]] = {}

    def call(number: int) -> None:
        found[number] = list(pool.map(lambda given, part: part + number, range(200)))

    callers = [threading.Thread(target=call, args=(1000 * number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert found == {1000 * n: [1000 * n + part for part in range(200)] for n in range(4)}
