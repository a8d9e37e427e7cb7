"""The reasons of cases in the database: what detectors, or people, found in a ranking."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, or_, select

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.feedback.cases import CaseReason
from rerankd.feedback.detectors import Detection


def found_by(detector: str) -> ColumnElement[bool]:
    """Return the condition that a detector is among the reasons of a case."""
    columns, reason = tables.bad_case.c, tables.bad_case_reason.c
    among = select(reason.case_id).where(reason.detector == detector)
    return or_(columns.detector == detector, columns.id.in_(among))


def read_reasons(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, tuple[CaseReason, ...]]:
    """Return the reasons of cases by number, the oldest first; a case that an older version added has its only one."""
    columns = tables.bad_case_reason.c
    reasons: dict[int, list[CaseReason]] = defaultdict(list)
    for batch in batched([row.id for row in rows]):
        query = select(tables.bad_case_reason).where(columns.case_id.in_(batch))
        for row in connection.execute(query.order_by(columns.time, columns.detector, columns.position)):
            reason = CaseReason(row.detector, row.position, row.severity, row.note, row.time)
            reasons[row.case_id].append(reason)
    return {row.id: tuple(reasons[row.id]) or (_own_reason(row),) for row in rows}


def add_reasons(connection: Connection, case: Row[Any], detections: Iterable[Detection], now: float) -> None:
    """Add reasons that the case does not have."""
    columns = tables.bad_case_reason.c
    has_rows = connection.scalar(select(columns.case_id).where(columns.case_id == case.id).limit(1)) is not None
    added = {
        (each.detector, each.position): CaseReason(each.detector, each.position, each.severity, each.note, now)
        for each in detections
    }
    own = _own_reason(case)
    if not has_rows:  # the case is new, or an older version added it
        added.setdefault((own.detector, own.position), own)
    rows = [
        {
            "case_id": case.id,
            "detector": reason.detector,
            "position": reason.position,
            "time": reason.time,
            "severity": reason.severity,
            "note": reason.note,
        }
        for reason in added.values()
    ]
    connection.execute(insert(tables.bad_case_reason), rows)


def _own_reason(case: Row[Any]) -> CaseReason:
    return CaseReason(case.detector, case.position, case.severity, case.note, case.time)
