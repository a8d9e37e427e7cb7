"""Indexes for listing traces by margin, overall and by tenant, without a full sort."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the two indexes."""
    op.create_index("trace_margin", "trace", ["margin", "id"])
    op.create_index("trace_tenant_margin", "trace", ["tenant", "margin", "id"])
