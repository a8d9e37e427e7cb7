"""Marks of traces whose ranking has feedback or a bad case, so that lists need not look for either."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from sqlalchemy import Connection, ScalarSelect, Table, exists, or_, select, tuple_, update

from rerankd.database import tables
from rerankd.database.connection import batched

Ranking = tuple[str, str]
"""Tenant and request id."""


def refresh_marks(connection: Connection, rankings: Collection[Ranking]) -> None:
    """Set the marks of the traces of rankings to what the tables of feedback and cases hold.

    Args:
        connection: connection of the transaction that changed feedback or cases.
        rankings: tenant and request id of each ranking.
    """
    columns = tables.trace.c
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for tenant, request_id in sorted(set(rankings)):
        by_tenant[tenant].append(request_id)
    has_feedback, has_case = _exists(tables.feedback), _exists(tables.bad_case)
    differs = or_(columns.has_feedback != has_feedback, columns.has_case != has_case)
    for tenant, request_ids in by_tenant.items():
        for batch in batched(request_ids):
            statement = update(tables.trace).where(columns.request_id.in_(batch), columns.tenant == tenant, differs)
            connection.execute(statement.values(has_feedback=has_feedback, has_case=has_case))


def marked(connection: Connection, table: Table, rankings: Collection[Ranking]) -> set[Ranking]:
    """Return those of the rankings that have rows in the table of feedback or of cases."""
    found: set[Ranking] = set()
    keys = tuple_(table.c.tenant, table.c.request_id)
    for batch in batched(sorted({ranking for ranking in rankings if ranking[1]})):
        rows = connection.execute(select(table.c.tenant, table.c.request_id).where(keys.in_(batch)).distinct())
        found |= {(tenant, request_id) for tenant, request_id in rows}
    return found


def _exists(table: Table) -> ScalarSelect[bool]:
    same = (table.c.request_id == tables.trace.c.request_id, table.c.tenant == tables.trace.c.tenant)
    return select(exists().where(*same).correlate(tables.trace)).scalar_subquery()
