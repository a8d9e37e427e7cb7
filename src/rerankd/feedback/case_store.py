"""The queue of bad cases in the database.

A ranking is one case, whatever was found in it: tenant and request identify the case, detector and document each of its
reasons.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.feedback.case_reasons import add_reasons, found_by, read_reasons
from rerankd.feedback.cases import (
    MAX_NOTE,
    STATES,
    BadCase,
    State,
    copy_candidates,
    pack_case,
    unpack_case,
    validate_note,
)
from rerankd.feedback.detectors import DETECTORS, MANUAL, WHOLE, Detection
from rerankd.traces.marks import refresh_marks
from rerankd.traces.store import FullTrace, TraceStore
from rerankd.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Conditions on cases; None puts no condition on a field.

    Attributes:
        tenant: id of the API key that sent the request.
        state: state of the case.
        detector: detector that is among its reasons.
        since: earliest detection, seconds since 1970.
    """

    tenant: str | None = None
    state: State | None = None
    detector: str | None = None
    since: float | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Return a query on `bad_case` with these conditions added."""
        columns = tables.bad_case.c
        for name in ("tenant", "state"):
            if (value := getattr(self, name)) is not None:
                query = query.where(columns[name] == value)
        if self.detector is not None:
            query = query.where(found_by(self.detector))
        return query if self.since is None else query.where(columns.time >= self.since)


def add_cases(store: TraceStore, full: FullTrace, detections: Iterable[Detection]) -> int:
    """Add what was detected in a ranking to its case, which is made if there is none.

    Returns:
        Number of detections that the case did not have; 0 for a trace without a request id.

    Raises:
        InvalidRequestError: the name of a detector is unknown.
        UnavailableError: the database cannot be reached.
    """
    trace, now = full.trace, time.time()
    found = {(each.detector, each.position): _checked(each) for each in detections}
    if not found or not trace.request_id:
        return 0
    columns = tables.bad_case.c
    of_ranking = select(tables.bad_case).where(columns.tenant == trace.tenant, columns.request_id == trace.request_id)
    with translate_errors(), store.begin() as connection:
        row = connection.execute(of_ranking.with_for_update()).one_or_none()
        is_new = False
        if row is None:
            insert = sqlite.insert if store.is_sqlite else postgresql.insert
            first = _row(full, next(iter(found.values())), now)
            # Another instance may have added the same case since the query, with its reasons.
            added = insert(tables.bad_case).values(first).on_conflict_do_nothing().returning(columns.id)
            is_new = connection.scalar(added) is not None
            row = connection.execute(of_ranking.with_for_update()).one()
        reasons = () if is_new else read_reasons(connection, [row])[row.id]
        known = {(reason.detector, reason.position) for reason in reasons}
        new = [detection for key, detection in found.items() if key not in known]
        if new:
            add_reasons(connection, row, new, now)
            changes = _extended(row, full, new, now)
            connection.execute(update(tables.bad_case).where(columns.id == row.id).values(changes))
            refresh_marks(connection, [(trace.tenant, trace.request_id)])
    return len(new)


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
    return select_cases(store, query.order_by(columns.severity.desc(), columns.id.desc()).limit(limit))


def select_cases(store: TraceStore, query: Select[Any]) -> list[BadCase]:
    """Return the cases of a query that selects rows of `bad_case`."""
    with store.connect() as connection:
        return _cases(connection, query)


def iter_cases(store: TraceStore, where: CaseFilter | None = None, *, batch_size: int = 200) -> Iterator[BadCase]:
    """Yield all cases by ascending number."""
    last = 0
    columns = tables.bad_case.c
    while True:
        query = (where or CaseFilter()).apply(select(tables.bad_case)).where(columns.id > last)
        with store.connect() as connection:
            cases = _cases(connection, query.order_by(columns.id).limit(batch_size))
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
        return _existing(connection, _by_number(number, tenant), number)


def get_cases(store: TraceStore, numbers: Sequence[int], tenant: str | None = None) -> list[BadCase]:
    """Return cases by their numbers; those that do not exist, or are another tenant's, are left out."""
    cases: list[BadCase] = []
    with store.connect() as connection:
        for batch in batched(list(numbers)):
            of_tenant = CaseFilter(tenant).apply(select(tables.bad_case))
            cases += _cases(connection, of_tenant.where(tables.bad_case.c.id.in_(batch)))
    return cases


