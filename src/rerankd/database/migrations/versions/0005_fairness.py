"""Bytes of a trace, for retention that is fair between tenants; one case per ranking, with its reasons in a table."""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

DOCUMENT_BYTES = 500  # of a document in a trace that an older version wrote
REASON = ("detector", "position", "time", "severity", "note")
GRADE = 6  # column of a candidate in the data of a case


def upgrade() -> None:
    """Add the column, an estimate in existing traces; merge the cases of each ranking."""
    op.add_column("trace", sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(f"UPDATE trace SET bytes = documents * {DOCUMENT_BYTES}")  # noqa: S608  a constant
    op.create_table(
        "bad_case_reason",
        sa.Column("case_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("detector", sa.String, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("severity", sa.Double, nullable=False),
        sa.Column("note", sa.String, nullable=False),
    )
    _merge_cases()
    op.create_index("bad_case_ranking", "bad_case", ["tenant", "request_id"], unique=True)


def _merge_cases() -> None:
    connection = op.get_bind()
    case, reason = (sa.Table(name, sa.MetaData(), autoload_with=connection) for name in ("bad_case", "bad_case_reason"))
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in connection.execute(sa.select(case.c.id, case.c.tenant, case.c.request_id).order_by(case.c.id)):
        groups[row.tenant, row.request_id].append(row.id)
    for ids in groups.values():
        rows = list(connection.execute(sa.select(case).where(case.c.id.in_(ids)).order_by(case.c.changed, case.c.id)))
        reasons = [{"case_id": ids[0], **{name: row._mapping[name] for name in REASON}} for row in rows]
        connection.execute(sa.insert(reason), reasons)
        if len(rows) > 1:
            connection.execute(sa.update(case).where(case.c.id == ids[0]).values(**_merged(rows)))
            connection.execute(sa.delete(case).where(case.c.id.in_(ids[1:])))


def _merged(rows: list[Any]) -> dict[str, object]:
    """Return the values of one case for several, the last changed last: of two grades the later one counts."""
    query, candidates = None, dict[int, list[Any]]()
    for row in rows:
        text, listed = orjson.loads(zlib.decompress(bytes(row.data)))
        query = text if query is None else query
        for candidate in listed:
            known = candidates.get(candidate[0])
            if candidate[GRADE] is None and known is not None:
                candidate[GRADE] = known[GRADE]
            candidates[candidate[0]] = candidate
    data = orjson.dumps([query, [candidates[index] for index in sorted(candidates)]])
    return {
        "changed": rows[-1].changed,
        "state": next((row.state for row in reversed(rows) if row.state != "open"), "open"),
        "note": "\n".join(dict.fromkeys(row.note for row in rows if row.note)),
        "severity": max(row.severity for row in rows),
        "data": zlib.compress(data, 6),
    }
