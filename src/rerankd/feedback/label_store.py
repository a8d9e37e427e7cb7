"""Labels in the database: the history of each labeller's grades on the documents of a case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, distinct, func, insert, select, update

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.feedback.cases import BadCase
from rerankd.feedback.labels import ANONYMOUS, POOL_DEPTH, Label, decided_grades
from rerankd.traces.store import TraceStore

MAX_HISTORY = 10  # rows that are kept of a labeller on a document: how often a change can be undone


@dataclass(frozen=True, slots=True)
class LabelCoverage:
    """Share of the rankings that is labelled.

    Attributes:
        rankings: rankings with a label.
        pool: documents among the first ten of these rankings.
        labelled: documents among them that have a label.
    """

    rankings: int
    pool: int
    labelled: int


def is_present() -> ColumnElement[bool]:
    """Return the condition that a row of `label` is in force."""
    columns = tables.label.c
    return and_(columns.replaced.is_(False), columns.grade.is_not(None))


def add_labels(
    connection: Connection, case: BadCase, labeller: str, grades: Mapping[int, int | None], now: float
) -> dict[int, int | None]:
    """Add a labeller's grades within a transaction that holds the row of the case.

    Args:
        connection: connection of the transaction.
        case: the case.
        labeller: name of the labeller.
        grades: grades by position; None takes the labeller's grade back.
        now: seconds since 1970.

    Returns:
        The grade that counts now, by position; None where no label is left.
    """
    history = _history(connection, case.id, labeller)
    pool = sum(candidate.rank_after <= POOL_DEPTH for candidate in case.candidates)
    ranks = {candidate.index: candidate.rank_after for candidate in case.candidates}
    added, replaced, forgotten = [], list[int](), list[int]()
    for position, grade in grades.items():
        rows = history[position]
        if grade == (rows[-1].grade if rows else None):
            continue
        replaced += [row.id for row in rows[-1:]]
        forgotten += [row.id for row in rows[: -(MAX_HISTORY - 1)]]
        added.append(
            {
                "case_id": case.id,
                "position": position,
                "labeller": labeller,
                "grade": grade,
                "time": now,
                "rank": ranks[position],
                "pool": pool,
                "replaced": False,
            }
        )
    for batch in batched(replaced):
        connection.execute(update(tables.label).where(tables.label.c.id.in_(batch)).values(replaced=True))
    for batch in batched(forgotten):
        connection.execute(delete(tables.label).where(tables.label.c.id.in_(batch)))
    if added:
        connection.execute(insert(tables.label), added)
    decided = decided_grades(labels_of(connection, [case.id])[case.id])
    return {position: decided.get(position) for position in grades}


def undo_newest(connection: Connection, case: BadCase, labeller: str) -> tuple[int, int | None] | None:
    """Undo a labeller's last change in a case within a transaction that holds the row of the case.

    Args:
        connection: connection of the transaction.
        case: the case.
        labeller: name of the labeller.

    Returns:
        Position of the document, and the grade that counts for it now; None if there is nothing to undo.
    """
    columns = tables.label.c
    rows = sorted((row for rows in _history(connection, case.id, labeller).values() for row in rows), key=_by_id)
    if not rows:
        return None
    newest = rows.pop()
    connection.execute(delete(tables.label).where(columns.id == newest.id))
    before = [row.id for row in rows if row.position == newest.position][-1:]
    connection.execute(update(tables.label).where(columns.id.in_(before)).values(replaced=False))
    decided = decided_grades(labels_of(connection, [case.id])[case.id])
    return newest.position, decided.get(newest.position)


def labels_of(connection: Connection, cases: Sequence[int]) -> dict[int, list[Label]]:
    """Return the present labels on cases by number of the case, the oldest first."""
    columns = tables.label.c
    labels: dict[int, list[Label]] = {number: [] for number in cases}
    for batch in batched(cases):
        query = select(tables.label).where(columns.case_id.in_(batch), is_present()).order_by(columns.id)
        for row in connection.execute(query):
            labels[row.case_id].append(Label(row.position, row.labeller, row.grade, row.time))
    return labels


def read_labels(store: TraceStore, cases: Iterable[int]) -> dict[int, list[Label]]:
    """Return the present labels on cases by number of the case, the oldest first.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    with store.connect() as connection:
        return labels_of(connection, list(cases))


def count_changes(store: TraceStore, case: int, labeller: str) -> int:
    """Return the number of changes of a labeller in a case that can be undone."""
    columns = tables.label.c
    query = select(func.count()).where(columns.case_id == case, columns.labeller == labeller)
    with store.connect() as connection:
        return int(connection.scalar(query) or 0)


def read_labellers(store: TraceStore, tenant: str | None = None) -> dict[str, int]:
    """Return the number of documents that each labeller with a name graded, by name.

    Args:
        store: store of the labels.
        tenant: tenant whose cases count; None for all.
    """
    columns = tables.label.c
    query = select(columns.labeller, func.count()).where(is_present(), columns.labeller != ANONYMOUS)
    if tenant is not None:
        query = query.where(of_tenant(columns.case_id, tenant))
    with store.connect() as connection:
        rows = connection.execute(query.group_by(columns.labeller).order_by(columns.labeller))
        return {str(name): int(count) for name, count in rows}


def label_coverage(store: TraceStore, tenant: str | None = None) -> LabelCoverage:
    """Return how many of the first ten documents are labelled in the rankings that have a label.

    Args:
        store: store of the labels.
        tenant: tenant whose cases count; None for all.
    """
    columns = tables.label.c
    labelled = func.count(distinct(columns.position)).filter(columns.rank <= POOL_DEPTH).label("labelled")
    query = select(func.max(columns.pool).label("pool"), labelled).where(is_present())
    if tenant is not None:
        query = query.where(of_tenant(columns.case_id, tenant))
    each = query.group_by(columns.case_id).subquery()
    with store.connect() as connection:
        row = connection.execute(select(func.count(), func.sum(each.c.pool), func.sum(each.c.labelled))).one()
    return LabelCoverage(*(int(value or 0) for value in row))


def delete_labels(connection: Connection, cases: Sequence[int]) -> None:
    """Delete all labels on cases, with their history, within a transaction."""
    for batch in batched(cases):
        connection.execute(delete(tables.label).where(tables.label.c.case_id.in_(batch)))


def of_tenant(case_id: ColumnElement[int], tenant: str) -> ColumnElement[bool]:
    """Return the condition that a case is a tenant's."""
    return case_id.in_(select(tables.bad_case.c.id).where(tables.bad_case.c.tenant == tenant))


def _history(connection: Connection, case: int, labeller: str) -> defaultdict[int, list[Row[Any]]]:
    """Return a labeller's rows in a case by position, the oldest first."""
    columns = tables.label.c
    query = select(tables.label).where(columns.labeller == labeller, columns.case_id == case).order_by(columns.id)
    rows: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        rows[row.position].append(row)
    return rows


def _by_id(row: Row[Any]) -> int:
    return int(row.id)
