"""Summaries of rankings by time, and what feedback says of single rankings; they are filled when first read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
COUNTS = (
    *("requests", "jobs", "slow", "top_changed", "documents", "truncated", "cached"),
    *("tau_count", "rbo_count", "promotion_count", "margin_count"),
)
TOTALS = ("tau_total", "rbo_total", "promotion_total", "margin_total")


def upgrade() -> None:
    """Create the tables, with the one row of the state."""
    op.create_table(
        "activity_summary",
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.String, primary_key=True) for name in ("tenant", "model")),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.String, primary_key=True),
        sa.Column("first", sa.Double, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
        *(sa.Column(name, sa.Double, nullable=False) for name in TOTALS),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "judged_ranking",
        sa.Column("trace", _Id, primary_key=True, autoincrement=False),
        sa.Column("minute", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("tenant", "model")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("chosen", "rejected")),
        *(sa.Column(name, sa.Double) for name in ("reciprocal_before", "reciprocal_after")),
    )
    op.create_index("judged_ranking_minute", "judged_ranking", ["minute"])
    op.create_table(
        "activity_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("traces", "feedback_settled", "feedback_marked", "feedback_seen")
        ),
        sa.Column("feedback_time", sa.Double, nullable=False),
    )
    op.execute("INSERT INTO activity_state VALUES (1, 0, 0, 0, 0, 0)")
