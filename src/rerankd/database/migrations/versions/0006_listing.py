"""Indexes that answer for lists of traces; marks of traces with feedback and cases; queries as they are searched."""

from __future__ import annotations

import unicodedata
import zlib

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
BATCH_SIZE = 5000
MAX_CHARACTERS = 1000
LISTED = (
    *("time", "id", "margin", "promotion", "total_ms", "model", "version", "experiment", "arm", "query"),
    *("has_feedback", "has_case"),
)


def upgrade() -> None:
    """Add and fill the columns and the table, and create the indexes."""
    for column, table in (("has_feedback", "feedback"), ("has_case", "bad_case")):
        op.add_column("trace", sa.Column(column, sa.Boolean, nullable=False, server_default=sa.false()))
        of_trace = f"{table}.request_id = trace.request_id AND {table}.tenant = trace.tenant"
        op.execute(f"UPDATE trace SET {column} = TRUE WHERE EXISTS (SELECT 1 FROM {table} WHERE {of_trace})")  # noqa: S608  constants
    for name, columns in (("trace_time", LISTED), ("trace_tenant_time", ("tenant", *LISTED))):
        op.drop_index(name, "trace")
        op.create_index(name, "trace", list(columns))
    op.create_index("trace_promotion", "trace", ["promotion", "id"])
    op.create_index("trace_total", "trace", ["total_ms", "id"])
    op.create_table(
        "query_text",
        sa.Column("id", _Id, primary_key=True, autoincrement=False),
        sa.Column("text", sa.String, nullable=False),
    )
    _fill_queries()


def _fill_queries() -> None:
    connection = op.get_bind()
    passage, trace, query_text = (
        sa.Table(name, sa.MetaData(), autoload_with=connection) for name in ("passage", "trace", "query_text")
    )
    last = 0
    while True:
        of_trace = sa.select(trace.c.query).where(trace.c.query > last).distinct().order_by(trace.c.query)
        numbers = list(connection.scalars(of_trace.limit(BATCH_SIZE)))
        if not numbers:
            return
        query = sa.select(passage.c.id, passage.c.deflated, passage.c.data)
        rows = connection.execute(
            query.where(passage.c.id.between(numbers[0], numbers[-1]), passage.c.id.in_(of_trace))
        )
        texts = [{"id": number, "text": _folded(data, deflated=deflated)} for number, deflated, data in rows]
        if texts:
            connection.execute(sa.insert(query_text), texts)
        last = numbers[-1]


def _folded(data: bytes, *, deflated: bool) -> str:
    text = (zlib.decompress(data) if deflated else bytes(data)).decode("utf-8", "surrogatepass")
    folded = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold()
    return " ".join(folded.replace("\0", " ").encode("utf-8", "replace").decode().split())
