from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rerankd import Reranker
from rerankd.feedback.retention import erase_text
from rerankd.traces.hashing import text_hash
from rerankd.traces.redaction import build_redactor
from rerankd.traces.replay import MovedDocument, replay_traces, summarize
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.traces.writer import TraceWriter
from rerankd.types import Document, RankingRecord, TruncationOverrides
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


def asked(instruction: str | None, effective: str | None = None, **named: Any) -> RankingRecord:
    overrides = TruncationOverrides(instruction=instruction)
    return dataclasses.replace(ranking(truncation=overrides, **named), instruction=effective)


def test_a_ranking_is_repeated_with_its_instruction(tmp_path: Path) -> None:
    """That of the request, also where its model read none; else that of the settings."""
    store = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    records = [asked("a", "a", request_id="r1"), asked("a", request_id="r2"), asked(None, "default", request_id="r3")]
    store.write([build_trace(record) for record in [*records, asked(None, request_id="r4")]])
    traces = store.load(store.list_traces(order="oldest"))
    assert [trace.parameters.get("instruction") for trace in traces] == ["a", "a", "default", None]
    seen: list[str | None] = []

    def score(query: str, texts: Sequence[str], instruction: str | None, /) -> list[float]:
        seen.append(instruction)
        return [0.0 for _ in texts]

    list(replay_traces(traces, score))
    assert seen == ["a", "a", "default", None]
    store.close()


def test_an_instruction_is_redacted_like_the_query() -> None:
    redact = build_redactor(["email"])
    pending = build_trace(asked("For ann@example.com: retrieve statutes."), redact)
    assert b'"instruction":"For [email]: retrieve statutes."' in pending.contents[pending.texts[1]]
    assert b"ann@example.com" not in b"".join(pending.contents.values())
