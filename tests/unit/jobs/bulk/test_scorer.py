from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from rerankd import Reranker
from rerankd.engine.request import QueryGroup
from rerankd.jobs.bulk.scorer import PairScorer
from rerankd.models.files import load_model
from rerankd.scoring.encoder import EncodedPair, PairEncoder, TruncationOptions
from rerankd.scoring.scorer import Scorer
from rerankd.settings import load_settings
from rerankd.wiring.bulk import open_scorer

pytestmark = pytest.mark.slow


class CountingBackend:
    """Says how many sequences came; a sequence's length is its logit."""

    name, device, precision = "fake", "cpu", "int8"
    max_batch_tokens: int | None = None
    max_padding: float | None = None
    workers = 1
    reason = ""
    single_thread = None

    def __init__(self, max_batch_pairs: int | None) -> None:
        self.max_batch_pairs = max_batch_pairs
        self.seen = 0

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        self.seen += len(pairs)
        return np.array([len(pair) for pair in pairs], dtype=np.float32)

    def release(self) -> None:
        pass


def counting(max_batch_pairs: int | None) -> tuple[PairScorer, CountingBackend]:
    files = load_model("mini")
    backend = CountingBackend(max_batch_pairs)
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    scorer = Scorer(encoder, backend)
    return PairScorer(scorer, TruncationOptions(64), model="m", version="1", max_batch_tokens=512), backend


GROUPS: list[QueryGroup] = [("q", ("a", "b", "a")), ("r", ()), ("q", ("b",)), ("r", ("a",))]


@pytest.mark.parametrize(("max_batch_pairs", "again"), [(1, 0), (None, 3)])
def test_a_pair_is_scored_once(max_batch_pairs: int | None, again: int) -> None:
    scorer, backend = counting(max_batch_pairs)
    first = scorer.score(GROUPS)
    assert [len(scores) for scores in first] == [3, 0, 1, 1]
    assert first[0][0] == first[0][2]
    assert first[0][1] == first[2][0]
    assert backend.seen == 3
    assert scorer.score(GROUPS) == first
    assert backend.seen - 3 == again, "what is beside a pair must stay the same where it shows in the score"


def test_what_shows_in_scores_is_in_the_identity() -> None:
    assert counting(1)[0].identity == {"model": "m", "version": "1", "policy": TruncationOptions(64).identity}
    assert counting(None)[0].identity["max_batch_tokens"] == 512


def test_the_work_can_be_stopped_between_batches() -> None:
    scorer, backend = counting(1)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scorer.score(GROUPS, stop)
    assert backend.seen == 1


@pytest.mark.slow
def test_scores_are_those_of_the_library(mixed_pairs: list[tuple[str, str]]) -> None:
    pairs = mixed_pairs[:60]
    settings = load_settings(max_length=128, long_documents="chunk", max_chunks=2)
    scored = open_scorer(settings).score([(query, (document,)) for query, document in pairs])
    library = Reranker(max_length=128, long_documents="chunk", max_chunks=2)
    assert [scores[0].raw_score for scores in scored] == library.score(pairs, activation="none").tolist()
    callback: Callable[[], None] = lambda: None  # noqa: E731
    assert open_scorer(settings).score([("q", ("d",))], callback)[0][0].tokens > 0
