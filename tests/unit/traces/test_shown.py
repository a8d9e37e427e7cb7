"""What those see of a trace from whom rules hid some of its documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rerankd.traces.shown import shown_part
from rerankd.traces.store import FullTrace, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Adjustment, Document, MatchedRule, PairScore
from tests.unit.traces.rankings import ranking

HIDES = Adjustment(0.0, 0, True, (MatchedRule("hides", "filter", 0.0),))
BOOSTS = Adjustment(1.5, 0, False, (MatchedRule("boosts", "boost", 1.5),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield opened
    opened.close()


def traced(store: TraceStore, *adjustments: Adjustment) -> FullTrace:
    documents = [Document(text, name, {"score": 3.0, "page": text}) for text, name in zip("xyz", "abc", strict=True)]
    record = ranking("q", documents)
    scores = [PairScore(float(position), 10, position == 2, 1 + position) for position in range(3)]
    store.write([build_trace(replace(record, scores=scores, adjustments=adjustments))])
    (full,) = store.load(store.list_traces())
    return full


def test_hidden_documents_are_left_out_with_all_that_is_known_of_them(store: TraceStore) -> None:
    part = shown_part(traced(store, Adjustment(), HIDES, BOOSTS))
    candidates = part.candidates
    assert (part.texts, part.trace.documents, len(candidates)) == (("x", "z"), 2, 2)
    assert (list(candidates.ids), candidates.ranks.tolist(), candidates.chunks.tolist()) == (["a", "c"], [2, 1], [1, 3])
    assert candidates.truncated.tolist() == [False, True]
    assert [each["page"] for each in candidates.metadata] == ["x", "z"]
    assert "hides" not in str(candidates.rules)
    assert candidates.adjustments == {1: Adjustment(1.5)}
    assert candidates.shown.all()


def test_where_nothing_is_hidden_it_stays_the_same(store: TraceStore) -> None:
    full = traced(store)
    assert shown_part(full) is full
