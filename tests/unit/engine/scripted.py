"""Requests to an engine over a scripted backend, and what its observer heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rerankd.engine.engine import Engine
from rerankd.engine.observer import EngineObserver
from rerankd.engine.request import ScoreRequest, ScoreResult
from rerankd.scoring.encoder import TruncationOptions
from tests.faults import ScriptedBackend, expected, scripted_scorer

TRUNCATION = TruncationOptions(64)
SECONDS = 20


class Heard(EngineObserver):
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.batches: list[tuple[int, int, int]] = []
        self._encoded = threading.Semaphore(0)

    def encoded(self, model: str, seconds: float) -> None:
        self._encoded.release()

    def until_encoded(self, slices: int) -> None:
        for _ in range(slices):
            assert self._encoded.acquire(timeout=SECONDS)

    def dropped(self, model: str, pairs: int, reason: str) -> None:
        self.events.append(("dropped", pairs, reason))

    def failed(self, model: str, kind: str) -> None:
        self.events.append(("failed", kind))

    def refused(self, model: str, reason: str) -> None:
        self.events.append(("refused", reason))

    def batch(self, model: str, pairs: int, tokens: int, padded: int, seconds: float) -> None:
        self.events.append(("batch", pairs))
        self.batches.append((pairs, tokens, padded))


def request(query: str, *documents: str, **options: Any) -> ScoreRequest:
    return ScoreRequest([(query, documents)], TRUNCATION, **options)


def raw(scored: ScoreResult) -> list[float]:
    return [score.raw_score for group in scored.scores for score in group]


def direct(query: str, *documents: str) -> list[float]:
    encoder = scripted_scorer(ScriptedBackend()).encoder
    return [expected(windows[0]) for windows in encoder.encode(query, documents, TRUNCATION)]


def until(backend: ScriptedBackend, calls: int) -> None:
    """Wait until so many calls have begun."""
    for _ in range(calls):
        assert backend.entered.acquire(timeout=SECONDS)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a state that nothing announces."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def submitted(engine: Engine, count: int, *documents: str) -> None:
    for n in range(count):
        engine.submit(request(f"q{n}", *documents))


def error_of(future: Future[ScoreResult]) -> BaseException:
    error = future.exception(SECONDS)
    assert error is not None
    return error
