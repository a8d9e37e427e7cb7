from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rerankd.experiments import feedback_metrics as module
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.feedback_metrics import FeedbackAggregator, merge_sums
from rerankd.experiments.sequential_tests import Sums
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import add_feedback
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document, PairScore, RankingRecord, RerankRequest

ONE = Experiment("e", "canary", "mini", "other", created=time.time() - 60, id=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield made
    made.close()


def write(store: TraceStore, name: str, variant: str, teams: str = "", experiment: str = "e") -> None:
    documents = [Document(f"text {position}", f"d{position}") for position in range(3)]
    scores = [PairScore(float(position), 5, False) for position in range(3)]  # the last is first
    request = RerankRequest("q", documents, request_id=name)
    part = {"experiment": experiment, "variant": variant, "teams": teams}
    store.write([build_trace(replace(RankingRecord(request, scores, "mini", "v1", 512, {}, 0, time.time()), **part))])  # type: ignore[arg-type]


def test_each_ranking_counts_once(store: TraceStore) -> None:
    for name, variant in (("a", "champion"), ("b", "challenger"), ("c", "challenger"), ("f", "fallback")):
        write(store, name, variant)
    write(store, "other", "challenger", experiment="another")
    aggregator = FeedbackAggregator(ONE)
    aggregator.poll(store)
    assert aggregator.sums() == {"champion": {}, "challenger": {}}
    add_feedback(
        store, [FeedbackEvent("a", "click", 2), FeedbackEvent("a", "click", 0), FeedbackEvent("f", "thumb", value=-1)]
    )
    add_feedback(store, [FeedbackEvent("b", "citation", document_id="d1"), FeedbackEvent("other", "thumb", value=-1)])
    add_feedback(
        store,
        [
            FeedbackEvent("c", "thumb", value=-1),
            FeedbackEvent("c", "grade", 0, value=0),
        ],
    )
    for _ in range(2):
        aggregator.poll(store)
        assert aggregator.sums() == {
            "champion": {"thumbs_down": Sums(1, 0.0, 0.0), "misplaced": Sums(1, 0.0, 0.0)},
            "challenger": {"thumbs_down": Sums(2, 1.0, 1.0), "misplaced": Sums(1, 0.5, 0.25)},
        }
    add_feedback(store, [FeedbackEvent("a", "thumb", value=-1)])
    aggregator.poll(store)
    assert aggregator.sums()["champion"]["thumbs_down"] == Sums(1, 1.0, 1.0)


def test_feedback_that_is_faster_than_its_trace_counts(store: TraceStore) -> None:
    now = [0.0]
    aggregator = FeedbackAggregator(ONE, lambda: now[0])
    add_feedback(store, [FeedbackEvent("late", "click", 0)])
    aggregator.poll(store)
    now[0] = 60.0
    aggregator.poll(store)
    write(store, "late", "challenger")
    aggregator.poll(store)
    assert aggregator.sums()["challenger"]["misplaced"].count == 1
    now[0] = 1000.0
    add_feedback(store, [FeedbackEvent("later", "click", 0)])
    write(store, "later", "challenger")
    aggregator.poll(store)
    assert aggregator.sums()["challenger"]["misplaced"].count == 2


def test_more_than_is_read_at_once(store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", 10)
    for number in range(25):
        write(store, f"r{number}", "champion")
    add_feedback(store, [FeedbackEvent(f"r{number}", "click", 2) for number in range(25)])
    aggregator = FeedbackAggregator(ONE)
    aggregator.poll(store)
    assert aggregator.sums()["champion"]["misplaced"].count == 25


def test_teams_win_and_lose(store: TraceStore) -> None:
    for number, teams in enumerate(("01-", "10-", "011", "---")):
        write(store, f"r{number}", "interleaved", teams)
    add_feedback(store, [FeedbackEvent(f"r{number}", "click", 1) for number in range(4)])
    aggregator = FeedbackAggregator(ONE)
    aggregator.poll(store)
    assert aggregator.wins() == (2, 1)
    add_feedback(store, [FeedbackEvent("r0", "click", 0)])
    aggregator.poll(store)
    assert aggregator.wins() == (1, 1)


def test_sums_of_both_kinds() -> None:
    assert merge_sums(
        {"errors": Sums(1, 1.0, 1.0)}, {"errors": Sums(1, 0.0, 0.0), "thumbs_down": Sums(2, 0.0, 0.0)}
    ) == {
        "errors": Sums(2, 1.0, 1.0),
        "thumbs_down": Sums(2, 0.0, 0.0),
    }
