from __future__ import annotations

from pathlib import Path

import pytest

from rerankd import Reranker
from rerankd.feedback.retention import erase_text
from rerankd.traces.hashing import text_hash
from rerankd.traces.replay import MovedDocument, replay_traces, summarize
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.traces.writer import TraceWriter
from rerankd.types import Document
from tests.unit.traces.rankings import ranking


def test_another_model_moves_documents(tmp_path: Path) -> None:
    store = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    documents = [Document("aa", "x"), Document("b"), Document("cccc"), Document("ddd")]
    store.write([build_trace(ranking(documents=documents, scores=[4, 3, 2, 1]))])
    store.write([build_trace(ranking(documents=["gone", "stays"], request_id="r2"))])
    erase_text(store, text_hash("gone"))
    newest = store.load(store.list_traces(order="oldest"))
    same, skipped = replay_traces(newest, lambda query, texts, _: [-float(position) for position in range(len(texts))])
    assert (same.top_changed, same.tau, same.moves, same.entered) == (False, 1.0, (), 0)
    assert skipped.skipped == "one of its texts was erased"
    by_length, _ = replay_traces(newest, lambda query, texts, _: [float(len(text)) for text in texts])
    assert (by_length.top_changed, by_length.entered) == (True, 2)
    assert by_length.tau == pytest.approx(-1 / 3 * 1.0, abs=0.34)
    assert by_length.moves[0] in (
        MovedDocument(0, "x", 1, 1, 3),
        MovedDocument(1, None, 2, 2, 4),
        MovedDocument(2, None, 3, 3, 1),
    )
    short = summarize([same, by_length, skipped])
    assert (short.replayed, short.skipped, short.top_changed, short.entered) == (2, 1, 0.5, 1.0)
    assert summarize([]).replayed == 0
    store.close()


def test_the_same_model_changes_nothing(tmp_path: Path) -> None:
    store = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    writer = TraceWriter(lambda: store)
    reranker = Reranker(recorder=writer)
    reranker.rank("what eats bamboo?", ["A car.", "A panda eats bamboo.", "Bears eat fish."], top_n=1)
    assert writer.flush()
    (trace,) = store.load(store.list_traces())
    assert (trace.trace.source, trace.trace.kept, trace.trace.top_before, trace.trace.model) == (
        "library",
        1,
        2,
        "mini",
    )
    assert len(trace.trace.version) == 16
    (again,) = replay_traces(
        [trace], lambda query, texts, _: reranker.score([(query, text) for text in texts], activation="none").tolist()
    )
    assert (again.top_changed, again.tau) == (False, 1.0)
    writer.close()
