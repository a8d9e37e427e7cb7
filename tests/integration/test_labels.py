"""Labels on SQLite and a real PostgreSQL: an older database, several labellers, the queue, and erasure."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import insert, select

from rerankd.database import tables
from rerankd.database.connection import open_engine
from rerankd.feedback.agreement import most_common_pair, read_agreement
from rerankd.feedback.case_store import get_case, list_cases
from rerankd.feedback.case_update import update_case
from rerankd.feedback.cases import CaseCandidate, pack_case
from rerankd.feedback.label_queue import queued_cases, queued_traces, skip_ranking, skipped_rankings
from rerankd.feedback.label_store import count_changes, label_coverage, read_labellers, read_labels
from rerankd.feedback.labelling import label_ranking, undo_label
from rerankd.feedback.retention import DAY, RetentionPolicy, erase_tenant, prune
from rerankd.feedback.size_limit import LABEL_BYTES, usage_by_tenant
from rerankd.traces.store import FullTrace, TraceFilter, TraceStore
from tests.integration.older_database import make_tables
from tests.unit.feedback.written import write


def full(store: TraceStore, name: str) -> FullTrace:
    return store.load(store.list_traces(TraceFilter(request_id=name)))[0]


def test_grades_of_an_older_version_are_labels_without_a_name(url: str) -> None:
    candidates = [
        CaseCandidate(index, f"d{index}", f"text {index}", index + 1, index + 1, 1.0, grade)
        for index, grade in enumerate((3, None, 0))
    ]
    case = {"tenant": "search", "request_id": "r1", "detector": "manual", "position": -1, "state": "labelled"}
    case |= {"model": "mini", "version": "v1", "note": "", "time": 5.0, "changed": 7.0, "severity": 1.0}
    engine = open_engine(url)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        make_tables(connection, "0005")
        connection.execute(insert(tables.bad_case), case | {"data": pack_case("q", candidates)})
    engine.dispose()
    store = TraceStore(url)
    (migrated,) = list_cases(store)
    labels = read_labels(store, [migrated.id])[migrated.id]
    assert [(each.position, each.labeller, each.grade, each.time) for each in labels] == [
        (0, "", 3, 7.0),
        (2, "", 0, 7.0),
    ]
    assert label_coverage(store).labelled == 2
    assert update_case(store, migrated.id, grades={0: 1}, labeller="Ann").grades == {0: 1, 2: 0}
    assert queued_cases(store, "Ann", queue="second") == []
    assert [case.id for case in queued_cases(store, "Bo", queue="second")] == [migrated.id]
    store.close()


def test_from_the_queue_to_erasure(url: str) -> None:
    store = TraceStore(url)
    for name, margin in (("close", 0.1), ("wide", 2.0), ("theirs", 0.5)):
        write(store, name, margin, 0, tenant="shop" if name == "theirs" else "search")
    assert [trace.request_id for trace in queued_traces(store, "Ann")] == ["close", "theirs", "wide"]
    case = label_ranking(store, full(store, "close"), "Ann", {0: 3, 1: 0})
    label_ranking(store, full(store, "close"), "Bo", {0: 3, 1: 1})
    label_ranking(store, full(store, "theirs"), "Ann", {0: 1})
    assert get_case(store, case.id).grades == {0: 3, 1: 0}
    assert most_common_pair(store) == ("Ann", "Bo")
    agreement = read_agreement(store, "Ann", "Bo", "search")
    assert (agreement.pairs, agreement.same) == (2, 1)
    undo_label(store, case.id, "search", "Bo")
    assert count_changes(store, case.id, "Bo") == 1
    for reason in ("unclear", "still unclear"):
        skip_ranking(store, "search", "wide", "Ann", reason)
    assert [each.reason for each in skipped_rankings(store, "Ann")] == ["still unclear"]
    assert queued_traces(store, "Ann") == []
    coverage = label_coverage(store, "search")
    assert (coverage.rankings, coverage.labelled, coverage.pool) == (1, 2, 2)
    with store.connect() as connection:
        usage = usage_by_tenant(connection)
        rows = list(connection.scalars(select(tables.label.c.id).where(tables.label.c.case_id == case.id)))
    prune(store, RetentionPolicy(seconds=1e-9, pending_seconds=DAY))
    with store.connect() as connection:
        kept = usage_by_tenant(connection)["search"]
    assert kept > len(rows) * LABEL_BYTES
    assert usage["search"] > kept
    assert read_labellers(store) == {"Ann": 3, "Bo": 1}
    assert skipped_rankings(store, "Ann") == []
    erase_tenant(store, "search")
    assert read_labellers(store) == {"Ann": 1}
    erase_tenant(store, "shop")
    with store.connect() as connection:
        assert list(connection.execute(select(tables.label))) == []
    store.close()


def test_labellers_at_the_same_time_lose_nothing(url: str) -> None:
    store = TraceStore(url)
    write(store, "r1", *range(20, 0, -1))
    ranking = full(store, "r1")

    def label(name: str) -> None:
        for position in range(5):
            label_ranking(store, ranking, name, {position: 2})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(label, ["Ann", "Bo", "Cy", "Di"]))
    (case,) = list_cases(store)
    assert case.grades == dict.fromkeys(range(5), 2)
    assert read_labellers(store) == dict.fromkeys(["Ann", "Bo", "Cy", "Di"], 5)
    store.close()
