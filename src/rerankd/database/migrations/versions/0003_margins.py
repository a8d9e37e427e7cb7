"""The worst margins of everything and of one tenant, found without sorting every trace."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the two indexes."""
    op.create_index("trace_margin", "trace", ["margin", "id"])
    op.create_index("trace_tenant_margin", "trace", ["tenant", "margin", "id"])
