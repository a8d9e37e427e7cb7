from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from rerankd.database import tables
from rerankd.errors import InvalidRequestError
from rerankd.evaluation.dataset import open_dataset
from rerankd.feedback.case_export import request_times, training_lines, write_beir
from rerankd.feedback.case_store import count_cases, flag_request, iter_cases, list_cases
from rerankd.feedback.case_update import set_state, update_case
from rerankd.feedback.cases import BadCase, CaseCandidate
from rerankd.feedback.retention import RetentionPolicy, prune
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import TraceStore
from rerankd.training.examples import clean, read_examples, split
from tests.unit.feedback.written import write


def test_exports_are_data_for_evaluation_and_training(store: TraceStore, tmp_path: Path) -> None:
    write(store, "r1", 5, 4, 3, 2, query="first")
    write(store, "r2", 1, 2, query="second")
    write(store, "r3", 1, 2, query="never labelled")
    for name in ("r1", "r2", "r3"):
        flag_request(store, name, "search")
    by_request = {case.request_id: case.id for case in list_cases(store)}
    update_case(store, by_request["r1"], grades={2: 1, 3: 0})
    update_case(store, by_request["r2"], grades={1: 0, 0: 0})
    cases = list(iter_cases(store, batch_size=1))
    (line,) = training_lines(cases)
    assert line == {
        "query": "first",
        "time": next(case.time for case in cases if case.query == "first"),
        "pos": ["r1 text 2"],
        "neg": ["r1 text 0", "r1 text 1", "r1 text 3"],  # what stood above the answer is to be unlearnt
        "pos_scores": [3.0],
        "neg_scores": [5.0, 4.0, 2.0],
    }
    (strict,) = training_lines(cases, unlabelled=False)
    assert strict["neg"] == ["r1 text 3"]
    assert write_beir(cases, tmp_path / "beir", text_hash) == 2
    queries = [json.loads(row) for row in (tmp_path / "beir" / "queries.jsonl").read_text().splitlines()]
    assert [row["metadata"]["time"] for row in queries] == [case.time for case in cases if case.grades]
    data = open_dataset(tmp_path / "beir")
    assert sorted(data.queries.values()) == ["first", "second"]
    assert sorted(data.qrels) == [f"case-{by_request[name]}" for name in ("r1", "r2")]
    documents = [json.loads(row)["text"] for row in (tmp_path / "beir" / "corpus.jsonl").read_text().splitlines()]
    assert len(documents) == 6
    run = (tmp_path / "beir" / "candidates.trec").read_text().splitlines()
    assert [row.split()[3] for row in run] == ["1", "2", "3", "4", "1", "2"]
    with pytest.raises(InvalidRequestError, match="exists already"):
        write_beir(cases, tmp_path / "beir", text_hash)
    set_state(store, [case.id for case in cases if case.grades], "in_training")
    assert count_cases(store)["in_training"] == 2


def test_only_what_ranks_above_every_copy_of_the_answer_is_a_hard_negative() -> None:
    candidates = (
        CaseCandidate(0, None, "above", 1, 1, 3.0),
        CaseCandidate(1, None, "answer", 2, 2, 2.0),
        CaseCandidate(2, None, "between", 3, 3, 2.0),
        CaseCandidate(3, None, "answer", 4, 4, 2.0, 1),
    )
    case = BadCase(1, 0.0, 0.0, "", "r", "manual", -1, "labelled", "mini", "v", "", 0.0, "q", candidates)
    (line,) = training_lines([case])
    assert (line["pos"], line["neg"]) == (["answer"], ["above"])


def label_requests(store: TraceStore, times: dict[str, float]) -> None:
    """Write a labelled case for each request; its trace has the given time."""
    for request_id, at in times.items():
        write(store, request_id, 2, 1, query=f"query {request_id}", at=at)
        flag_request(store, request_id, "search")
    for case in list_cases(store):
        update_case(store, case.id, grades={0: 1, 1: 0})


def test_exported_cases_are_split_by_the_time_of_their_request(store: TraceStore, tmp_path: Path) -> None:
    """Training validates on the latest requests, in whatever order their cases were detected."""
    times = {f"r{number}": 1e9 + (number * 7) % 10 for number in range(10)}
    label_requests(store, times)
    cases = list(iter_cases(store))
    file = tmp_path / "train.jsonl"
    lines = training_lines(cases, request_times(store, cases))
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    examples, _ = clean(read_examples(file))
    training, validation = split(examples, share=0.3)
    latest = sorted(times, key=times.__getitem__)[-3:]
    assert sorted(example.query for example in validation) == sorted(f"query {name}" for name in latest)
    assert len(training) == 7


def test_a_case_without_its_trace_has_the_time_of_its_detection(store: TraceStore, tmp_path: Path) -> None:
    label_requests(store, {"kept": 2e9 - 5, "deleted": 1e9})
    for case in list_cases(store):
        with store.begin() as connection:
            detected = update(tables.bad_case).where(tables.bad_case.c.id == case.id)
            connection.execute(detected.values(time=2e9))
    write(store, "kept", 2, 1, at=2e9 + 5)  # the same id, used again after the detection
    write(store, "kept", 2, 1, at=2e9 - 1, tenant="other")
    prune(store, RetentionPolicy(seconds=1e8), now=2e9)
    cases = list(iter_cases(store))
    times = request_times(store, cases)
    assert {case.request_id: times[case.id] for case in cases} == {"kept": 2e9 - 5, "deleted": 2e9}
    write_beir(cases, tmp_path / "beir", text_hash, times)
    queries = [json.loads(row) for row in (tmp_path / "beir" / "queries.jsonl").read_text().splitlines()]
    assert sorted(row["metadata"]["time"] for row in queries) == [2e9 - 5, 2e9]
    assert request_times(store, []) == {}
