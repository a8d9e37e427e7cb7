"""Labels by labeller, with their history, and rankings that labellers skipped; grades of before have no labeller."""

from __future__ import annotations

import zlib
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

BATCH_SIZE = 200
POOL_DEPTH = 10
INDEX, RANK_AFTER, GRADE = 0, 4, 6  # columns of a candidate in the data of a case


def upgrade() -> None:
    """Create the tables, and copy the grades of cases into them."""
    op.create_table(
        "label",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("case_id", sa.BigInteger, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("labeller", sa.String, nullable=False),
        sa.Column("grade", sa.Integer),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("pool", sa.SmallInteger, nullable=False),
        sa.Column("replaced", sa.Boolean, nullable=False),
    )
    op.create_index("label_case", "label", ["case_id", "position"])
    op.create_index("label_labeller", "label", ["labeller", "case_id", "position"])
    op.create_table(
        "label_skip",
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("labeller", sa.String, primary_key=True),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_index("label_skip_labeller", "label_skip", ["labeller", "time"])
    _copy_grades()


def _copy_grades() -> None:
    connection = op.get_bind()
    case, label = (sa.Table(name, sa.MetaData(), autoload_with=connection) for name in ("bad_case", "label"))
    last = 0
    while True:
        query = sa.select(case.c.id, case.c.changed, case.c.data).where(case.c.id > last)
        rows = connection.execute(query.order_by(case.c.id).limit(BATCH_SIZE)).all()
        if not rows:
            return
        if added := [each for row in rows for each in _labels(row)]:
            connection.execute(sa.insert(label), added)
        last = rows[-1].id


def _labels(row: Any) -> list[dict[str, object]]:
    _, candidates = orjson.loads(zlib.decompress(bytes(row.data)))
    pool = sum(candidate[RANK_AFTER] <= POOL_DEPTH for candidate in candidates)
    return [
        {
            "case_id": row.id,
            "position": candidate[INDEX],
            "labeller": "",
            "grade": candidate[GRADE],
            "time": row.changed,
            "rank": candidate[RANK_AFTER],
            "pool": pool,
            "replaced": False,
        }
        for candidate in candidates
        if candidate[GRADE] is not None
    ]
