from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rerankd.feedback.case_store import flag_request, get_case, list_cases
from rerankd.feedback.case_update import set_state, update_case
from rerankd.improve.cases import export_cases, mark_fixed_cases
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document, PairScore, RankingRecord, RerankRequest

TEXTS = ["bamboo", "fish", "grass"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield opened
    opened.close()


def add_case(store: TraceStore, request_id: str, grades: dict[int, int] | None) -> int:
    """Add a case about `TEXTS`, labelled if there are grades, and return its id."""
    documents = [Document(f"{text} {request_id}") for text in TEXTS]
    request = RerankRequest(f"what eats {request_id}?", documents, request_id=request_id)
    scores = [PairScore(float(index), 5, False) for index in range(3)]  # the last document was first
    store.write([build_trace(RankingRecord(request, scores, "mini", "v1", 512, {}, 0, 1.0))])
    flag_request(store, request_id, None)
    case = next(case for case in list_cases(store) if case.request_id == request_id)
    if grades:
        update_case(store, case.id, grades=grades)
    return case.id


def bamboo_first(query: str, texts: Sequence[str]) -> list[float]:
    return [float(text.startswith("bamboo")) for text in texts]


def states(store: TraceStore, case_ids: Sequence[int]) -> list[str]:
    return [get_case(store, case_id).state for case_id in case_ids]


def test_only_cases_of_this_run_that_are_ranked_right_are_fixed(store: TraceStore, tmp_path: Path) -> None:
    right, wrong = add_case(store, "right", {0: 1}), add_case(store, "wrong", {1: 1})
    unlabelled, all_bad = add_case(store, "unlabelled", None), add_case(store, "bad", {0: 0})
    exported = export_cases(store, tmp_path / "run" / "cases.jsonl")
    assert exported == [right, wrong]
    lines = [json.loads(line) for line in (tmp_path / "run" / "cases.jsonl").read_text().splitlines()]
    assert [line["pos"] for line in lines] == [["bamboo right"], ["fish wrong"]]
    of_another_run = add_case(store, "another", {0: 1})
    set_state(store, [of_another_run], "in_training")
    assert mark_fixed_cases(store, exported, bamboo_first) == [right]
    assert states(store, [right, wrong, unlabelled, all_bad, of_another_run]) == [
        "fixed",
        "in_training",
        "open",
        "labelled",
        "in_training",
    ]


def test_the_order_of_labelled_documents_counts(store: TraceStore, tmp_path: Path) -> None:
    in_order, out_of_order = add_case(store, "a", {0: 2, 1: 1, 2: 0}), add_case(store, "b", {0: 2, 1: 0, 2: 1})
    exported = export_cases(store, tmp_path / "cases.jsonl")
    assert mark_fixed_cases(store, exported, lambda query, texts: [3.0, 2.0, 1.0]) == [in_order]
    assert states(store, [out_of_order]) == ["in_training"]


def test_what_people_decided_since_is_left_alone(store: TraceStore, tmp_path: Path) -> None:
    case_id = add_case(store, "a", {0: 1})
    exported = export_cases(store, tmp_path / "cases.jsonl")
    update_case(store, case_id, state="wont_fix")
    assert mark_fixed_cases(store, [*exported, 10_000], bamboo_first) == []
    assert states(store, [case_id]) == ["wont_fix"]


def test_nothing_is_written_without_labelled_cases(store: TraceStore, tmp_path: Path) -> None:
    add_case(store, "a", None)
    assert export_cases(store, tmp_path / "cases.jsonl") == []
    assert not (tmp_path / "cases.jsonl").exists()
