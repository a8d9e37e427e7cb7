"""An engine whose backend gives vectors: batches, fairness, admission and cache are those of scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rerankd.engine.cache import MemoryCache
from rerankd.engine.engine import Engine
from rerankd.engine.request import ScoreRequest, ScoreResult
from rerankd.errors import InvalidRequestError, OverloadedError, ScoringError
from rerankd.scoring.encoder import EncodedPair, TruncationOptions
from rerankd.scoring.text_vector import TextVector, to_vector
from tests.faults import ScriptedBackend, scripted_scorer, token_id
from tests.unit.engine.scripted import SECONDS, Heard, until


class VectorBackend(ScriptedBackend):
    """The logit of a text and its length, as a vector."""

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        logits = super().logits(pairs)
        return np.stack([logits, np.array([len(pair) for pair in pairs], np.float32)], axis=1)


@pytest.fixture
def backend() -> VectorBackend:
    return VectorBackend()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def engine(backend: VectorBackend, heard: Heard) -> Iterator[Engine]:
    made = Engine("e", "v1", scripted_scorer(backend), join=to_vector, cache=MemoryCache(100), observer=heard)
    made.admission.rate.observe(10**6, 1.0)
    yield made
    backend.gate.set()
    made.close(1.0)


def request(*texts: str, **options: Any) -> ScoreRequest:
    return ScoreRequest([("", texts)], TruncationOptions(64), **options)


def vectors(result: ScoreResult) -> list[list[float]]:
    (texts,) = result.scores
    return [text.vector.tolist() for text in texts if isinstance(text, TextVector)]


def test_texts_of_two_tenants_share_a_batch(engine: Engine, backend: VectorBackend, heard: Heard) -> None:
    backend.gate.clear()
    first = engine.submit(request("z", tenant="a", cache=False))
    until(backend, 1)
    # The next step is planned with the first of them alone, or with more; the one after it has the rest.
    waiting = [engine.submit(request(f"of {tenant}", tenant=tenant)) for tenant in "wxyz"]
    heard.until_encoded(5)
    backend.gate.set()
    results = [sent.future.result(SECONDS) for sent in (first, *waiting)]
    assert [len(vectors(result)) for result in results] == [1] * 5
    assert max(pairs for pairs, _, _ in heard.batches) >= 2


def test_a_vector_is_cached_and_computed_once(engine: Engine, backend: VectorBackend) -> None:
    first = engine.submit(request("a", "b", "a")).future.result(SECONDS)
    again = engine.submit(request("b", "a")).future.result(SECONDS)
    assert vectors(first) == [vectors(again)[1], vectors(again)[0], vectors(again)[1]]
    assert (again.cached, again.computed_tokens) == (2, 0)
    assert sum(len(call) for call in backend.calls) == 2


def test_a_text_without_a_finite_vector_fails_alone(engine: Engine, backend: VectorBackend) -> None:
    backend.nan = token_id("panda")
    bad, good = engine.submit(request("panda")), engine.submit(request("bamboo"))
    with pytest.raises(ScoringError, match="not finite"):
        bad.future.result(SECONDS)
    assert len(vectors(good.future.result(SECONDS))) == 1


def test_a_text_that_must_not_be_cut_is_refused_by_its_position(engine: Engine) -> None:
    sent = engine.submit(request("short", "word " * 500, allow_truncation=False))
    with pytest.raises(InvalidRequestError, match=r"^Text 1 is longer than 64 tokens"):
        sent.future.result(SECONDS)


def test_a_full_queue_refuses_texts(engine: Engine, backend: VectorBackend) -> None:
    engine.admission.rate.tokens_per_second = 1.0
    backend.gate.clear()
    for letter in "ab":
        engine.submit(request(f"{letter} word " * 500))
    with pytest.raises(OverloadedError):
        engine.submit(request("word " * 500))
