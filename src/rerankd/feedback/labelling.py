"""Labelling: the grades that a person gives to a ranking in the database, whether it is a case yet or not.

A ranking that somebody labels becomes a case, which keeps its own copy of the texts, so that the label outlives the
trace. A case that only labels made goes when the last of them is undone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, select

from rerankd.database import tables
from rerankd.database.errors import translate_errors
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.feedback.case_store import add_cases, case_of_ranking, lock_case
from rerankd.feedback.case_update import save_case, update_case
from rerankd.feedback.cases import MAX_CANDIDATES, BadCase, is_copy_of, with_decided
from rerankd.feedback.detectors import LABELLED, WHOLE, Detection
from rerankd.feedback.label_store import undo_newest
from rerankd.feedback.labels import validate_labeller
from rerankd.traces.marks import refresh_marks
from rerankd.traces.store import TRACE_COLUMNS, FullTrace, TraceFilter, TraceStore
from rerankd.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class UndoneLabel:
    """A change of a label that was undone.

    Attributes:
        position: position of the document in the request, from 0.
        case: the case; None if only labels made it and none is left.
    """

    position: int
    case: BadCase | None


def get_trace(store: TraceStore, number: int, tenant: str | None = None) -> FullTrace:
    """Return a trace by its number.

    Raises:
        NotFoundError: there is no such trace, or it is another tenant's.
    """
    traces = []
    if 0 < number < 2**63:
        query = TraceFilter(tenant=tenant).apply(select(*TRACE_COLUMNS)).where(tables.trace.c.id == number)
        with store.connect() as connection:
            traces = [Trace(*row) for row in connection.execute(query)]
    for full in store.load(traces):
        return full
    raise NotFoundError(
        f"There is no trace {number}.", hint="It may have been deleted: traces are kept for traces_days, cases longer."
    )


def own_id(trace: Trace) -> str:
    """Return the id under which a ranking becomes a case if it has no request id, or shares it with another one."""
    return f"#{trace.id}"


def case_of(store: TraceStore, full: FullTrace) -> BadCase | None:
    """Return the case of a ranking; None if it has none."""
    for request_id in filter(None, (full.trace.request_id, own_id(full.trace))):
        case = case_of_ranking(store, replace(full.trace, request_id=request_id))
        if case is not None and is_copy_of(case, full):
            return case
    return None


def trace_of(store: TraceStore, case: BadCase) -> Trace | None:
    """Return the newest trace of a case's ranking; None if it was deleted."""
    if case.request_id.startswith("#") and case.request_id[1:].isdecimal():
        query = select(*TRACE_COLUMNS).where(tables.trace.c.id == int(case.request_id[1:19]))
        query = TraceFilter(tenant=case.tenant).apply(query)
        with store.connect() as connection:
            traces = [Trace(*row) for row in connection.execute(query)]
    else:
        traces = store.list_traces(TraceFilter(tenant=case.tenant, request_id=case.request_id), limit=10)
    for full in store.load(traces):
        if is_copy_of(case, full):
            return full.trace
    return None


def label_ranking(store: TraceStore, full: FullTrace, labeller: str, grades: Mapping[int, int | None]) -> BadCase:
    """Give grades to documents of a ranking; it becomes a case if it is none.

    Args:
        store: store of traces and cases.
        full: the ranking.
        labeller: name of the labeller.
        grades: grades by position; None takes the labeller's grade back.

    Returns:
        The updated case.

    Raises:
        InvalidRequestError: a grade or the name is not valid, or the ranking has no such document.
        UnavailableError: the database cannot be reached.
    """
    validate_labeller(labeller)
    for position in grades:
        if not (0 <= position < len(full.candidates) and full.candidates.shown[position]):
            raise InvalidRequestError(
                f"There is no document {position}.",
                hint=f"The ranking has {len(full.candidates)}, counted from 0; those that rules hide have no grade.",
            )
    case = case_of(store, full)
    copied = {candidate.index for candidate in case.candidates} if case else set()
    missing = [] if case else [WHOLE]
    missing += [position for position in grades if position not in copied and (case or _is_low(full, position))]
    if missing:
        add_cases(store, _named(store, full), [Detection(LABELLED, position, 0.0, "") for position in missing])
        case = case_of(store, full)
    if case is None:
        raise NotFoundError("The ranking was erased.", hint="Open another one.")
    return update_case(store, case.id, full.trace.tenant, grades, labeller=labeller)


def undo_label(store: TraceStore, number: int, tenant: str | None, labeller: str) -> UndoneLabel | None:
    """Undo a labeller's last change in a case: the grade of before is in force again.

    Args:
        store: store of the case.
        number: number of the case.
        tenant: tenant that it must belong to; None for any.
        labeller: name of the labeller.

    Returns:
        What was undone; None if there is nothing to undo.

    Raises:
        NotFoundError: there is no such case, or it is another tenant's.
        UnavailableError: the database cannot be reached.
    """
    with translate_errors(), store.begin() as connection:
        case = lock_case(connection, number, tenant)
        undone = undo_newest(connection, case, validate_labeller(labeller))
        if undone is None:
            return None
        position, grade = undone
        case = with_decided(case, {position: grade})
        if _only_labels_made(connection, case):
            connection.execute(delete(tables.bad_case_reason).where(tables.bad_case_reason.c.case_id == case.id))
            connection.execute(delete(tables.bad_case).where(tables.bad_case.c.id == case.id))
            refresh_marks(connection, [(case.tenant, case.request_id)])
            return UndoneLabel(position, None)
        save_case(connection, case, time.time())
    return UndoneLabel(position, case)


def _only_labels_made(connection: Connection, case: BadCase) -> bool:
    """Return True for a case without a reason, a decision or a note of its own, whose last label is gone."""
    if case.state != "open" or case.note or any(reason.detector != LABELLED for reason in case.reasons):
        return False
    rows = select(tables.label.c.id).where(tables.label.c.case_id == case.id).limit(1)
    return connection.scalar(rows) is None


def _is_low(full: FullTrace, position: int) -> bool:
    return bool(full.candidates.ranks[position] > MAX_CANDIDATES)


def _named(store: TraceStore, full: FullTrace) -> FullTrace:
    """Return a ranking under the id of its case: its own if the request has no id, or another ranking has that id."""
    case = case_of_ranking(store, full.trace) if full.trace.request_id else None
    if full.trace.request_id and (case is None or is_copy_of(case, full)):
        return full
    return replace(full, trace=replace(full.trace, request_id=own_id(full.trace)))
