"""Tables of evaluations and of what each of them found for its queries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "evaluation",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("changed", sa.Double, nullable=False),
        sa.Column("started", sa.Double),
        sa.Column("finished", sa.Double),
        sa.Column("tenant", sa.String),
        *(sa.Column(name, sa.String, nullable=False) for name in ("author", "plan", "state")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("done", "total")),
        *(sa.Column(name, sa.String, nullable=False) for name in ("error", "headline")),
        sa.Column("result", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    op.create_index("evaluation_tenant", "evaluation", ["tenant", "id"])
    op.create_table(
        "evaluation_query",
        sa.Column("evaluation", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
