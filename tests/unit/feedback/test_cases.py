from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from rerankd.database import tables
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.evaluation.dataset import open_dataset
from rerankd.feedback.case_export import training_lines, write_beir
from rerankd.feedback.case_store import (
    CaseFilter,
    add_cases,
    count_cases,
    flag_request,
    get_case,
    iter_cases,
    list_cases,
    set_state,
    update_case,
)
from rerankd.feedback.detection import CaseDetector, DetectionLimits, detect, detect_disagreement
from rerankd.feedback.detectors import Detection
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.retention import RetentionPolicy, erase_document, erase_tenant, erase_text, prune
from rerankd.feedback.store import add_feedback
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.training.examples import clean, read_examples, split
from rerankd.types import Document
from tests.unit.traces.rankings import ranking


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield made
    made.close()


def write(store: TraceStore, request_id: str, *scores: float, tenant: str = "search", query: str = "q") -> None:
    documents = [Document(f"{request_id} text {place}", f"d{place}") for place in range(len(scores))]
    store.write([build_trace(ranking(query, documents, scores, request_id=request_id, tenant=tenant))])


def test_found_once_however_often_it_is_looked_for(store: TraceStore) -> None:
    write(store, "bad", 5, 4, 3, 2, 1)
    write(store, "good", 5, 4, 3, 2, 1)
    write(store, "close", 5, 4.999, 3)
    said = [FeedbackEvent("bad", "click", 4, tenant="search"), FeedbackEvent("good", "click", 0, tenant="search")]
    assert add_feedback(store, said) == 2
    assert detect(store, TraceFilter()) == {"chosen_low": 1, "low_margin": 1}
    assert detect(store, TraceFilter()) == {"chosen_low": 0, "low_margin": 0}
    low, close = list_cases(store)
    assert (low.detector, low.request_id, low.position, low.state) == ("chosen_low", "bad", 4, "open")
    assert (low.query, low.candidates[4].text, low.candidates[4].rank_after) == ("q", "bad text 4", 5)
    assert close.detector == "low_margin"
    assert detect(store, TraceFilter(tenant="other")) == {}
    assert [one.id for one in list_cases(store, CaseFilter(detector="low_margin"))] == [close.id]


def test_no_more_than_so_many_by_score_but_all_by_feedback(store: TraceStore) -> None:
    for number in range(8):
        write(store, f"r{number}", 1 + number / 1000, 1)
        add_feedback(store, [FeedbackEvent(f"r{number}", "thumb", value=-1, tenant="search")])
    cases = detect(store, TraceFilter(), limits=DetectionLimits(each=3))
    assert cases == {"top_rejected": 8, "low_margin": 3}
    worst = [one.request_id for one in list_cases(store, CaseFilter(detector="low_margin"))]
    assert worst == ["r0", "r1", "r2"]


def test_the_detective_looks_at_what_is_new(store: TraceStore) -> None:
    detector = CaseDetector(overlap=0.0, clock=lambda: 1e10)
    write(store, "before", 1, 1)
    assert detector(store) == {}
    store.write([build_trace(ranking("q", scores=[1, 1, 0], request_id="after", at=2e10))])
    assert detector(store) == {"low_margin": 1}


