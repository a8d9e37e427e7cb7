from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.feedback.case_export import training_lines
from rerankd.feedback.case_store import add_cases, count_cases, flag_request, get_case, list_cases
from rerankd.feedback.case_update import update_case
from rerankd.feedback.detectors import Detection
from rerankd.feedback.retention import RetentionPolicy, erase_document, erase_tenant, erase_text, prune
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.feedback.written import write
from tests.unit.traces.rankings import ranking


def test_a_case_is_flagged_labelled_and_fixed(store: TraceStore) -> None:
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
    for number in (0, 2**70, case.id + 1):
        with pytest.raises(NotFoundError):
            get_case(store, number)
    assert count_cases(store) == {"open": 0, "labelled": 0, "in_training": 0, "fixed": 1, "wont_fix": 0}


def test_cases_outlive_their_traces_and_are_erased_with_their_tenant(store: TraceStore) -> None:
    for tenant in ("mine", "yours"):
        write(store, f"SECRET{tenant}", 3, 2, tenant=tenant, query=f"QUERY{tenant}")
        assert flag_request(store, f"SECRET{tenant}", tenant, note=f"NOTE{tenant}")
    prune(store, RetentionPolicy(seconds=1e-9))
    assert store.list_traces() == []
    assert len(list_cases(store)) == 2
    assert erase_tenant(store, "mine").cases == 1
    (remaining,) = list_cases(store)
    assert (remaining.tenant, remaining.query) == ("yours", "QUERYyours")
    folder = Path(str(store.engine.url.database)).parent
    contents = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"NOTEmine" not in contents
    assert b"NOTEyours" in contents


def test_erased_texts_are_erased_from_cases(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    flag_request(store, "r1", "search")
    (case,) = list_cases(store)
    update_case(store, case.id, grades={0: 1})
    erase_document(store, "d1")
    erase_text(store, text_hash("r1 text 2"))
    erase_text(store, text_hash("q"))
    case = get_case(store, case.id)
    assert [candidate.text for candidate in case.candidates] == ["r1 text 0", None, None]
    assert (case.query, case.grades) == (None, {0: 1})
    assert list(training_lines([case])) == []


def test_a_trace_without_request_id_gives_no_case(store: TraceStore) -> None:
    store.write([build_trace(ranking(request_id=""))])
    (trace,) = store.load(store.list_traces())
    assert add_cases(store, trace, [Detection("outlier", -1, 1.0, "")]) == 0
    with pytest.raises(InvalidRequestError, match="no request id"):
        flag_request(store, f"#{trace.trace.id}", None)
