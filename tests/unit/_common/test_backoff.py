from __future__ import annotations

import itertools

import hypothesis
from hypothesis import strategies

from rerankd._common.backoff import Backoff


def test_pauses_double_up_to_the_longest() -> None:
    assert list(Backoff(attempts=6, first=1, longest=5, jitter=0).pauses()) == [1, 2, 4, 5, 5]


def test_a_single_attempt_has_no_pause() -> None:
    assert list(Backoff(attempts=1).pauses()) == []


def test_without_a_limit_pauses_do_not_end_and_stay_finite() -> None:
    pauses = list(itertools.islice(Backoff(attempts=None, first=1, longest=60, jitter=0).pauses(), 2000))
    assert pauses[-1] == 60


@hypothesis.given(strategies.integers(1, 100), strategies.floats(0, 1), strategies.floats(0, 100))
def test_jitter_only_shortens_and_retry_after_holds(failures: int, jitter: float, retry_after: float) -> None:
    backoff = Backoff(first=0.5, longest=30, jitter=jitter)
    full = Backoff(first=0.5, longest=30, jitter=0).pause(failures)
    pause = backoff.pause(failures)
    assert full * (1 - jitter) <= pause <= full
    assert backoff.pause(failures, retry_after) >= retry_after
