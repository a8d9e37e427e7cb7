"""Initial schema: passages, traces with their candidates, and feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables and their indexes."""
    store = op.create_table(
        "trace_store",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_trace", sa.BigInteger, nullable=False),
        sa.Column("next_passage", sa.BigInteger, nullable=False),
        sa.Column("erased", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(store, [{"id": 1, "next_trace": 1, "next_passage": 1, "erased": 0}])
    op.create_table(
        "passage",
        sa.Column("id", _Id, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("deflated", sa.Boolean, nullable=False),
        sa.Column("seen", sa.Double, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("passage_seen", "passage", ["seen"])
    op.create_table(
        "trace",
        sa.Column("id", _Id, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Double, nullable=False),
        *(
            sa.Column(name, sa.String, nullable=False)
            for name in ("tenant", "request_id", "source", "model", "version")
        ),
        sa.Column("query", sa.BigInteger, nullable=False),
        sa.Column("parameters", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("documents", "kept", "top_before")),
        sa.Column("top_score", sa.Double, nullable=False),
        sa.Column("margin", sa.Double),
        sa.Column("tau", sa.Double),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("truncated", "cached", "tokens")),
        *(
            sa.Column(name, sa.Double, nullable=False)
            for name in ("tokenization_ms", "queue_ms", "inference_ms", "total_ms")
        ),
    )
    op.create_index("trace_time", "trace", ["time", "margin", "id"])
    op.create_index("trace_tenant_time", "trace", ["tenant", "time", "margin", "id"])
    op.create_index("trace_request", "trace", ["request_id", "tenant"])
    op.create_table(
        "candidates",
        sa.Column("trace", _Id, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "feedback",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("time", sa.Double, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("tenant", "request_id", "kind")),
        sa.Column("position", sa.Integer),
        sa.Column("document", sa.String),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("source", sa.SmallInteger, nullable=False),
    )
    op.create_index("feedback_time", "feedback", ["time"])
    op.create_index("feedback_request", "feedback", ["request_id", "tenant"])