def case_of_ranking(store: TraceStore, trace: Trace) -> BadCase | None:
    """Return the case of a ranking; None if it has none."""
    columns = tables.bad_case.c
    query = select(tables.bad_case).where(columns.tenant == trace.tenant, columns.request_id == trace.request_id)
    return next(iter(select_cases(store, query)), None)


def case_numbers(store: TraceStore, traces: Sequence[Trace]) -> dict[int, tuple[int, State]]:
    """Return number and state of the cases of traces, by number of the trace; traces without a case are missing."""
    columns = tables.bad_case.c
    keys = tuple_(columns.tenant, columns.request_id)
    cases: dict[tuple[str, str], tuple[int, State]] = {}
    with store.connect() as connection:
        for batch in batched(sorted({(trace.tenant, trace.request_id) for trace in traces if trace.request_id})):
            query = select(columns.tenant, columns.request_id, columns.id, columns.state).where(keys.in_(batch))
            for tenant, request_id, number, state in connection.execute(query):
                cases[tenant, request_id] = (number, state)
    keyed = ((trace.id, (trace.tenant, trace.request_id)) for trace in traces)
    return {number: cases[key] for number, key in keyed if key in cases}


def count_cases(store: TraceStore, where: CaseFilter | None = None) -> dict[str, int]:
    """Return the number of cases by state."""
    query = (where or CaseFilter()).apply(select(tables.bad_case.c.state, func.count()))
    with store.connect() as connection:
        rows = connection.execute(query.group_by(tables.bad_case.c.state))
        counts = {str(state): int(count) for state, count in rows}
    return {state: counts.get(state, 0) for state in STATES}


def lock_case(connection: Connection, number: int, tenant: str | None) -> BadCase:
    """Return a case, whose row others cannot change before the transaction ends.

    Raises:
        NotFoundError: there is no such case, or it is another tenant's.
    """
    return _existing(connection, _by_number(number, tenant).with_for_update(), number)


def _by_number(number: int, tenant: str | None) -> Select[Any]:
    if not 0 < number < 2**63:
        raise NotFoundError(f"There is no case {number}.", hint="See: rerankd cases list")
    return CaseFilter(tenant).apply(select(tables.bad_case)).where(tables.bad_case.c.id == number)


def _existing(connection: Connection, query: Select[Any], number: int) -> BadCase:
    for case in _cases(connection, query):
        return case
    raise NotFoundError(f"There is no case {number}.", hint="See: rerankd cases list")


def _cases(connection: Connection, query: Select[Any]) -> list[BadCase]:
    rows = connection.execute(query).all()
    reasons = read_reasons(connection, rows)
    cases = []
    for row in rows:
        values = dict(row._mapping)
        text, candidates = unpack_case(bytes(values.pop("data")))
        cases.append(BadCase(**values, query=text, candidates=candidates, reasons=reasons[row.id]))
    return cases


def _checked(detection: Detection) -> Detection:
    if detection.detector not in DETECTORS:
        raise InvalidRequestError(f"There is no detector {detection.detector!r}.", hint=", ".join(DETECTORS))
    return detection


def _extended(row: Row[Any], full: FullTrace, new: Sequence[Detection], now: float) -> dict[str, object]:
    """Return the columns of a case that change with new detections: severity, note, and documents they are about."""
    query, candidates = unpack_case(bytes(row.data))
    by_index = {candidate.index: candidate for candidate in candidates}
    for detection in new:
        for candidate in copy_candidates(full, detection.position):
            by_index.setdefault(candidate.index, candidate)
    notes = dict.fromkeys([*row.note.split("\n"), *(detection.note for detection in new)])
    return {
        "changed": now,
        "severity": max(row.severity, *(detection.severity for detection in new)),
        "note": "\n".join(filter(None, notes))[-MAX_NOTE:],
        "data": pack_case(query, [by_index[index] for index in sorted(by_index)]),
    }


def _row(full: FullTrace, detection: Detection, now: float) -> dict[str, object]:
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
