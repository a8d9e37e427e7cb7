"""The queue of bad cases in the database.

A problem that is detected twice is one case: tenant, request, detector and document identify it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.feedback.cases import (
    MAX_NOTE,
    STATES,
    BadCase,
    CaseCandidate,
    State,
    copy_candidates,
    pack_case,
    unpack_case,
    validate_grades,
    validate_note,
    with_grades,
)
from rerankd.feedback.detectors import DETECTORS, MANUAL, WHOLE, Detection
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import FullTrace, TraceStore


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Conditions on cases; None puts no condition on a field.

    Attributes:
        tenant: id of the API key that sent the request.
        state: state of the case.
        detector: detector that found it.
        since: earliest detection, seconds since 1970.
    """

    tenant: str | None = None
    state: State | None = None
    detector: str | None = None
    since: float | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Return a query on `bad_case` with these conditions added."""
        columns = tables.bad_case.c
        for name in ("tenant", "state", "detector"):
            if (value := getattr(self, name)) is not None:
                query = query.where(columns[name] == value)
        return query if self.since is None else query.where(columns.time >= self.since)


def add_cases(store: TraceStore, full: FullTrace, detections: Iterable[Detection]) -> int:
    """Add the detections of a trace to the queue; cases that exist stay as they are.

    Returns:
        Number of new cases; 0 for a trace without a request id.

    Raises:
        InvalidRequestError: the name of a detector is unknown.
        UnavailableError: the database cannot be reached.
    """
    trace, now = full.trace, time.time()
    by_key = {(detection.detector, detection.position): detection for detection in detections}
    if not by_key or not trace.request_id:
        return 0
    columns = tables.bad_case.c
    of_request = (columns.tenant == trace.tenant, columns.request_id == trace.request_id)
    with translate_errors(), store.begin() as connection:
        query = select(columns.detector, columns.position).where(*of_request)
        existing = {tuple(row) for row in connection.execute(query)}
        rows = [_row(full, detection, now) for key, detection in by_key.items() if key not in existing]
        if rows:
            insert = sqlite.insert if store.is_sqlite else postgresql.insert
            # Another instance may have added the same case since the query.
            connection.execute(insert(tables.bad_case).on_conflict_do_nothing(), rows)
    return len(rows)


def flag_request(store: TraceStore, name: str, tenant: str | None, index: int | None = None, note: str = "") -> int:
    """Add a request to the queue by hand.

    Args:
        store: store of traces and cases.
        name: request id, or number of a trace.
        tenant: tenant that it must belong to; None for any.
        index: position of the document that is ranked wrong; None for the whole ranking.
        note: explanation.

    Returns:
        Number of new cases: 1, or 0 if it was flagged before.

    Raises:
        NotFoundError: the tenant has no such trace.
        InvalidRequestError: the trace has no such document, or none that was shown, or no request id.
    """
    full = store.find_trace(name, tenant)
    if full is None:
        raise NotFoundError(
            f"There is no trace {name[:100]!r}.", hint="A trace is written a moment after its request was answered."
        )
    if not full.trace.request_id:
        raise InvalidRequestError("This trace has no request id.", hint="Set request_id in the request.")
    if index is not None and not (0 <= index < len(full.candidates) and full.candidates.shown[index]):
        raise InvalidRequestError(
            f"There is no document {index}.",
            hint=f"The request has {len(full.candidates)}, counted from 0; those that rules hide cannot be flagged.",
        )
    position = WHOLE if index is None else index
    return add_cases(store, full, [Detection(MANUAL, position, 1.0, validate_note(note))])


def list_cases(store: TraceStore, where: CaseFilter | None = None, *, limit: int = 50) -> list[BadCase]:
    """Return cases by descending severity, then the newest first."""
    columns = tables.bad_case.c
    query = (where or CaseFilter()).apply(select(tables.bad_case))
    query = query.order_by(columns.severity.desc(), columns.id.desc()).limit(limit)
    with store.connect() as connection:
        return [_case(row) for row in connection.execute(query)]


def iter_cases(store: TraceStore, where: CaseFilter | None = None, *, batch_size: int = 200) -> Iterator[BadCase]:
    """Yield all cases by ascending number."""
    last = 0
    columns = tables.bad_case.c
    while True:
        query = (where or CaseFilter()).apply(select(tables.bad_case)).where(columns.id > last)
        with store.connect() as connection:
            cases = [_case(row) for row in connection.execute(query.order_by(columns.id).limit(batch_size))]
        if not cases:
            return
        yield from cases
        last = cases[-1].id


def get_case(store: TraceStore, number: int, tenant: str | None = None) -> BadCase:
    """Return a case by its number.

    Raises:
        NotFoundError: there is no such case, or it is another tenant's.
    """
    with store.connect() as connection:
        return _existing(connection.execute(_by_number(number, tenant)).one_or_none(), number)


def count_cases(store: TraceStore) -> dict[str, int]:
    """Return the number of cases by state."""
    query = select(tables.bad_case.c.state, func.count()).group_by(tables.bad_case.c.state)
    with store.connect() as connection:
        counts = {str(state): int(count) for state, count in connection.execute(query)}
    return {state: counts.get(state, 0) for state in STATES}


def update_case(
    store: TraceStore,
    number: int,
    tenant: str | None = None,
    grades: Mapping[int, int] | None = None,
    state: State | None = None,
    note: str = "",
) -> BadCase:
    """Add grades, set the state and append a note, in one transaction.

    Args:
        store: store of the case.
        number: number of the case.
        tenant: tenant that it must belong to; None for any.
        grades: grades by position in the request: 0 for irrelevant, above for relevant. Earlier grades of other
            documents stay. An open case becomes `labelled`.
        state: new state; None keeps it.
        note: note that is appended.

    Returns:
        The updated case.

    Raises:
        NotFoundError: there is no such case, or it is another tenant's.
        InvalidRequestError: a grade, a document, the state or the note is not valid, or `labelled` or `in_training` is
            set for a case without grades.
    """
    with translate_errors(), store.begin() as connection:
        case = _existing(connection.execute(_by_number(number, tenant).with_for_update()).one_or_none(), number)
        validate_grades(case, grades or {})
        all_grades = case.grades | dict(grades or {})
        new_state: State = state or ("labelled" if grades and case.state == "open" else case.state)
        if new_state not in STATES:
            raise InvalidRequestError(f"There is no state {new_state!r}.", hint=f"Use one of: {', '.join(STATES)}.")
        if new_state in ("labelled", "in_training") and not all_grades:
            raise InvalidRequestError(f"Case {number} has no grades.", hint="Grade its documents first.")
        notes = "\n".join(filter(None, (case.note, validate_note(note))))[-MAX_NOTE:]
        values: dict[str, object] = {"changed": time.time(), "state": new_state, "note": notes}
        values["data"] = pack_case(case.query, with_grades(case.candidates, all_grades))
        connection.execute(update(tables.bad_case).where(tables.bad_case.c.id == number).values(values))
    return get_case(store, number)


def set_state(store: TraceStore, numbers: Sequence[int], state: State) -> None:
    """Set the state of cases by number."""
    columns = tables.bad_case.c
    with translate_errors(), store.begin() as connection:
        for batch in batched(list(numbers)):
            changed = update(tables.bad_case).where(columns.id.in_(batch))
            connection.execute(changed.values(changed=time.time(), state=state))


def erase_tenant_cases(connection: Connection, tenant: str) -> int:
    """Delete a tenant's cases within a transaction; returns their number."""
    return int(connection.execute(delete(tables.bad_case).where(tables.bad_case.c.tenant == tenant)).rowcount)


