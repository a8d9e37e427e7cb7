from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from rerankd import InvalidRequestError, Reranker

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]
DOCUMENTS = ["pandas eat bamboo every day " * 80] * 12


def _rank(reranker: Reranker, results: Any) -> None:
    results.put(len(reranker.rank("what do pandas eat", [f"{n} {text}" for n, text in enumerate(DOCUMENTS)], None)))


def test_a_forked_process_goes_on_with_the_model(bert: Path) -> None:
    reranker = Reranker(str(bert), backend="torch", device="cpu", threads=4)
    reranker.rank("what do pandas eat", [f"{n} {text}" for n, text in enumerate(DOCUMENTS)])
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_rank, args=(reranker, results))
    process.start()
    try:
        assert results.get(timeout=120) == len(DOCUMENTS)
    finally:
        process.kill()
        process.join()


def test_a_forked_process_cannot_use_a_gpu(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker = Reranker(str(bert), backend="torch", device="cpu")
    backend: Any = reranker._scorer.backend
    monkeypatch.setattr(backend, "device", "cuda")
    monkeypatch.setattr(backend, "_process", -1)
    with pytest.raises(InvalidRequestError, match=r'was forked .* Load the model in this process, .*"spawn"'):
        reranker.rank("q", ["d"])
