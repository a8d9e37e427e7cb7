"""Two lists of the same documents, compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rerankd.console.comparison import ComparedDocument, Controls, Marks, RankedList, compare_lists
from rerankd.console.messages import messages
from rerankd.console.rankings import (
    compared_documents,
    first_stage_list,
    foremost,
    model_list,
    request_body,
    trace_controls,
    trace_list,
)
from rerankd.ranking.finish import RequestScores, finish
from rerankd.traces.store import FullTrace, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Adjustment, Document, Fusion, MatchedRule, PairScore, RankingRecord
from tests.unit.traces.rankings import ranking

DOCUMENTS = [ComparedDocument("a car"), ComparedDocument("a panda"), ComparedDocument("a bear")]


def test_moves_and_counts() -> None:
    left = RankedList("old", [1, 2, 3], returned=[True, True, False])
    right = RankedList("new", [3, 1, 2], returned=[False, True, True])
    comparison = compare_lists("panda", DOCUMENTS, left, right)
    assert [document["moved"] for document in comparison["documents"]] == [-2, 1, 1]
    assert comparison["counts"] == {"documents": 3, "common": 1, "only_left": 1, "only_right": 1, "up": 2, "down": 1}
    assert comparison["right"]["order"] == [1, 2, 0]
    assert comparison["controls"] is None


def test_a_list_need_not_hold_every_document() -> None:
    comparison = compare_lists("q", DOCUMENTS, RankedList("old", [1, None, 2]), RankedList("new", [None, 1, 2]))
    car, panda, bear = comparison["documents"]
    assert (car["right"], panda["left"], bear["moved"]) == (None, None, 0)
    assert car["moved"] is None
    assert comparison["left"]["order"] == [0, 2]
    assert comparison["counts"]["only_left"] == comparison["counts"]["only_right"] == 1


def test_filtered_documents_come_last_and_without_a_rank() -> None:
    marks = [Marks(), Marks(filtered=True, rules=("hide: filter",)), Marks()]
    right = RankedList("new", [2, None, 1], marks=marks)
    comparison = compare_lists("q", DOCUMENTS, RankedList("old", [1, 2, 3]), right)
    assert comparison["right"]["order"] == [2, 0, 1]
    assert comparison["documents"][1]["right"]["filtered"]
    assert not comparison["documents"][1]["right"]["returned"]


def test_the_words_of_the_query_are_found_in_erased_and_long_texts_too() -> None:
    documents = [ComparedDocument(None), ComparedDocument("panda " * 100_000)]
    lists = RankedList("old", [1, 2]), RankedList("new", [1, 2])
    erased, long = compare_lists("the panda", documents, *lists)["documents"]
    assert erased["highlights"] == []
    assert long["highlights"][:2] == [(0, 5), (6, 11)]
    assert long["highlights"][-1][1] <= 2000


def test_the_list_of_a_model_is_that_of_a_result() -> None:
    documents = [Document("a", metadata={"score": 2.0}), Document("b"), Document(" "), Document("c"), Document("d")]
    scores = [PairScore(raw, 5, raw == 1.0, 2) for raw in (0.5, 1.0, 9.0, -3.0, 0.4)]
    adjustments = [Adjustment(), Adjustment(filtered=True), Adjustment(), Adjustment(pin_to=1), Adjustment(0.25)]
    adjustments[4] = Adjustment(0.25, matched_rules=(MatchedRule("fresh", "boost", 0.25),))
    controls = Controls(0.1, 3, Fusion("rrf", 1.0))
    made = ranking("q", documents, [], top_n=3, threshold=0.1, fusion=controls.fusion).request
    result, _ = finish(made, RequestScores(scores, "mini", "v1", 512, {}), adjustments)
    ranked = model_list("mini", documents, scores, adjustments, controls)
    order = sorted((rank, index) for index, rank in enumerate(ranked.ranks) if rank is not None)
    assert [index for _, index in order if ranked.returned[index]] == [each.index for each in result]
    assert [ranked.scores[each.index] for each in result] == [each.relevance_score for each in result]
    assert [ranked.raw_scores[each.index] for each in result] == [each.raw_score for each in result]
    assert ranked.ranks[1] is None
    assert ranked.marks[4].rules == ("fresh: boost +0.25",)
    assert ranked.marks[1].truncated
    assert ranked.marks[0].chunks == 2


def stored(record: RankingRecord, folder: Path) -> FullTrace:
    store = TraceStore(f"sqlite:///{folder}/traces.sqlite")
    store.write([build_trace(record)])
    full = store.get_trace(1)
    assert full is not None
    store.close()
    return full


def test_the_list_of_a_trace(tmp_path: Path) -> None:
    full = stored(ranking(top_n=2, threshold=0.6, fusion=Fusion("weighted", 0.25)), tmp_path)
    ranked = trace_list("mini", full)
    assert ranked.ranks == full.candidates.ranks.tolist()
    assert sum(ranked.returned) == full.trace.kept
    assert ranked.sortable
    assert trace_controls(full) == Controls(0.6, 2, Fusion("weighted", 0.25))


def test_an_order_that_does_not_follow_from_the_scores_is_not_sorted_anew(tmp_path: Path) -> None:
    full = stored(ranking(), tmp_path)
    full.candidates.ranks[:] = np.array([1, 3, 2])
    ranked = trace_list("mini", full)
    assert ranked.ranks == [1, 3, 2]
    assert not ranked.sortable
    assert ranked.returned == [True, False, True]


def test_the_foremost_documents_of_either_list() -> None:
    documents = [ComparedDocument(str(number)) for number in range(6)]
    left = RankedList("a", [1, 2, 3, 4, 5, 6], raw_scores=[6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    right = RankedList("b", [6, 5, 4, 3, 2, None], sortable=True)
    kept, first, second = foremost(documents, left, right, 3)
    assert [document.text for document in kept] == ["0", "1", "4"]
    assert (first.raw_scores, second.ranks, second.sortable) == ([6.0, 5.0, 2.0], [6, 5, 2], False)


def test_the_first_stage() -> None:
    documents = [Document("a", 7, {"score": 3, "title": "A"}), Document("b", metadata={"score": float("nan")})]
    ranked = first_stage_list("before", documents, 1)
    assert (ranked.ranks, ranked.raw_scores, ranked.returned) == ([1, 2], [3.0, None], [True, False])
    assert compared_documents(documents)[0] == ComparedDocument("a", "7", 3.0, title="A")


def test_the_request_of_a_ranking() -> None:
    documents = [Document("a", 7, {"score": 3, "source": "x"}), Document("b")]
    assert request_body("q", documents, "mini", Controls(0.5, 2, Fusion("rrf", 1.0))) == {
        "model": "mini",
        "query": "q",
        "documents": [{"text": "a", "id": 7, "score": 3.0, "metadata": {"source": "x"}}, "b"],
        "top_n": 2,
        "threshold": 0.5,
        "fusion": "rrf",
        "fusion_weight": 1.0,
    }


@pytest.mark.parametrize(
    "name",
    [
        *("common", "only_left", "only_right", "up", "down", "fusion_none", "fusion_weighted", "fusion_rrf"),
        *("mode_before_after", "mode_models", "mode_rules", "copy_curl", "copy_python", "show_curl", "show_python"),
        *("before", "rules_today", "rules_draft", "recorded"),
    ],
)
def test_messages_that_are_chosen_at_run_time_exist(name: str) -> None:
    assert f"compare.{name}" in messages()