def erase_case_texts(
    connection: Connection, *, document: str | None = None, digest: str | None = None, tenant: str | None = None
) -> int:
    """Erase texts from cases within a transaction, by document id or by SHA-256; the cases stay.

    Args:
        connection: connection of the transaction.
        document: id of the documents to erase.
        digest: SHA-256 of the text to erase, in hexadecimal; it may be a query as well.
        tenant: tenant whose cases are searched; None for all.

    Returns:
        Number of erased texts.
    """
    columns = tables.bad_case.c

    def is_erased(candidate: CaseCandidate) -> bool:
        if candidate.text is None:
            return False
        return candidate.id == document if document is not None else text_hash(candidate.text) == digest

    count = 0
    for number, data in connection.execute(CaseFilter(tenant).apply(select(columns.id, columns.data))).all():
        query, candidates = unpack_case(bytes(data))
        kept = [replace(candidate, text=None) if is_erased(candidate) else candidate for candidate in candidates]
        is_query_erased = query is not None and digest is not None and text_hash(query) == digest
        erased = sum(map(is_erased, candidates)) + is_query_erased
        if erased:
            packed = pack_case(None if is_query_erased else query, kept)
            connection.execute(update(tables.bad_case).where(columns.id == number).values(data=packed))
            count += erased
    return count


def _by_number(number: int, tenant: str | None) -> Select[Any]:
    if not 0 < number < 2**63:
        raise NotFoundError(f"There is no case {number}.", hint="See: rerankd cases list")
    return CaseFilter(tenant).apply(select(tables.bad_case)).where(tables.bad_case.c.id == number)


def _existing(row: Row[Any] | None, number: int) -> BadCase:
    if row is None:
        raise NotFoundError(f"There is no case {number}.", hint="See: rerankd cases list")
    return _case(row)


def _case(row: Row[Any]) -> BadCase:
    values = dict(row._mapping)
    query, candidates = unpack_case(bytes(values.pop("data")))
    return BadCase(**values, query=query, candidates=candidates)


def _row(full: FullTrace, detection: Detection, now: float) -> dict[str, object]:
    if detection.detector not in DETECTORS:
        raise InvalidRequestError(f"There is no detector {detection.detector!r}.", hint=", ".join(DETECTORS))
    trace = full.trace
    return {
        "time": now,
        "changed": now,
        "tenant": trace.tenant,
        "request_id": trace.request_id,
        "detector": detection.detector,
        "position": detection.position,
        "state": "open",
        "model": trace.model,
        "version": trace.version,
        "note": detection.note,
        "severity": detection.severity,
        "data": pack_case(full.query, copy_candidates(full, detection.position)),
    }
