"""Tables of experiments, their events, statistics and units; experiment and variant of a trace."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_PART = sa.text("experiment <> ''")


def upgrade() -> None:
    """Add the columns, empty in existing traces, and create the tables."""
    op.add_column("trace", sa.Column("experiment", sa.String, nullable=False, server_default=""))
    op.add_column("trace", sa.Column("arm", sa.String, nullable=False, server_default=""))
    op.add_column("trace", sa.Column("teams", sa.String))
    op.create_index("trace_experiment", "trace", ["experiment", "time"], sqlite_where=_PART, postgresql_where=_PART)
    op.create_table(
        "experiment",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        *(
            sa.Column(name, sa.String, nullable=False)
            for name in ("name", "kind", "model", "challenger", "unit", "seed")
        ),
        sa.Column("coverage", sa.Double, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("plan", "state")),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("created", "changed", "stepped")),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("told", sa.Boolean, nullable=False),
        sa.Column("active_name", sa.String, unique=True),
        sa.Column("active_model", sa.String, unique=True),
    )
    op.create_index("experiment_name", "experiment", ["name"])
    op.create_table(
        "experiment_event",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("experiment", sa.BigInteger, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("action", "reason", "who")),
        sa.Column("coverage", sa.Double, nullable=False),
        sa.Column("data", sa.String, nullable=False),
    )
    op.create_index("experiment_event_of", "experiment_event", ["experiment"])
    op.create_table(
        "experiment_sums",
        sa.Column("experiment", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("arm", sa.String, primary_key=True),
        sa.Column("metric", sa.String, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("total", sa.Double, nullable=False),
        sa.Column("squares", sa.Double, nullable=False),
    )
    op.create_table(
        "experiment_unit",
        sa.Column("experiment", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("unit", sa.String, primary_key=True),
        sa.Column("arm", sa.String, nullable=False),
    )
