"""Sentences of detectors, datasets and gates: each that their code writes has a form in the language of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rerankd.console.recorded import recorded
from rerankd.evaluation.dataset_checks import check_judged_documents, own_document_notice, unranked_notice
from rerankd.feedback.detectors import (
    DETECTORS,
    LABELLED,
    MANUAL,
    DetectorThresholds,
    ScoreBaseline,
    disagreement,
    run_detectors,
)
from rerankd.feedback.events import FeedbackEvent
from rerankd.traces.replay import Replay
from rerankd.traces.store import TraceStore
from tests.unit.evaluation.test_gate import judged
from tests.unit.feedback.written import write

ENGLISH = re.compile(r"\b(the|was|is|are|of|against|must|document)\b")
THRESHOLDS = DetectorThresholds(low=1, margin=10.0, outlier=0.1)


def notes(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Yield each detector with a note that it writes."""
    store = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    write(store, "r1", 1.0, 3.0, 2.0)
    [full] = store.load(store.list_traces())
    store.close()
    chosen = FeedbackEvent("r1", "click", 0)
    rejected = FeedbackEvent("r1", "thumb", 1, value=-1)
    whole = FeedbackEvent("r1", "thumb", value=-1)
    for event in (chosen, rejected, whole):
        for each in run_detectors(full, [event], ScoreBaseline(0.0, 0.1), THRESHOLDS):
            yield each.detector, each.note
    replay = Replay(full.trace, top_changed=True, tau=-1.0)
    if found := disagreement(replay, "other: model", THRESHOLDS):
        yield found.detector, found.note


def test_notes_of_every_detector(tmp_path: Path) -> None:
    written = list(notes(tmp_path))
    assert {detector for detector, _ in written} == {*DETECTORS} - {MANUAL, LABELLED}
    assert len({recorded(note, "zh") for _, note in written}) >= 7
    for _, note in written:
        assert recorded(note, "en") == note
        assert not ENGLISH.search(recorded(note, "zh")), note


def test_sentences_of_gates() -> None:
    checks = [check for decision in (judged(2.0, 3.0), judged(3.0, 1.5)) for check in decision.checks]
    for text in {text for check in checks for text in (check.name, check.message)}:
        assert recorded(text, "zh") != text
        assert not ENGLISH.search(recorded(text, "zh").replace("domain", "")), text


def test_notices_of_datasets() -> None:
    own = [
        own_document_notice([{name: (name,) for name in names}], {name: {"x": 1} for name in names})
        for names in ("a", "ab")
    ]
    missing = check_judged_documents(Path("set"), {"d1": True, "a of b": False})
    unranked = unranked_notice({"q": {"d": 1}}, [{"q": ("e",)}])
    shown = [recorded(text, "zh") for text in (*own, missing, unranked)]
    assert shown[0].startswith("按 id 看，有 1 条")
    assert shown[1].startswith("按 id 看，有 2 条")
    assert shown[2] == "2 篇有标注的文档中有 1 篇不在语料库中，例如 a of b；其中相关的文档按未找到计算。"
    assert "所有排序中都没有相关文档" in shown[3]


def test_what_people_wrote_is_left_as_it_is() -> None:
    for text in ("", "A customer called.", "latency!", "first and second are 0.1 apart\nand more", "x" * 100_000):
        assert recorded(text, "zh") == text
    assert recorded("<b>{0}{name}</b> puts another document first, Kendall's tau 0.1", "zh").startswith(
        "<b>{0}{name}</b> "
    )