def test_a_second_model_disagrees(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    same = detect_disagreement(store, TraceFilter(), "twin", lambda query, texts: [3.0, 2.0, 1.0])
    assert same == {"disagreement": 0}
    other = detect_disagreement(store, TraceFilter(), "other", lambda query, texts: [1.0, 2.0, 3.0])
    assert other == {"disagreement": 1}
    assert list_cases(store)[0].note.startswith("other puts another document first")


def test_flagged_labelled_and_done(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    assert flag_request(store, "r1", "search", 2, "this one answers") == 1
    assert flag_request(store, "r1", "search", 2) == 0
    with pytest.raises(NotFoundError):
        flag_request(store, "r1", "other")
    with pytest.raises(InvalidRequestError, match="no document 3"):
        flag_request(store, "r1", "search", 3)
    (case,) = list_cases(store)
    for refused in ({"grades": {9: 1}}, {"grades": {0: -1}}, {"state": "labelled"}, {"state": "x"}, {"note": "\0"}):
        with pytest.raises(InvalidRequestError):
            update_case(store, case.id, **refused)
    assert get_case(store, case.id) == case
    labelled = update_case(store, case.id, "search", {2: 2, 0: 0})
    assert (labelled.state, labelled.grades) == ("labelled", {0: 0, 2: 2})
    done = update_case(store, case.id, state="fixed", note="by v2", grades={2: 1})
    assert (done.state, done.grades, done.note) == ("fixed", {0: 0, 2: 1}, "this one answers\nby v2")
    with pytest.raises(NotFoundError):
        get_case(store, case.id, "other")
    for nobody in (0, 2**70, case.id + 1):
        with pytest.raises(NotFoundError):
            get_case(store, nobody)
    assert count_cases(store) == {"open": 0, "labelled": 0, "in_training": 0, "fixed": 1, "wont_fix": 0}


def test_cases_outlive_their_traces_and_go_with_their_tenant(store: TraceStore) -> None:
    for tenant in ("mine", "yours"):
        write(store, f"SECRET{tenant}", 3, 2, tenant=tenant, query=f"QUERY{tenant}")
        assert flag_request(store, f"SECRET{tenant}", tenant, note=f"NOTE{tenant}")
    prune(store, RetentionPolicy(seconds=1e-9))
    assert store.list_traces() == []
    assert len(list_cases(store)) == 2
    assert erase_tenant(store, "mine").cases == 1
    (left,) = list_cases(store)
    assert (left.tenant, left.query) == ("yours", "QUERYyours")
    folder = Path(str(store.engine.url.database)).parent
    held = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"NOTEmine" not in held
    assert b"NOTEyours" in held


def test_erased_texts_go_from_cases_too(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    flag_request(store, "r1", "search")
    (case,) = list_cases(store)
    update_case(store, case.id, grades={0: 1})
    erase_document(store, "d1")
    erase_text(store, text_hash("r1 text 2"))
    erase_text(store, text_hash("q"))
    case = get_case(store, case.id)
    assert [one.text for one in case.candidates] == ["r1 text 0", None, None]
    assert (case.query, case.grades) == (None, {0: 1})
    assert list(training_lines([case])) == []


def test_exports_are_data_for_evaluation_and_training(store: TraceStore, tmp_path: Path) -> None:
    write(store, "r1", 5, 4, 3, 2, query="first")
    write(store, "r2", 1, 2, query="second")
    write(store, "r3", 1, 2, query="never labelled")
    for name in ("r1", "r2", "r3"):
        flag_request(store, name, "search")
    by_request = {one.request_id: one.id for one in list_cases(store)}
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
    set_state(store, [one.id for one in cases if one.grades], "in_training")
    assert count_cases(store)["in_training"] == 2


def test_what_has_no_request_id_is_no_case(store: TraceStore) -> None:
    store.write([build_trace(ranking(request_id=""))])
    (trace,) = store.load(store.list_traces())
    assert add_cases(store, trace, [Detection("outlier", -1, 1.0, "")]) == 0
    with pytest.raises(InvalidRequestError, match="no request id"):
        flag_request(store, f"#{trace.trace.id}", None)


def test_exported_cases_are_split_by_time(store: TraceStore, tmp_path: Path) -> None:
    """The validation side of training is the latest cases: each export carries the time of its case."""
    for number in range(10):
        write(store, f"r{number}", 2, 1, query=f"query {number}")
        flag_request(store, f"r{number}", "search")
    times = {f"r{number}": 1e9 + (number * 7) % 10 for number in range(10)}
    for case in list_cases(store):
        update_case(store, case.id, grades={0: 1, 1: 0})
        with store.begin() as connection:
            moved = update(tables.bad_case).where(tables.bad_case.c.id == case.id)
            connection.execute(moved.values(time=times[case.request_id]))
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in training_lines(iter_cases(store))))
    examples, _ = clean(read_examples(file))
    training, validation = split(examples, share=0.3)
    latest = sorted(range(10), key=lambda number: times[f"r{number}"])[-3:]
    assert sorted(example.query for example in validation) == sorted(f"query {number}" for number in latest)
    assert len(training) == 7
