"""One ranking is one case, with several reasons; and its exports."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import orjson
import pytest
from sqlalchemy import func, select, text

from rerankd.database import tables
from rerankd.database.connection import open_engine
from rerankd.evaluation.dataset import open_dataset
from rerankd.feedback.case_export import training_lines, with_feedback, write_beir
from rerankd.feedback.case_store import CaseFilter, add_cases, case_of_ranking, flag_request, iter_cases, list_cases
from rerankd.feedback.case_update import update_case
from rerankd.feedback.cases import BadCase, CaseCandidate
from rerankd.feedback.detection import detect
from rerankd.feedback.detectors import Detection
from rerankd.feedback.events import FeedbackEvent, Kind
from rerankd.feedback.retention import erase_tenant
from rerankd.feedback.store import add_feedback
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import TraceFilter, TraceStore
from tests.integration.older_database import make_tables
from tests.unit.feedback.written import write


def judge(store: TraceStore, *events: tuple[Kind, int, float]) -> None:
    judged = [FeedbackEvent("r1", kind, index, value=value, tenant="search") for kind, index, value in events]
    add_feedback(store, judged)


def test_a_thumb_and_a_grade_are_one_case(store: TraceStore) -> None:
    write(store, "r1", 5, 4, 3, 2, 1)
    judge(store, ("thumb", 0, -1), ("grade", 4, 2))
    assert detect(store, TraceFilter()) == {"top_rejected": 1, "chosen_low": 1}
    assert detect(store, TraceFilter()) == {"top_rejected": 0, "chosen_low": 0}
    (case,) = list_cases(store)
    assert {(reason.detector, reason.position) for reason in case.reasons} == {("top_rejected", 0), ("chosen_low", 4)}
    assert case.severity == max(reason.severity for reason in case.reasons)
    assert case.note.splitlines() == [reason.note for reason in case.reasons]


def test_what_is_found_later_is_added_and_changes_neither_state_nor_grades(store: TraceStore) -> None:
    write(store, "r1", 5, 4.999, 3, 2, 1)
    assert flag_request(store, "r1", "search", note="odd") == 1
    (case,) = list_cases(store)
    update_case(store, case.id, grades={2: 1}, note="mine")
    judge(store, ("click", 4, 1), ("click", 3, 1))
    assert detect(store, TraceFilter()) == {"chosen_low": 2, "low_margin": 1}
    assert flag_request(store, "r1", "search") == 0
    assert flag_request(store, "r1", "search", 3) == 1
    (after,) = list_cases(store)
    assert (after.id, after.state, after.grades, after.detector) == (case.id, "labelled", {2: 1}, "manual")
    assert [reason.detector for reason in after.reasons].count("chosen_low") == 2
    assert after.note.splitlines()[:2] == ["odd", "mine"]
    for detector in ("manual", "chosen_low", "low_margin"):
        assert [each.id for each in list_cases(store, CaseFilter(detector=detector))] == [case.id]
    assert list_cases(store, CaseFilter(detector="demoted")) == []


def test_rankings_of_two_tenants_with_one_id_are_two_cases(store: TraceStore) -> None:
    for tenant in ("mine", "yours"):
        write(store, "r1", 2, 1, tenant=tenant)
        flag_request(store, "r1", tenant)
    assert len(list_cases(store)) == 2
    erase_tenant(store, "mine")
    with store.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.bad_case_reason)) == 1
    assert [case.tenant for case in list_cases(store)] == ["yours"]


def test_a_document_that_a_later_reason_is_about_is_copied(store: TraceStore) -> None:
    write(store, "r1", *(float(-number) for number in range(260)))
    (full,) = store.load(store.list_traces())
    add_cases(store, full, [Detection("low_margin", -1, 1.0, "a")])
    add_cases(store, full, [Detection("chosen_low", 250, 1.0, "b")])
    case = case_of_ranking(store, full.trace)
    assert case is not None
    assert (len(case.candidates), case.candidates[-1].index) == (201, 250)


def old_case(
    request_id: str, detector: str, position: int, state: str, changed: float, *grades: int | None
) -> dict[str, object]:
    rows = [[at, f"d{at}", f"text {at}", at + 1, at + 1, 0.0, grade] for at, grade in enumerate(grades)]
    return {
        "time": 1.0,
        "changed": changed,
        "tenant": "t",
        "request_id": request_id,
        "detector": detector,
        "position": position,
        "state": state,
        "model": "m",
        "version": "v",
        "note": f"note {detector}",
        "severity": changed,
        "data": zlib.compress(orjson.dumps(["q", rows])),
    }


def test_cases_of_an_older_version_are_merged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/older.sqlite"
    engine = open_engine(url)
    cases = [
        old_case("r1", "top_rejected", 0, "labelled", 5.0, 0, 1, None),
        old_case("r1", "chosen_low", 2, "open", 6.0, None, None, None),
        old_case("r1", "manual", -1, "in_training", 4.0, 1, None, 3),
        old_case("r2", "outlier", -1, "open", 1.0, None),
    ]
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        make_tables(connection, "0004")
        columns = ", ".join(cases[0])
        for case in cases:
            values = ", ".join(f":{name}" for name in case)
            connection.execute(text(f"INSERT INTO bad_case ({columns}) VALUES ({values})"), case)  # noqa: S608
    engine.dispose()
    migrated = TraceStore(url)
    first, second = iter_cases(migrated)
    assert (first.request_id, first.state, first.grades, first.severity) == ("r1", "labelled", {0: 0, 1: 1, 2: 3}, 6.0)
    assert {reason.detector for reason in first.reasons} == {"top_rejected", "chosen_low", "manual"}
    assert [reason.detector for reason in second.reasons] == ["outlier"]
    migrated.close()


def test_a_case_that_an_older_instance_adds_has_its_reason(store: TraceStore) -> None:
    write(store, "r1", 5, 4, 3, 2, 1)
    row = old_case("r1", "manual", 1, "open", 1.0, None) | {"tenant": "search"}
    with store.begin() as connection:
        connection.execute(tables.bad_case.insert().values(row))
    (case,) = list_cases(store)
    assert [(reason.detector, reason.position) for reason in case.reasons] == [("manual", 1)]
    judge(store, ("click", 4, 1))
    detect(store, TraceFilter())
    (case,) = list_cases(store)
    assert {reason.detector for reason in case.reasons} == {"manual", "chosen_low"}


def labelled(*candidates: CaseCandidate, number: int = 1) -> BadCase:
    return BadCase(number, 0.0, 0.0, "", f"r{number}", "manual", -1, "labelled", "m", "v", "", 0.0, "q", candidates)


def corpus(folder: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    return {row["_id"]: row["text"] for row in rows}


def test_documents_keep_their_ids(tmp_path: Path) -> None:
    def case(number: int, *documents: tuple[str | None, str, int | None]) -> BadCase:
        rows = enumerate(documents)
        listed = [CaseCandidate(at, name, text, at + 1, at + 1, 0.0, grade) for at, (name, text, grade) in rows]
        return labelled(*listed, number=number)

    cases = [
        case(1, ("doc/1", "one", 1), (None, "nameless", 0)),
        case(2, ("doc/1", "one", 2), ("doc/1", "new", 0)),
        case(3, ("a b\tc\u2028ü", "spaces", 1), ("", "empty", None)),
    ]
    write_beir(cases, tmp_path / "beir", text_hash)
    data = open_dataset(tmp_path / "beir")
    changed = f"doc/1~{text_hash('new')[:12]}"
    assert corpus(tmp_path / "beir") == {
        "doc/1": "one",
        text_hash("nameless"): "nameless",
        changed: "new",
        "a%20b%09c%E2%80%A8ü": "spaces",
        text_hash("empty"): "empty",
    }
    assert data.qrels["case-2"] == {"doc/1": 2, changed: 0}
    assert data.candidates["case-3"] == ("a%20b%09c%E2%80%A8ü", text_hash("empty"))


@pytest.mark.parametrize("grades", [(2, None, None), (None, 2, 1), (0, 2, None)])
def test_copies_of_a_text_have_one_grade_in_both_exports(tmp_path: Path, grades: tuple[int | None, ...]) -> None:
    copies = [CaseCandidate(at, f"d{at}", "same", at + 1, at + 1, 0.0, grade) for at, grade in enumerate(grades)]
    other = CaseCandidate(3, "d3", "other", 4, 4, 0.0, 0)
    case = labelled(*copies, other)
    write_beir([case], tmp_path / "beir", text_hash)
    assert open_dataset(tmp_path / "beir").qrels == {"case-1": {"d0": 2, "d1": 2, "d2": 2, "d3": 0}}
    (line,) = training_lines([case])
    assert (set(line["pos"]), line["neg"]) == ({"same"}, ["other"])  # type: ignore[call-overload]


def test_feedback_grades_what_nobody_labelled(store: TraceStore, tmp_path: Path) -> None:
    write(store, "r1", 5, 4, 3, 2, 1)
    judge(store, ("grade", 0, 3), ("thumb", 1, 1), ("thumb", 1, -1), ("grade", 2, 0), ("click", 3, 1))
    add_feedback(store, [FeedbackEvent("r1", "grade", 0, value=0, tenant="other")])
    flag_request(store, "r1", "search")
    (case,) = list_cases(store)
    update_case(store, case.id, grades={4: 1, 2: 2})
    (graded,) = with_feedback(store, iter_cases(store))
    assert graded.grades == {0: 3, 1: 0, 2: 2, 4: 1}
    (line,) = training_lines([graded])
    assert line["pos"] == ["r1 text 0", "r1 text 2", "r1 text 4"]
    write_beir([graded], tmp_path / "beir", text_hash)
    assert open_dataset(tmp_path / "beir").qrels == {f"case-{case.id}": {"d0": 3, "d1": 0, "d2": 2, "d4": 1}}
