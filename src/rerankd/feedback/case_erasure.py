"""Erasure of cases, and of texts in them, within a transaction."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, delete, select, update

from rerankd.database import tables
from rerankd.feedback.case_store import CaseFilter
from rerankd.feedback.cases import CaseCandidate, pack_case, unpack_case
from rerankd.traces.hashing import text_hash


def erase_tenant_cases(connection: Connection, tenant: str) -> int:
    """Delete a tenant's cases within a transaction, with the labels on them; returns their number."""
    columns = tables.bad_case.c
    of_tenant = select(columns.id).where(columns.tenant == tenant)
    connection.execute(delete(tables.bad_case_reason).where(tables.bad_case_reason.c.case_id.in_(of_tenant)))
    connection.execute(delete(tables.label).where(tables.label.c.case_id.in_(of_tenant)))
    connection.execute(delete(tables.label_skip).where(tables.label_skip.c.tenant == tenant))
    return int(connection.execute(delete(tables.bad_case).where(columns.tenant == tenant)).rowcount)


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
