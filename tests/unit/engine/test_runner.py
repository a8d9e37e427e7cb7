from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rerankd.engine.admission import RateMeter
from rerankd.engine.runner import MIN_STEP_TOKENS, BatchRunner, out_of_memory
from rerankd.errors import ScoringError
from rerankd.scoring.batches import plan_batches
from rerankd.scoring.encoder import EncodedPair
from tests.faults import ScriptedBackend, expected, scripted_scorer


def pair(length: int, token: int = 5) -> EncodedPair:
    return EncodedPair(np.full(length, token, dtype=np.int64), 1, False)


def runner(backend: ScriptedBackend, max_batch_tokens: int = 10_000) -> BatchRunner:
    return BatchRunner(scripted_scorer(backend), max_batch_tokens=max_batch_tokens, step_seconds=0.05, rate=RateMeter())


def run(batch_runner: BatchRunner, pairs: list[EncodedPair]) -> list[Any]:
    """Return outputs in the order of the pairs, computed in batches within the runner's limits."""
    batches = plan_batches([len(one) for one in pairs], batch_runner.limits)
    outputs = batch_runner.run([[pairs[position] for position in batch] for batch in batches])
    by_position = {
        position: output
        for batch, batch_outputs in zip(batches, outputs, strict=True)
        for position, output in zip(batch, batch_outputs, strict=True)
    }
    return [by_position[position] for position in range(len(pairs))]


def test_only_the_pair_that_fails_is_blamed() -> None:
    backend = ScriptedBackend()
    backend.poison = 77
    pairs = [pair(10), pair(20, 77), pair(30), pair(15)]
    outcomes = run(runner(backend), pairs)
    assert [outcomes[n] for n in (0, 2, 3)] == pytest.approx([expected(pairs[n]) for n in (0, 2, 3)])
    assert isinstance(outcomes[1], ScoringError)
    assert "secret" not in str(outcomes[1])


def test_when_all_fail_all_are_blamed() -> None:
    backend = ScriptedBackend()
    backend.always = True
    assert all(isinstance(outcome, ScoringError) for outcome in run(runner(backend), [pair(3)] * 5))


def test_a_score_that_is_no_number_fails_its_own_pair() -> None:
    backend = ScriptedBackend()
    backend.nan = 9
    outcomes = run(runner(backend), [pair(4), pair(4, 9)])
    assert isinstance(outcomes[0], float)
    assert isinstance(outcomes[1], ScoringError)


def test_out_of_memory_halves_the_budget_and_everything_is_still_scored() -> None:
    backend = ScriptedBackend()
    backend.fits = 100
    batch_runner = runner(backend)
    pairs = [pair(30) for _ in range(20)]
    assert run(batch_runner, pairs) == pytest.approx([expected(p) for p in pairs])
    assert backend.released >= 1
    assert batch_runner.budget <= 150
    backend.calls.clear()
    assert all(isinstance(outcome, float) for outcome in run(batch_runner, pairs))
    assert max(map(sum, backend.calls)) <= 150


def test_a_single_pair_that_does_not_fit_is_told_so() -> None:
    backend = ScriptedBackend()
    backend.fits = 100
    (outcome,) = run(runner(backend), [pair(200)])
    assert isinstance(outcome, ScoringError)
    assert "does not fit into memory" in str(outcome)
    assert len(backend.calls) == 2  # tried again after memory was given back


def test_the_budget_grows_back() -> None:
    backend = ScriptedBackend()
    backend.fits = 3000
    batch_runner = runner(backend, 4000)
    run(batch_runner, [pair(1000) for _ in range(4)])
    low = batch_runner.budget
    backend.fits = None
    for _ in range(200):
        run(batch_runner, [pair(10)])
    assert batch_runner.budget > low


def test_the_budget_aims_at_the_time_of_a_batch() -> None:
    rate = RateMeter()
    batch_runner = BatchRunner(scripted_scorer(ScriptedBackend()), max_batch_tokens=5000, step_seconds=0.1, rate=rate)
    rate.observe(20_000, 1.0)
    assert batch_runner.budget == 2000
    rate.observe(10**9, 10.0)
    assert batch_runner.budget == 5000
    rate.observe(1, 100.0)
    assert batch_runner.budget == MIN_STEP_TOKENS


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory."), True),
        (
            RuntimeError("RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"),
            True,
        ),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_out_of_memory(error: Exception, memory: bool) -> None:
    assert out_of_memory(error) is memory


def test_rate_follows_recent_batches() -> None:
    rate = RateMeter()
    rate.observe(0, 0.0)
    assert rate.tokens_per_second == 0.0
    rate.observe(100, 1.0)
    assert rate.tokens_per_second == 100
    for _ in range(40):
        rate.observe(10, 0.2)
    assert math.isclose(rate.tokens_per_second, 50, rel_tol=0.2)
