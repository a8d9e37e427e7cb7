"""Rank-change measures of traces, and the table of bad cases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the columns, NULL in existing traces, and create the table."""
    op.add_column("trace", sa.Column("rbo", sa.Double))
    op.add_column("trace", sa.Column("promotion", sa.Double))
    op.create_table(
        "bad_case",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("changed", sa.Double, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("tenant", "request_id", "detector")),
        sa.Column("position", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("state", "model", "version", "note")),
        sa.Column("severity", sa.Double, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("tenant", "request_id", "detector", "position", name="bad_case_once"),
    )
    op.create_index("bad_case_state", "bad_case", ["state", "severity"])
